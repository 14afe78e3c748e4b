"""The tokenizer: trained here (byte-level BPE, so that no text is unknown) or any fast one of Hugging Face.

Documents are data: a document that contains the text `<|endoftext|>` gets the ordinary tokens of these thirteen
characters, never the token that ends documents. `plain` is the tokenizer that sees to it, whatever the given one does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from doremi.corpus.bpe import Progress, Stop, train_bpe
from doremi.corpus.cutting import BETWEEN_WORDS, pieces
from doremi.corpus.encoding import CHUNK, Spec
from doremi.corpus.plain import Plain, plain_tokenizer
from doremi.errors import ConfigError
from doremi.files import key_of, write_bytes

END_OF_TEXT = "<|endoftext|>"
# What a bare tokenizer.json, which does not say which token ends a text, is searched for, in this order.
_KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")
_FRAMING = ("truncation", "padding", "post_processor")
_SMALLEST = 257  # 256 bytes and the end of text


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer with the token that ends documents; `source` is `trained` or the name or path it was loaded from.

    `special_tokens` are by the name they have in tokenizer_config.json; `more_special` are those without a name.
    """

    backend: Tokenizer
    source: str
    end_of_text: str = END_OF_TEXT
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    more_special: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.backend.no_truncation()
        self.backend.no_padding()

    @cached_property
    def end_of_text_id(self) -> int:
        found = self.backend.token_to_id(self.end_of_text)
        assert found is not None, "checked where the tokenizer is made"
        return found

    @cached_property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: the largest id plus one, since ids may have gaps."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def dtype(self) -> str:
        """numpy type of the token files: `uint16` where it holds every id, else `uint32`."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"

    @cached_property
    def sha256(self) -> str:
        return tokenizer_sha256(self.backend, self.end_of_text)

    @cached_property
    def plain(self) -> Plain:
        """What documents are encoded with; `ConfigError` where their text cannot be kept apart from special tokens."""
        special = {*self.special_tokens.values(), *self.more_special}
        return plain_tokenizer(self.backend, self.source, self.end_of_text, special)

    @property
    def spec(self) -> Spec:
        return Spec(self.plain, self.end_of_text_id, self.dtype)

    @property
    def unknown_id(self) -> int | None:
        """The token that stands for what the tokenizer does not know; None where there is no such token."""
        return self.plain.unknown_id

    @property
    def special_texts(self) -> list[str]:
        """How special tokens are written: in a document this is text like any other."""
        marked = [token.content for token in self.backend.get_added_tokens_decoder().values() if token.special]
        return sorted({self.end_of_text, *self.special_tokens.values(), *self.more_special, *marked})

    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone: nothing added, special tokens in it read as plain text."""
        ids = self._text_backend.encode(self.plain.whole(text), add_special_tokens=False).ids
        return [id_ for id_ in ids if id_ != self.plain.lost_id]

    @cached_property
    def _text_backend(self) -> Tokenizer:
        return self.plain.backend()

    def decode(self, ids: Iterable[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Write what `transformers.AutoTokenizer.from_pretrained(folder)` needs; no machine's paths in it."""
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **dict(sorted(self.special_tokens.items())),
            "eos_token": self.end_of_text,
            "clean_up_tokenization_spaces": False,
        }
        write_bytes(folder / "tokenizer.json", self.backend.to_str(pretty=True).encode())
        write_bytes(folder / "tokenizer_config.json", (json.dumps(config, indent=1) + "\n").encode())

    def described(self) -> dict[str, Any]:
        """All of it as JSON: what `save` writes for others leaves out where it came from, and how text is cut."""
        return {
            "backend": self.backend.to_str(),
            "source": self.source,
            "end_of_text": self.end_of_text,
            "special_tokens": dict(self.special_tokens),
            "more_special": list(self.more_special),
            "plain": asdict(self.plain),
        }

    @classmethod
    def restored(cls, value: Mapping[str, Any]) -> TextTokenizer:
        """The tokenizer that was `described`."""
        found = cls(
            Tokenizer.from_str(value["backend"]), value["source"], value["end_of_text"], value["special_tokens"],
            tuple(value["more_special"]),
        )  # fmt: skip
        found.__dict__["plain"] = Plain(**value["plain"])  # finding out how it is cut takes a second
        return found


def tokenizer_sha256(backend: Tokenizer, end_of_text: str) -> str:
    """Identity of a tokenizer: SHA-256 of all that decides a document's ids, keys sorted, and of its end-of-text token.

    How prompts are padded, cut and framed is left out: libraries change it; documents never meet it.
    """
    described = json.loads(backend.to_str())
    decisive = {name: value for name, value in described.items() if name not in _FRAMING}
    return key_of({"tokenizer": decisive, "end_of_text": end_of_text})


def train_tokenizer(
    sample: Iterable[str], vocab_size: int, *, progress: Progress | None = None, stop: Stop | None = None
) -> TextTokenizer:
    """Train a byte-level BPE of at most `vocab_size` tokens; the end of text is id 0, all 256 bytes are in it.

    The same sample gives the same tokenizer. A small sample may have fewer pairs to merge than asked for: read
    `vocab_size` of the result. `progress(step, share)` is called several times a second with the share of a step that
    is done, from 0 to 1. `Interrupted` is raised soon after `stop()` says True. What takes a second asks neither.
    """
    if vocab_size < _SMALLEST:
        raise ConfigError(
            f"tokenizer vocab_size is {vocab_size}; it needs at least {_SMALLEST} (256 bytes, end of text)"
        )
    progress, stop = progress or (lambda step, share: None), stop or (lambda: False)
    backend = train_bpe(_in_parts(sample), vocab_size, END_OF_TEXT, progress, stop)
    return TextTokenizer(backend, "trained")


def _in_parts(sample: Iterable[str]) -> Iterator[str]:
    """Long texts in parts, since the library takes over 100 bytes of memory for each byte of one text."""
    cuts = re.compile(BETWEEN_WORDS)
    for text in sample:
        for piece, _ in pieces(text, CHUNK, cuts):
            for start in range(0, len(piece), 2 * CHUNK):  # what has no blanks is not made of words
                yield piece[start : start + 2 * CHUNK]


def load_tokenizer(name_or_path: str) -> TextTokenizer:
    """Load a `tokenizer.json`, a folder that `save_pretrained` wrote, or a Hugging Face name (needs the network once).

    `ConfigError` where there is none, where it is not a fast tokenizer, where no token ends a text, or where text
    cannot be kept apart from special tokens.
    """
    found = _from_file(name_or_path) if name_or_path.endswith(".json") else _from_folder(name_or_path)
    _ = found.plain  # whatever is wrong with it is said now
    return found


def _from_folder(name_or_path: str) -> TextTokenizer:
    loaded = _from_hugging_face(name_or_path)
    special = {name: str(token) for name, token in loaded.special_tokens_map.items() if isinstance(token, str)}
    if not loaded.eos_token:
        raise ConfigError(
            f"tokenizer {name_or_path!r} has no end-of-text token; set eos_token in tokenizer_config.json"
        )
    backend = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    more = sorted({str(token) for token in loaded.all_special_tokens} - set(special.values()))
    return TextTokenizer(backend, name_or_path, str(loaded.eos_token), special, tuple(more))


def _from_file(path: str) -> TextTokenizer:
    try:
        backend = Tokenizer.from_str(Path(path).expanduser().read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception for a broken file
        raise ConfigError(
            f"tokenizer {path!r} cannot be loaded ({_first_line(error)}); give a tokenizer.json"
        ) from None
    for token in _KNOWN_ENDS:
        if backend.token_to_id(token) is not None:
            return TextTokenizer(backend, path, token)
    raise ConfigError(
        f"tokenizer {path!r} has none of the end-of-text tokens {', '.join(_KNOWN_ENDS)}; "
        "give its folder with a tokenizer_config.json that sets eos_token"
    )


def _from_hugging_face(name_or_path: str) -> Any:
    from transformers import AutoTokenizer

    if "/" in name_or_path and name_or_path[0] in "/.~" and not Path(name_or_path).expanduser().is_dir():
        raise ConfigError(
            f"tokenizer {name_or_path!r}: there is no such folder; give a folder, a tokenizer.json or a name"
        )
    try:
        # Never remote code: with None instead of False the library would ask on the terminal.
        loaded = AutoTokenizer.from_pretrained(str(Path(name_or_path).expanduser()), trust_remote_code=False)
    except Exception as error:  # depends on the library, the hub and the network: OSError, ValueError, ...
        raise ConfigError(
            f"tokenizer {name_or_path!r} cannot be loaded ({_first_line(error)}); "
            "give a folder, a tokenizer.json or a name that can be downloaded from here"
        ) from None
    if not getattr(loaded, "is_fast", False):
        raise ConfigError(f"tokenizer {name_or_path!r} has no fast version; give one with a tokenizer.json")
    return loaded


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
