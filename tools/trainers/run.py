"""Does each trainer's own code read what is exported for it? `make trainers` runs this; it is no part of CI.

    python tools/trainers/run.py              all, each in a folder of its own below .trainers/
    python tools/trainers/run.py megatron     one
    python tools/trainers/run.py --write      and put the table into docs/trainers.md

Packages are installed with --no-deps into a folder that is put before the packages of this environment. Only what the
loader imports is beside them: the pins of trainers collide with each other, and some ask for gigabytes of CUDA. What is
not on PyPI is fetched from its repository at one commit.
"""

from __future__ import annotations

import argparse
import os
import shutil
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
    """As pip takes it. With `commit`, the owner and name of a repository on GitHub instead."""
    tests: tuple[str, ...]
    says: str
    needs: tuple[str, ...] = ()
    commit: str = ""
    source: str = ""
    """The folder of the repository that is put on the path."""

    @property
    def name(self) -> str:
        return self.package.partition("==")[0].rpartition("/")[2]

    @property
    def file(self) -> str:
        return "test_trainers_git.py" if self.commit else "test_trainers.py"


STREAMING = ("brotli", "python-snappy", "cramjam", "zstd", "paramiko", "oci", "azure-storage-blob", "catalogue")
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
        "megatron-core==0.16.1",
        ("test_megatron", "test_nemo", "test_megatron_bridge"),
        "a blended index of 10^6 samples, every `.idx` file, and the lists of NeMo and Megatron-Bridge",
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
        "the index of 2 x 10^7 tokens of a source mixture, and 10^5 sequences from its loader",
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
        (*AMAZON, *STREAMING),
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
    "llm-foundry": Trainer(
        "llm-foundry==0.22.0",
        ("test_llm_foundry",),
        "the streams that its text loader makes",
        ("mosaicml-streaming==0.13.0", *AMAZON, *STREAMING),
    ),
    "llama-factory": Trainer(
        "llamafactory==0.9.5",
        ("test_llama_factory",),
        "10^5 documents, drawn as it merges the data sets of its arguments",
        ("omegaconf", "antlr4-python3-runtime==4.9.3"),
    ),
    "ms-swift": Trainer(
        "ms-swift==4.6.0",
        ("test_ms_swift",),
        "10^5 documents, drawn as it mixes the data sets of its command line",
        ("modelscope", "modelscope-hub", "cryptography", "cffi", "pycparser", "json-repair"),
    ),
    "axolotl": Trainer(
        "axolotl==0.19.0", ("test_axolotl",), "the files of a resampled data set, by the entry", ("addict",)
    ),
    "data-juicer": Trainer(
        "py-data-juicer==1.6.1",
        ("test_data_juicer",),
        "all documents that its builder loads for 300,000 tokens",
        ("loguru", "tomli", "jsonargparse", "httpx", "wget", "emoji", "beautifulsoup4", "soupsieve"),
    ),
    "grain": Trainer(
        "grain==0.2.18",
        ("test_grain",),
        "10^5 records of a mixed data set",
        ("array-record", "etils", "importlib_resources", "zipp", "protobuf", "portpicker"),
    ),
    "lingua": Trainer(
        "facebookresearch/lingua",
        ("test_lingua",),
        "10^5 lines of its sources",
        commit="437d680e521873bb5971067148a69587790da853",
    ),
    "gpt-neox": Trainer(
        "EleutherAI/gpt-neox",
        ("test_gpt_neox",),
        "the weights as it normalises them, and every `.idx` file",
        commit="ea7aefd8f8e183256992d9fede4d7c71a46d67a5",
    ),
    "nemo": Trainer(
        "NVIDIA/NeMo",
        ("test_nemo_itself",),
        "the data sets that NeMo 2 builds for 10^5 samples, and the weights as NeMo 1 reads them",
        ("megatron-core==0.16.1",),
        commit="8cfedd7203462cb251a914e700e5605444277561",
    ),
    "nanotron": Trainer(
        "huggingface/nanotron",
        ("test_nanotron",),
        "the index of 10^6 sequences",
        ("numba", "llvmlite", "datatrove==0.10.1", "loguru", "dacite", "humanize"),
        commit="2411b022a75fb7f7561a1bb4166706da5e1b76de",
        source="src",
    ),
    "maxtext": Trainer(
        "AI-Hypercomputer/maxtext",
        ("test_maxtext",),
        "10^5 records of ArrayRecord files, mixed by its input pipeline",
        ("grain==0.2.18", "array-record", "etils", "importlib_resources", "zipp", "protobuf", "portpicker"),
        commit="e591f30cbbf217ed67ef71263ec0538239f9c3b8",
        source="src",
    ),
    "levanter": Trainer(
        "stanford-crfm/levanter",
        ("test_levanter",),
        "the sequences of each domain in a block",
        ("jax", "jaxlib", "ml_dtypes", "opt_einsum", "async_lru", "jaxtyping", "wadler_lindig"),
        commit="9263f81e8b453241332c2c0b2d2001bfb2d2241c",
        source="src",
    ),
}  # fmt: skip


def folder_of(name: str) -> Path:
    return ROOT / ".trainers" / name


def install(name: str) -> None:
    """Once: a folder that is there is taken as it is, so it gets its name when it is whole."""
    trainer, folder = TRAINERS[name], folder_of(name)
    if folder.exists() or name == "datasets":  # which is in this environment
        return
    packages = trainer.needs if trainer.commit else (trainer.package, *trainer.needs)
    half = folder.with_name(f"{name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    if trainer.commit:
        clone(trainer, half)
    if packages:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(half)]
        subprocess.run([*command, *packages], check=True)
    half.rename(folder)


def clone(trainer: Trainer, folder: Path) -> None:
    """The one commit of a repository."""
    git = ["git", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    where = f"https://github.com/{trainer.package}"
    subprocess.run([*git, "fetch", "--quiet", "--depth=1", where, trainer.commit], check=True)
    subprocess.run([*git, "checkout", "--quiet", "FETCH_HEAD"], check=True)


def installed(name: str) -> str:
    """The version of the trainer's package, or the beginning of its commit."""
    trainer = TRAINERS[name]
    if trainer.commit:
        return trainer.commit[:8]
    if name == "datasets":
        return version(trainer.name)
    return next(
        one.version for one in distributions(path=[str(folder_of(name))]) if one.name.replace("_", "-") == trainer.name
    )


def passes(name: str) -> bool:
    """Whether all its tests pass; a test that skips has not."""
    trainer, folder = TRAINERS[name], folder_of(name)
    places = [str(folder / trainer.source), str(folder), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    tests = [f"{ROOT}/tests/{trainer.file}::{test}" for test in trainer.tests]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "trainers", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stdout, flush=True)
    return done.returncode == 0 and "skipped" not in done.stdout


def rows(names: list[str]) -> Iterator[str]:
    for name in names:
        trainer = TRAINERS[name]
        tests = ", ".join(f"`{test}`" for test in trainer.tests)
        yield f"| {trainer.name} {installed(name)} | {trainer.says} | {tests} |"


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
