"""The weights of a mixture file: ours, or a bare `{"domain": weight}`."""

from __future__ import annotations

from pathlib import Path

from doremi.mixture.domains import Mixture
from doremi.mixture.record import read_record


def read_mixture(path: Path) -> Mixture:
    """Read the weights of a `mixture.json`, ours or a bare `{"domain": weight}`; errors name the file."""
    return read_record(path).mixture
