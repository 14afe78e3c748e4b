"""A prepared corpus: what its manifest says, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from doremi.corpus.manifest import DomainEntry, Remarks, TokenizerEntry, domain_entry, tokenizer_entry, wrong_value
from doremi.corpus.size import Given, Sample, Size, check_sizes, sample_of, size_of
from doremi.errors import DamageError, one_line
from doremi.files import FORMAT, read_json
from doremi.mixture.domains import DomainSet

IN_PLACE = 2  # format of a manifest with domains that are used where they lie
Split = Literal["train", "validation"]
_MAY_MISS = {
    "key": "key",
    "share": "share",
    "whole": "corpus",
    "places": "places",
}  # fields by the keys of the manifest


@dataclass(frozen=True)
class Corpus:
    """What `manifest.json` says of the corpus in `folder`: a prepared one, or the part that a run keeps of it."""

    folder: Path
    tokenizer: TokenizerEntry
    dtype: str
    """Type of a token in the `.bin` files, which are little-endian: uint16 or uint32."""
    entries: Mapping[str, DomainEntry]
    """The domains in their order, which the sampler and the losses of documents go by."""
    fingerprint: str
    """SHA-256 of what models see: the same text gives the same one on any machine. Empty for an estimate."""
    key: str = ""
    """What the corpus is found by (key.py): SHA-256 of what was asked for, and of how its files looked."""
    share: str = ""
    """Of what is kept for epoch-matched runs: the share of each domain, such as 1/50."""
    whole: str = ""
    """The same: fingerprint of the corpus that it is kept of."""
    kept: Corpus | None = None
    """The training documents of epoch-matched runs."""
    samples: Mapping[str, Sample] = field(default_factory=dict)
    """Of domains that were read in part: which part."""
    remarks: Mapping[str, Remarks] = field(default_factory=dict)
    """Of its domains, where its preparation has noted them."""
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of domains that are used in place: their files, in the corpus folder where the path is no absolute one."""
    given: Mapping[str, Given] = field(default_factory=dict)
    """Of domains whose size the configuration says: that size. No manifest has it."""

    @property
    def training(self) -> Corpus:
        """The corpus whose training documents models see: this one, or what epoch-matched runs keep of it."""
        return self.kept or self

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """`RunError` where there is none, `DamageError` for one whose values are missing or of the wrong type."""
        path = folder / "manifest.json"
        manifest = read_json(path, "corpus manifest", (FORMAT, IN_PLACE))
        if (key := wrong_value(manifest)) is not None:
            raise DamageError(one_line(f"{path}: {key!r} is of the wrong type; remove it and run again"))
        return cls.said_by(manifest, folder)

    @classmethod
    def said_by(cls, manifest: Mapping[str, Any], folder: Path) -> Corpus:
        """The corpus that a manifest tells about; its files, if there are any, lie in `folder`."""
        entries = {name: domain_entry(value) for name, value in manifest["domains"].items()}
        known = {name: manifest[key] for name, key in _MAY_MISS.items() if key in manifest}
        tokenizer = tokenizer_entry(manifest["tokenizer"])
        samples = {name: sample_of(value) for name, value in manifest.get("samples", {}).items()}
        known["remarks"] = {
            name: Remarks(**{**value, "notes": tuple(value.get("notes", ()))})
            for name, value in manifest.get("remarks", {}).items()
        }
        return cls(folder, tokenizer, manifest["dtype"], entries, manifest["fingerprint"], samples=samples, **known)

    def sized(self, given: Mapping[str, Given]) -> Corpus:
        """The corpus whose domains are as large as the configuration says; `DataError` where more was read."""
        check_sizes(self.entries, given)
        return replace(self, given=given)

    @cached_property
    def domains(self) -> DomainSet:
        return DomainSet(self.entries)

    def count(self, split: Split, what: Literal["documents", "bytes", "tokens"]) -> list[int]:
        """`[K]`."""
        return [getattr(getattr(entry, split), what) for entry in self.entries.values()]

    @cached_property
    def sizes(self) -> dict[str, Size]:
        """How large each domain is, whatever was read of it."""
        return {
            name: size_of(entry, self.samples.get(name), self.given.get(name)) for name, entry in self.entries.items()
        }

    def true_tokens(self) -> list[int]:
        """Training tokens of each whole domain: what epochs of a final run are counted in. `[K]`"""
        return [size.train for size in self.sizes.values()]

    def stated_sizes(self) -> tuple[tuple[str, int], ...]:
        """Domains whose training tokens are not those that were counted, and these: a part of keys."""
        return tuple((name, size.train) for name, size in self.sizes.items() if size.how != "counted")

    def natural_sizes(self, passes: Mapping[str, float]) -> dict[str, float]:
        """Tokens of each whole domain, held out of its training files or not, times the passes it counts with."""
        return {name: size.tokens * passes.get(name, 1.0) for name, size in self.sizes.items()}

    def path(self, domain: str, file: str) -> Path:
        return self.folder / self.entries[domain].folder / file

    def place(self, domain: str, number: int) -> Path:
        """Where file `number` of a domain lies that is used in place."""
        return self.folder / self.places[domain][number]

    def validation_documents(self, domain: str) -> dict[str, np.ndarray]:
        """Per validation document: `bytes`, `report` (bool), `tokens` (end-of-text included). `[documents]` each."""
        ends = np.fromfile(self.path(domain, "validation.ends"), dtype="<u8").astype(np.int64)
        records = np.fromfile(self.path(domain, "validation.documents"), dtype="<u4").reshape(-1, 2)
        return {
            "bytes": records[:, 0].astype(np.int64),
            "report": records[:, 1] == 1,
            "tokens": np.diff(ends, prepend=0),
        }
