"""From a tokenizer, one for text alone: whatever a document says stays text, and what is lost of it is counted.

- Reserved tokens (end of text, special ones, the unknown token) get names that no text has. Their ids stay, so token
  files and models agree with the tokenizer, but no text spells them. A flag of the library that is meant for this
  reaches neither a model's own vocabulary nor tokens that are not marked special, and no file records it.
- Letters that a model would drop without a word come out as an id that text cannot have: a reserved one. It is counted
  and taken out again.
- What is put before a text is taken out of the tokenizer, and put before the first piece of a document only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from doremi.corpus.cutting import exact_cuts
from doremi.errors import ConfigError

_MARK = "\U0010ffff"  # never a character of text, says Unicode
_BYTE_LETTERS = frozenset(pre_tokenizers.ByteLevel.alphabet())
_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_FRAMING = ("truncation", "padding", "post_processor", "decoder")
_KEEPING = (
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "Prepend",
    "ByteLevel",
    "Strip",
)  # normalizers that drop no letter


@dataclass(frozen=True)
class Plain:
    """How documents are encoded.

    `tokenizer`: serialised. `unknown_id`: the unknown token. `lost_id`: stands for a letter that is dropped, and is no
    token of the document. `prefix`: put before a document that is not empty. `cuts`: regular expression whose matches
    end where a document can be cut, or empty. `drops`: whether letters may vanish before the model sees them.
    """

    tokenizer: str
    unknown_id: int | None = None
    lost_id: int | None = None
    prefix: str = ""
    cuts: str = ""
    drops: bool = False

    def backend(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer)

    def whole(self, text: str) -> str:
        """What is given to the tokenizer for a document."""
        return self.prefix + text if text else text

    @property
    def cut_pattern(self) -> re.Pattern[str] | None:
        return re.compile(self.cuts) if self.cuts else None


def plain_tokenizer(backend: Tokenizer, source: str, end_of_text: str, special_tokens: set[str]) -> Plain:
    """The tokenizer for text alone. `ConfigError` naming `source` where there can be none."""
    described = json.loads(backend.to_str())
    described.update(dict.fromkeys(_FRAMING))
    model = described["model"]
    if "dropout" in model:  # other tokens each time
        model["dropout"] = None
    names = sorted(_reserved(described, special_tokens | {end_of_text}))
    reserved = {name: id_ for name in names if (id_ := backend.token_to_id(name)) is not None}
    if end_of_text not in reserved:
        raise ConfigError(
            f"tokenizer {source!r}: its end-of-text token {end_of_text!r} is also a byte of ordinary text, which would "
            "end documents; give one with an end-of-text token of its own"
        )
    _rename(described, reserved)
    unknown_id, lost_id = _unknown(described, reserved, reserved[end_of_text], source)
    _keep_byte_names(described)
    prefix = _take_prefix(described)
    serialised = json.dumps(described)
    tokenizer = Tokenizer.from_str(serialised)
    _check_ids(tokenizer, described, source)
    _check_text(tokenizer, reserved, {unknown_id, lost_id}, source)
    cuts = exact_cuts(tokenizer, described)
    return Plain(serialised, unknown_id, lost_id, prefix, cuts, _may_drop(described))


# -- reserved tokens -------------------------------------------------------------------------------------------------


def _reserved(described: dict[str, Any], special_tokens: set[str]) -> set[str]:
    """All but those that ordinary text needs: single bytes."""
    marked = {token["content"] for token in described["added_tokens"] if token["special"]}
    return (special_tokens | marked | {_unknown_name(described["model"])}) - _byte_names(described)


def _unknown_name(model: dict[str, Any]) -> str:
    if model["type"] == "Unigram":
        return "" if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    return model["unk_token"] or ""


def _byte_names(described: dict[str, Any]) -> frozenset[str]:
    """The tokens that single bytes have in this tokenizer."""
    if any(part["type"] == "ByteLevel" for part in (*_normalizers(described), *_pre_tokenizers(described))):
        return _BYTE_LETTERS
    return _BYTE_TOKENS if described["model"].get("byte_fallback") else frozenset()


def _name(id_: int) -> str:
    return f"{_MARK}{id_}{_MARK}"


def _rename(described: dict[str, Any], reserved: dict[str, int]) -> None:
    """Reserved tokens keep their ids and get names that no text has, wherever they stand."""
    for token in described["added_tokens"]:
        if token["content"] in reserved:
            token.update(content=_name(reserved[token["content"]]), special=True, normalized=False)
    model = described["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [
            [_name(i) if piece in reserved else piece, score] for i, (piece, score) in enumerate(model["vocab"])
        ]
        return
    model["vocab"] = {_name(id_) if token in reserved else token: id_ for token, id_ in model["vocab"].items()}
    if model["unk_token"] in reserved:
        model["unk_token"] = _name(reserved[model["unk_token"]])
    if model["type"] == "BPE":
        inner = len(model["continuing_subword_prefix"] or "")
        model["merges"] = [
            [a, b] for a, b in model["merges"] if not {a, b, a + b[inner:]} & reserved.keys()
        ]  # fmt: skip


# -- unknown and lost letters ----------------------------------------------------------------------------------------


def _unknown(
    described: dict[str, Any], reserved: dict[str, int], end_of_text_id: int, source: str
) -> tuple[int | None, int | None]:
    """The unknown token's id, and the id that stands for lost letters: the model is given one where it has none."""
    model = described["model"]
    unigram = model["type"] == "Unigram"
    unknown = model["unk_id"] if unigram else model["vocab"].get(model["unk_token"])
    if unknown == end_of_text_id:
        return None, unknown
    if unknown is not None:
        return unknown, None
    if not unigram and _knows_all_bytes(described):
        return None, None
    marker = _marker(model, reserved)
    if marker is None:
        raise ConfigError(
            f"tokenizer {source!r} has no unknown token and would drop letters that it does not know without a word; "
            "give one with an unknown token or with all bytes"
        )
    if unigram:
        model["unk_id"] = marker
    else:
        model["unk_token"] = _name(marker)
        model.pop("fuse_unk", None)
    return None, marker


def _knows_all_bytes(described: dict[str, Any]) -> bool:
    model = described["model"]
    shaped = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    names = _byte_names(described)
    return model["type"] == "BPE" and not shaped and bool(names) and names <= model["vocab"].keys()


def _marker(model: dict[str, Any], reserved: dict[str, int]) -> int | None:
    """A reserved id that the model can give; where it has none, the first of the added ones, which follow its own."""
    known = {name for name, _ in model["vocab"]} if model["type"] == "Unigram" else model["vocab"].keys()
    own = [id_ for id_ in reserved.values() if _name(id_) in known]
    if own:
        return own[0]
    following = len(model["vocab"])
    if following not in reserved.values():
        return None
    if model["type"] == "Unigram":
        model["vocab"].append([_name(following), min(score for _, score in model["vocab"])])
    else:
        model["vocab"][_name(following)] = following
    return following


def _may_drop(described: dict[str, Any]) -> bool:
    """Whether a normalizer or pre-tokenizer may take letters away; blanks are no letters."""
    for part in _normalizers(described):
        if part["type"] == "Replace":
            if not part["content"].strip(" \u2581") and not part["pattern"].get("String", "x").isspace():
                return True
        elif part["type"] not in _KEEPING:
            return True
    for part in _pre_tokenizers(described):
        pattern = part.get("delimiter") or part.get("pattern", {}).get("String", "x")
        removes = part["type"] == "CharDelimiterSplit" or part.get("behavior") == "Removed"
        if removes and not (pattern.isspace() and not part.get("invert")):
            return True
    return False


# -- normalizers and pre-tokenizers ----------------------------------------------------------------------------------


def _normalizers(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return _flat(described["normalizer"], "normalizers")


def _pre_tokenizers(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return _flat(described["pre_tokenizer"], "pretokenizers")


def _flat(part: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    if part is not None and part["type"] == "Sequence":
        for each in part[inner]:
            yield from _flat(each, inner)
    elif part is not None:
        yield part


def _keep_byte_names(described: dict[str, Any]) -> None:
    """The text `<0x41>` is not the byte: a Unigram with bytes has them as pieces, and the names cannot change."""
    model = described["model"]
    if model["type"] == "Unigram" and model["byte_fallback"]:
        split = {"type": "Split", "pattern": {"Regex": "<(?=0x[0-9A-F]{2}>)"}, "behavior": "Isolated", "invert": False}
        described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*_pre_tokenizers(described), split]}


def _take_prefix(described: dict[str, Any]) -> str:
    """What comes first in a text, if it is put there before all else, and nothing else takes it."""
    parts = list(_normalizers(described))
    if not parts or parts[0]["type"] != "Prepend" or not all(token["special"] for token in described["added_tokens"]):
        return ""
    described["normalizer"] = {"type": "Sequence", "normalizers": parts[1:]} if parts[1:] else None
    return parts[0]["prepend"]


# -- checks ----------------------------------------------------------------------------------------------------------


def _check_ids(tokenizer: Tokenizer, described: dict[str, Any], source: str) -> None:
    """The library numbers added tokens itself, and may have done so before in another way."""
    for token in described["added_tokens"]:
        if tokenizer.token_to_id(token["content"]) != token["id"]:
            raise ConfigError(
                f"tokenizer {source!r}: its added token with id {token['id']} would get another id; "
                "give one whose added tokens are numbered on from its vocabulary"
            )


def _check_text(tokenizer: Tokenizer, reserved: dict[str, int], allowed: Set[int | None], source: str) -> None:
    """The text of each reserved token, alone, in words and between blanks, must come out as other tokens."""
    ids = set(reserved.values()) - allowed
    for token in reserved:
        texts = [token, f"a{token}a", f" {token} ", f"a {token} a", f"{token}{token}", f"\n{token}\n"]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            if ids & set(encoding.ids):
                raise ConfigError(
                    f"tokenizer {source!r} takes the text {token!r} in a document for a special token; "
                    "give another tokenizer"
                )
