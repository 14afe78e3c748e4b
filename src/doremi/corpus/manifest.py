"""What the values of `corpus/manifest.json` are (docs/formats.md): a damaged one is told before it is worked with."""

from __future__ import annotations

from typing import Any

_SPLIT = {"documents": int, "bytes": int, "tokens": int, "unknown": int, "skipped": int, "files": {"*": str}}
_DUPLICATES = {"within": int, "across": int, "dropped": int}
_FOUND = {"empty": int, "excluded": int, "duplicates": _DUPLICATES, "bad": {"*": int}}
_DOMAIN = {
    "folder": str, "epochs": (int, float), "tokens": int, "found": _FOUND, "train": _SPLIT, "validation": _SPLIT,
}  # fmt: skip
_TOKENIZER = {"source": str, "sha256": str, "vocab_size": int, "end_of_text": str, "end_of_text_id": int}
_MANIFEST = {"tokenizer": _TOKENIZER, "dtype": str, "domains": {"*": _DOMAIN}, "fingerprint": str}


def wrong_value(manifest: Any) -> str | None:
    """The first key whose value is of another type than it should be, dotted; None if there is none.

    What is missing is told by whoever asks for it (`runs.read_json`), and what is unknown is passed over.
    """
    return _wrong(manifest, _MANIFEST, "")


def _wrong(value: Any, expected: Any, key: str) -> str | None:
    """`expected` is a type, or types, or what each key of an object has; `*` stands for any key."""
    if not isinstance(expected, dict):
        return None if isinstance(value, expected) and not isinstance(value, bool) else key
    if not isinstance(value, dict):
        return key
    known = ((name, expected.get(name, expected.get("*"))) for name in value)
    found = (_wrong(value[name], kind, f"{key}.{name}".lstrip(".")) for name, kind in known if kind is not None)
    return next((wrong for wrong in found if wrong is not None), None)
