"""Python loads this by itself where its folder is on the path: torch is told to use deterministic kernels."""

import torch

torch.use_deterministic_algorithms(True, warn_only=True)
