"""What a machine without network needs, in a folder: wheels, the package and that of before, a corpus of tokens.

wheels/*.whl     packages that the machine lacks, and doremi (its code is that of the working tree; this names it)
corpus.tar.xz    a prepared corpus: tokenizer, tokens as uint16, held-out documents
before.tar.xz    src and benchmarks of an earlier commit, to measure the difference
"""

from __future__ import annotations

import json
import lzma
import os
import random
import sys
import tarfile
import tempfile
from pathlib import Path

from card.commands import COMPILED
from card.refused import Refused, done

CORPUS, EARLIER = "corpus.tar.xz", "before.tar.xz"
BEFORE = "a981329"  # the last commit before the work on small models on cards
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
MISSING = ("pydantic", "annotated-types", "typing-inspection", "typing-extensions", "zstandard", "orjson")
"""What the package needs and a machine with PyTorch, transformers, typer, rich and matplotlib may lack.
pydantic_core follows the version that pydantic asks for."""
HELD_OUT = 50_000  # tokens a domain: evaluations on the CPU of a step that has a minute
LIMIT = 60 * 10**6  # bytes of the folder in all
CACHES = ("fxgraph", "aotautograd")  # of the compiler's folder: with these it finds whole graphs again
COMPILED_LIMIT = 15 * 2**20  # bytes of a file that is brought back
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pack(tree: Path, folder: Path, text: Path) -> None:
    """Make the folder; `Refused` where something of it cannot be made, or it is too large."""
    if not text.is_dir():
        raise Refused(f"{text}: there is no such folder; --text names one with a folder for each domain")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        corpus = prepare(tree, text, Path(made), vocabulary=8192, length=256)
        with tarfile.open(folder / CORPUS, "w:xz") as archive:
            archive.add(corpus, "corpus")
    before = done("git archive", ["git", "-C", str(tree), "archive", BEFORE, "src", "benchmarks"])
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "before.tar").write_bytes(before)
        with tarfile.open(Path(made) / "before.tar") as archive:
            archive.extractall(Path(made) / "before", filter="data")
        with tarfile.open(folder / EARLIER, "w:xz") as archive:
            archive.add(Path(made) / "before", "before")
    wheels(tree, folder / "wheels")
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    for name, size in sizes.items():
        print(f"{size:>12,}  {name}")
    print(f"{sum(sizes.values()):>12,}  in all")
    if sum(sizes.values()) > LIMIT:
        raise Refused(f"{folder}: more than {LIMIT:,} bytes; pack less text")


def prepare(tree: Path, text: Path, folder: Path, *, vocabulary: int, length: int) -> Path:
    """A prepared corpus of a folder with a folder of text for each domain; where it lies."""
    domains = {place.name: str(place.resolve()) for place in sorted(text.iterdir()) if place.is_dir()}
    values = {
        "name": "packed", "runs": str(folder / "runs"), "training": {"steps": 10, "batch_size": 12},
        "data": {
            "domains": domains, "vocab_size": vocabulary, "sequence_length": length,
            "validation_max_tokens": HELD_OUT,
        },
    }  # fmt: skip
    (folder / "packed.yaml").write_text(json.dumps(values), encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tree / "src"), os.environ.get("PYTHONPATH", "")]))
    words = [sys.executable, "-m", "doremi", "prepare", str(folder / "packed.yaml")]
    done("doremi prepare", words, env={**os.environ, "PYTHONPATH": path})
    return next((folder / "runs" / "corpora").iterdir())


def wheels(tree: Path, folder: Path) -> None:
    """Wheels for the machine's Python, and one of this package."""
    pip = [sys.executable, "-m", "pip"]
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    target = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    quiet = ["--quiet", "--disable-pip-version-check"]
    # pydantic's own needs come with it: one of them is a certain version of pydantic_core
    done("pip download", [*pip, "download", *quiet, *target, "--dest", str(folder), *MISSING])
    with tempfile.TemporaryDirectory() as copied:
        words = ["git", "-C", str(tree), "checkout-index", "--all", f"--prefix={copied}/"]
        done("git checkout-index", words)
        done("pip wheel", [*pip, "wheel", *quiet, "--no-deps", "--wheel-dir", str(folder), copied])


def unpack(packed: Path, work: Path) -> Path:
    """The folder where what was packed lies ready: corpus, before, and site with the packages.

    `Refused` where something is missing, or cannot be unpacked.
    """
    for name in (CORPUS, EARLIER):
        if not (packed / name).is_file():
            raise Refused(f"{packed}: has no {name}; `first_card.py --pack FOLDER --text TEXT` makes what is needed")
    data = work / "data"
    for archive in sorted(packed.glob("*.tar.?z")):
        try:
            with tarfile.open(archive) as opened:
                opened.extractall(data, filter="data")
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
            why = str(error).splitlines()[0].rstrip(":")
            raise Refused(f"{archive}: cannot be unpacked ({why}); make the pack anew") from None
    found = sorted(map(str, (packed / "wheels").glob("*.whl")))
    if found and sys.version_info[:2] == tuple(map(int, PYTHON.split("."))):
        words = [
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--no-cache-dir",
            "--upgrade",
            "--target",
            str(data / "site"),
        ]
        done("pip install", [sys.executable, "-m", "pip", "install", "--quiet", *words, *found])
    return data


def keep_compiled(data: Path, out: Path) -> None:
    """What the compiler has made, for a later call: put it beside the other archives, and less is compiled there."""
    target = out / f"{COMPILED}.tar.gz"
    with tarfile.open(target, "w:gz", compresslevel=6) as archive:
        for kind in CACHES:
            if (data / COMPILED / kind).exists():
                archive.add(data / COMPILED / kind, f"{COMPILED}/{kind}")
    if target.stat().st_size > COMPILED_LIMIT:
        target.unlink()


def made_up(folder: Path) -> Path:
    """Three small domains of made-up text, for a trial without any data."""
    for number, domain in enumerate(("plain", "loud", "long")):
        dice = random.Random(number)
        words = ["".join(dice.choices(LETTERS, k=3)) for _ in range(40)]
        (folder / domain).mkdir(parents=True)
        lines = (json.dumps({"text": " ".join(dice.choices(words, k=90))}) for _ in range(400))
        (folder / domain / "text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
