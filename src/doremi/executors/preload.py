"""What a worker needs, loaded once: processes forked from one that has imported this begin within milliseconds.

No thread may be started here, for a forked process would wait for it for ever; so no tensor is computed.
"""

from __future__ import annotations

import torch

from doremi.model.build import build
from doremi.model.presets import shape

torch.set_num_threads(1)
with torch.device("meta"):  # loads the model's own module, which is most of what building the first one takes
    build(shape("0.1m", None, {}), 256, 16, 0)
