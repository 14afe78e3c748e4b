"""Whether this machine can measure at all: a JSON object about it, or one line that says why not.

    python ready.py [cpu]

`cpu`: a trial, which needs no GPU.
"""

from __future__ import annotations

import json
import os
import platform
import sys


def device() -> dict[str, object]:
    """Of the GPU that all programs use; ends where there is none that computes."""
    import torch

    try:
        torch.cuda.init()
        two = float(torch.ones(2, device="cuda").sum())
        free, total = torch.cuda.mem_get_info()
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        sys.exit(f"no GPU can be used here ({why}); --tiny tries the program on a CPU")
    assert two == 2
    return {
        "card": torch.cuda.get_device_name(), "memory_gib": round(total / 2**30, 1),
        "free_gib": round(free / 2**30, 1), "bfloat16": torch.cuda.is_bf16_supported(),
    }  # fmt: skip


def main() -> None:
    about = {} if sys.argv[1:] == ["cpu"] else device()
    try:
        from doremi.pipeline import run, workspace

        assert run
        versions = workspace.versions()
    except ImportError as error:  # a package that is not installed is one, too
        name = error.name or error
        sys.exit(f"{name} is missing for Python {platform.python_version()}; the wheels of a pack are for one Python")
    print(json.dumps({**about, "cores": len(os.sched_getaffinity(0)), **versions}))


if __name__ == "__main__":
    main()
