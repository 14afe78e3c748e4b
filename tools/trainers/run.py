"""Does each trainer's own code read what is exported for it? `make trainers` runs this; it is no part of CI.

    python tools/trainers/run.py              all, each in a folder of its own below .trainers/
    python tools/trainers/run.py megatron     one
    python tools/trainers/run.py --write      and put the table into docs/trainers.md

Packages are installed with --no-deps into a folder that is put before the packages of this environment. Only what the
loader imports is beside them: the pins of trainers collide with each other, and some ask for gigabytes of CUDA.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "trainers.md"
BEGIN, END = "<!-- make trainers: begin -->", "<!-- make trainers: end -->"
AMAZON = ("boto3", "botocore", "s3transfer", "jmespath")


@dataclass(frozen=True)
class Trainer:
    """One package with the exact version that was tried, what its loader imports, and the tests that load with it."""

    package: str
    tests: tuple[str, ...]
    says: str
    needs: tuple[str, ...] = ()


GOOGLE = (
    "google-api-core", "google-auth", "google-cloud-storage", "google-cloud-core", "google-resumable-media",
    "google-crc32c", "proto-plus", "protobuf", "googleapis-common-protos", "cryptography", "cffi", "pyasn1",
    "pyasn1-modules",
)  # fmt: skip
TRAINERS = {
    "datasets": Trainer(
        "datasets", ("test_datasets",), "10^5 documents drawn from `interleave_datasets`, streaming"
    ),
    "megatron": Trainer(
        "megatron-core==0.16.1", ("test_megatron",), "a blended index of 10^6 samples, and every `.idx` file"
    ),
    "automodel": Trainer(
        "nemo-automodel==0.7.0",
        ("test_automodel",),
        "the domain mixture built against the blend beside it",
        ("megatron-core==0.16.1",),
    ),
    "olmo": Trainer(
        "ai2-olmo-core==3.0.0",
        ("test_olmo",),
        "the index of 2 x 10^7 tokens that a source mixture builds",
        (*GOOGLE, *AMAZON, "cached_path", "omegaconf", "antlr4-python3-runtime==4.9.3", "importlib_resources",
         "bettermap", "dataclass-extensions"),
    ),
    "datatrove": Trainer(
        "datatrove==0.10.1",
        ("test_datatrove",),
        "every sequence of the files for nanotron, and the written weights",
        ("loguru", "dacite", "humanize"),
    ),
    "torchtitan": Trainer(
        "torchtitan==0.3.0", ("test_torchtitan",), "10^5 sequences drawn from its interleaved data set"
    ),
    "streaming": Trainer(
        "mosaicml-streaming==0.13.0",
        ("test_streaming",),
        "an epoch of 10^5 samples of MDS files",
        (*AMAZON, "brotli", "python-snappy", "cramjam", "zstd", "paramiko", "oci", "azure-storage-blob", "catalogue"),
    ),
    "litdata": Trainer(
        "litdata==0.2.76",
        ("test_litdata",),
        "10^5 blocks drawn from its combined data set",
        (*AMAZON, "lightning-utilities"),
    ),
    "litgpt": Trainer(
        "litgpt==0.5.13",
        ("test_litgpt",),
        "10^5 blocks in batches of its data module",
        (*AMAZON, "litdata==0.2.76", "lightning", "lightning-utilities", "torchmetrics", "jsonargparse"),
    ),
    "energon": Trainer(
        "megatron-energon==7.4.1",
        ("test_energon",),
        "the metadataset as its own parser reads it",
        ("multi-storage-client", "xattr", "cffi", "lark", "wcmatch", "bracex", "webdataset", "braceexpand", "s3fs",
         "aiobotocore", "aioitertools", "wrapt", "prometheus_client", "rapidyaml", "jsonschema", "referencing",
         "rpds-py", "jsonschema-specifications", "attrs", "importlib_metadata", "opentelemetry-api",
         "opentelemetry-sdk", "deprecation", "filetype"),
    ),
    "grain": Trainer(
        "grain==0.2.18",
        ("test_grain", "test_maxtext"),
        "10^5 records of a mixed data set, as Grain and as MaxText mixes",
        ("array-record", "etils", "importlib_resources", "zipp", "protobuf", "portpicker"),
    ),
}  # fmt: skip


def folder_of(name: str) -> Path:
    return ROOT / ".trainers" / name


def install(name: str) -> None:
    """Once: a folder that is there is taken as it is."""
    trainer, folder = TRAINERS[name], folder_of(name)
    if folder.exists() or name == "datasets":  # which is in this environment
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, trainer.package, *trainer.needs], check=True)


def installed(name: str) -> str:
    """The version of the trainer's package."""
    package = TRAINERS[name].package.partition("==")[0]
    if name == "datasets":
        return version(package)
    return next(one.version for one in distributions(path=[str(folder_of(name))]) if one.name == package)


def passes(name: str) -> bool:
    """Whether all its tests pass; a test that skips has not."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder_of(name)), os.environ.get("PYTHONPATH", "")]),
    }
    tests = [f"{ROOT}/tests/test_trainers.py::{test}" for test in TRAINERS[name].tests]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "trainers", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stdout, flush=True)
    return done.returncode == 0 and "skipped" not in done.stdout


def rows(names: list[str]) -> Iterator[str]:
    for name in names:
        trainer = TRAINERS[name]
        tests = ", ".join(f"`{test}`" for test in trainer.tests)
        yield f"| {trainer.package.partition('==')[0]} {installed(name)} | {trainer.says} | {tests} |"


def write(lines: list[str]) -> None:
    """Put the table where the page has it."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    table = "\n".join(["| package | what its own code did | test |", "|---|---|---|", *lines])
    PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TRAINER", help=", ".join(TRAINERS))
    parser.add_argument("--write", action="store_true", help="put the table into docs/trainers.md")
    arguments = parser.parse_args()
    names = arguments.names or list(TRAINERS)
    failed = []
    for name in names:
        print(f"{name}: ", end="", flush=True)
        install(name)
        if not passes(name):
            failed.append(name)
    lines = list(rows([name for name in names if name not in failed]))
    print("\n".join(lines))
    if arguments.write and not failed and names == list(TRAINERS):
        write(lines)
    print(f"failed: {', '.join(failed)}" if failed else "all read")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
