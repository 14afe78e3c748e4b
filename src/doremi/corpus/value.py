"""A prepared corpus: what its manifest says, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.manifest import wrong_value
from doremi.errors import DamageError, one_line
from doremi.files import read_json
from doremi.mixture.domains import DomainSet


@dataclass(frozen=True)
class Corpus:
    """What `corpus/manifest.json` says; `folder` is the corpus folder."""

    folder: Path
    manifest: dict[str, Any]
    kept: Corpus | None = None  # the training documents of epoch-matched runs

    @property
    def training(self) -> Corpus:
        """The corpus whose training documents models see: this one, or what epoch-matched runs keep of it."""
        return self.kept or self

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        path = folder / "manifest.json"
        manifest = read_json(path, "corpus manifest")
        if (key := wrong_value(manifest)) is not None:
            raise DamageError(one_line(f"{path}: {key!r} is of the wrong type; remove it and run again"))
        return cls(folder, manifest)

    @property
    def domains(self) -> DomainSet:
        return DomainSet(self.manifest["domains"])

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    def count(self, split: str, what: str) -> list[int]:
        """`what` is documents, bytes or tokens; `split` is train or validation. `[K]`."""
        return [entry[split][what] for entry in self.manifest["domains"].values()]

    def natural_sizes(self) -> dict[str, float]:
        """Tokens of each domain, held out of its training files or not, times the passes it counts with."""
        return {name: entry["tokens"] * entry["epochs"] for name, entry in self.manifest["domains"].items()}

    def path(self, domain: str, file: str) -> Path:
        return self.folder / self.manifest["domains"][domain]["folder"] / file

    def validation_documents(self, domain: str) -> dict[str, np.ndarray]:
        """Per validation document: `bytes`, `report` (bool), `tokens` (end-of-text included). `[documents]` each."""
        ends = np.fromfile(self.path(domain, "validation.ends"), dtype="<u8").astype(np.int64)
        records = np.fromfile(self.path(domain, "validation.documents"), dtype="<u4").reshape(-1, 2)
        return {
            "bytes": records[:, 0].astype(np.int64),
            "report": records[:, 1] == 1,
            "tokens": np.diff(ends, prepend=0),
        }
