"""The whole job on text that any machine with this package already has: `make demo`.

It gathers at least six domains from the Python library, the installed packages and, where present, the system's
manual pages, writes them and a configuration into demo/, and runs `doremi run demo/demo.yaml`.

Most of the text is of one kind, as in many a crawl: lists of files with their checksums, which no model can learn.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

LIMIT, CHECKSUMS = 500_000, 3_000_000  # bytes of text a domain, and of the one there is most of
LONGEST = 4_000  # characters of a document; more is cut off, so that the small validation set holds several
FEWEST = 250_000  # bytes below which a domain is left out

LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = Path(sysconfig.get_path("purelib"))


def files(root: Path, pattern: str) -> Iterator[str]:
    """Texts of the files below `root`, in the order of their paths."""
    for path in sorted(root.glob(pattern)):
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rt", encoding="utf-8") as file:
                yield file.read(LONGEST)
        except (OSError, UnicodeDecodeError):
            continue


def library_source() -> Iterator[str]:
    """The Python standard library, tests and bundled packages left out."""
    for path in sorted(LIBRARY.rglob("*.py")):
        inner = path.relative_to(LIBRARY).parts
        if not {"test", "tests", "site-packages", "encodings", "pydoc_data", "idlelib"} & set(inner):
            yield from files(path.parent, path.name)


def readmes() -> Iterator[str]:
    """Descriptions in the metadata of installed packages, headers cut off."""
    for text in files(PACKAGES, "*.dist-info/METADATA"):
        yield text.partition("\n\n")[2]


def licences() -> Iterator[str]:
    """Licence and notice texts of installed packages and of the system."""
    for pattern in ("*.dist-info/**/LICENSE*", "*.dist-info/**/NOTICE*", "*.dist-info/**/COPYING*"):
        yield from files(PACKAGES, pattern)
    yield from files(Path("/usr/share/common-licenses"), "*")
    yield from files(Path("/usr/share/doc"), "*/copyright")


def checksums() -> Iterator[str]:
    """Which files installed packages have, with the SHA-256 of each, forty to a document."""
    for path in sorted(PACKAGES.glob("*.dist-info/RECORD")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "sha256=" in line]
        for first in range(0, len(lines), 40):
            yield "\n".join(lines[first : first + 40])


DOMAINS: dict[str, Callable[[], Iterator[str]]] = {
    "python_library": library_source,
    "package_readmes": readmes,
    "cpp_headers": lambda: files(PACKAGES, "torch/include/ATen/**/*.h"),
    "type_stubs": lambda: files(PACKAGES, "**/*.pyi"),
    "licences": licences,
    "checksums": checksums,
    "model_code": lambda: files(PACKAGES, "transformers/models/*/modeling_*.py"),
    "manual_pages": lambda: files(Path("/usr/share/man"), "man[1-8]/*.gz"),
}

CONFIG = """\
# Written by examples/demo.py: the whole job in a few minutes on two cores.
name: demo
data:
  domains:
{domains}
  vocab_size: 2048
  tokenizer_sample_bytes: 3000000
  sequence_length: 128
  validation_fraction: 0.2
  validation_max_tokens: 6000
model: {{preset: 0.3m}}
training:
  steps: {steps}
  batch_size: {batch_size}
  # what was best for models of this size (docs/results/recipe.md)
  learning_rate: 0.007
  schedule: linear
  final_learning_rate: 0
  warmup: 0.5
  beta1: 0.8
  beta2: 0.95
  initial_spread: 2
  evaluate_every: {evaluate_every}
proxy: {{seeds: 1}}
candidates:
  mixtures: [doremi, natural, uniform]
  seeds: 3
"""


def write_domain(folder: Path, texts: Iterator[str], limit: int) -> int:
    """Write one JSON line a distinct document, up to `limit` bytes of text; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    size, seen = 0, set()
    with (folder / "text.jsonl").open("w", encoding="utf-8") as out:
        for text in texts:
            if size >= limit:
                break
            if len(text) >= 200 and text not in seen:
                seen.add(text)
                size += len(text.encode())
                out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return size


def configured(root: Path, steps: int) -> Path:
    """Gather the text and write the configuration; where it lies."""
    limits = {name: CHECKSUMS if texts is checksums else LIMIT for name, texts in DOMAINS.items()}
    sizes = {name: write_domain(root / "text" / name, texts(), limits[name]) for name, texts in DOMAINS.items()}
    chosen = [name for name, size in sizes.items() if size >= FEWEST]
    domains = "\n".join(f"    {name}: text/{name}" for name in chosen)
    config = root / "demo.yaml"
    config.write_text(
        CONFIG.format(domains=domains, steps=steps, batch_size=len(chosen), evaluate_every=max(1, steps // 4)),
        encoding="utf-8",
    )
    print(f"{len(chosen)} domains: " + ", ".join(f"{name} {sizes[name] / 1e6:.1f} MB" for name in chosen), flush=True)
    return config


def main(root: Path = Path("demo"), steps: int = 600) -> int:
    """Gather, configure, run; returns the command's exit code."""
    config = configured(root, steps)
    return subprocess.run([sys.executable, "-m", "doremi", "run", str(config)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
