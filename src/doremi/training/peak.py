"""What a GPU can do at most, by its maker's data sheet: what a training's rate is compared with.

MFU (model FLOPs utilisation, Chowdhery et al. 2022, appendix B) is the matrix operations that a step needs, over those
that the devices could do in its time. What is computed twice, and a reference beside the proxy, count nothing.
"""

from __future__ import annotations

import torch

# dense bfloat16 operations a second, by a part of the device's name; the first that fits counts
BFLOAT16 = (
    ("B200", 2.25e15), ("H200", 9.89e14), ("H100 PCIe", 7.56e14), ("H100 NVL", 8.35e14), ("H100", 9.89e14),
    ("GH200", 9.89e14), ("A100", 3.12e14), ("L40S", 3.62e14), ("L40", 1.81e14), ("L4", 1.21e14), ("A40", 1.50e14),
    ("A10", 1.25e14), ("RTX 4090", 1.65e14), ("MI325X", 1.307e15), ("MI300X", 1.307e15),
)  # fmt: skip

# bytes of its memory a second, likewise
BANDWIDTH = (
    ("B200", 8.0e12), ("H200", 4.8e12), ("H100 PCIe", 2.0e12), ("H100 NVL", 3.9e12), ("H100", 3.35e12),
    ("GH200", 4.0e12), ("A100", 1.55e12), ("L40S", 8.64e11), ("L40", 8.64e11), ("L4", 3.0e11), ("A40", 6.96e11),
    ("A10", 6.0e11), ("RTX 4090", 1.01e12), ("MI325X", 6.0e12), ("MI300X", 5.3e12),
)  # fmt: skip


def bytes_a_second(name: str) -> float | None:
    """Of the memory of a device with this name; None for one that is not known."""
    return next((rate for part, rate in BANDWIDTH if part in name), None)


def operations_a_second(name: str) -> float | None:
    """Of a device with this name, in bfloat16; None for one that is not known."""
    return next((rate for part, rate in BFLOAT16 if part in name), None)


def device_rate(device: torch.device, precision: str) -> float | None:
    """Of this device; None on a CPU, where it is not known, and in float32, which these units do not do."""
    if device.type != "cuda" or precision != "bfloat16":
        return None
    return operations_a_second(torch.cuda.get_device_name(device))


def utilisation(
    operations: int, seconds: float, device: torch.device, precision: str, devices: int
) -> dict[str, float]:  # fmt: skip
    """MFU of so many devices that needed `seconds` for `operations`, as a figure to record; none where it is not known.

    The seconds are those of a whole training: with its warm-up, evaluations and checkpoints.
    """
    rate = device_rate(device, precision)
    return {"mfu": round(operations / (seconds * rate * devices), 4)} if operations and rate and seconds else {}
