"""ms-swift: data sets and probabilities as arguments of the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, comments, readme
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import pairs

UNIT = "examples, which are documents"


def files(blend: Blend, folder: Path) -> Files:
    """`arguments.sh`, which sets the array MIXTURE."""
    paths = " ".join(shlex.quote(entry.key) for entry in blend.entries)
    weights = " ".join(decimal_text(entry.weight) for entry in blend.entries)
    lines = [
        *comments(blend, UNIT),
        "MIXTURE=(",
        f"  --dataset {paths}",
        f"  --interleave_prob {weights}",
        "  --stopping_strategy all_exhausted",
        ")",
    ]
    yield "arguments.sh", ("\n".join(lines) + "\n").encode()
    usage = [
        "In bash:",
        '  source arguments.sh && swift pt --model ... --streaming true --max_steps ... "${MIXTURE[@]}"',
        "all_exhausted repeats small data sets and ends when each has been seen whole.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """The words after --dataset and --interleave_prob."""
    words = shlex.split(text.replace("MIXTURE=(", "").replace("\n)", "\n"), comments=True)
    return pairs(_after(words, "--dataset"), _after(words, "--interleave_prob"))


def _after(words: list[str], option: str) -> list[str]:
    if option not in words:
        raise ValueError(f"has no {option}")
    rest = words[words.index(option) + 1 :]
    end = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


TARGET = Target(
    name="ms-swift",
    family="Hugging Face",
    description="ms-swift --dataset and --interleave_prob",
    unit=UNIT,
    files=files,
    main="arguments.sh",
    read=read,
    counts="documents",
)
