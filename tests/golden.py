"""The golden curve: 20 steps of loss and alpha on the tiny corpus. `python tests/golden.py` records it anew."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from doremi.distributed import World
from doremi.executors.choose import chosen
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, tiny_config, write_corpus

GOLDEN = Path(__file__).parent / "assets" / "golden_curve.json"


def processor() -> dict[str, str]:
    """What exact floating-point results depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return {
        "flags": " ".join(sorted(f for f in flags if f.startswith(("avx", "fma", "amx", "sse")))),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def curves() -> dict[str, list]:
    """Loss of the reference, loss and weights of the proxy, `[20][3]` each, and the averaged weights `[3]`."""
    with tempfile.TemporaryDirectory() as folder:
        config = tiny_config(Path(folder), write_corpus(Path(folder) / "corpus"))
        with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
            search(space, chosen)
        run = RunDirectory(config.root)
        trace = run.proxy(0).trace()
        return {
            "reference_loss": run.reference(0).trace()["loss"].tolist(),
            "proxy_loss": trace["loss"].tolist(),
            "alpha": trace["weights"].tolist(),
            "average": list(json.loads((run.proxy(0).folder / "mixture.json").read_text())["weights"].values()),
        }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({"processor": processor(), "curves": curves()}, indent=1) + "\n")
    sys.exit(0)
