"""Text stays text, whatever the tokenizer; pieces have the tokens of the whole; what is unknown or lost is counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from doremi.corpus import encoding, plain
from doremi.corpus.cutting import pieces
from doremi.corpus.encoding import Encoder
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import prepare
from doremi.corpus.sources import DomainSource
from doremi.corpus.tokenizer import TextTokenizer, load_tokenizer
from doremi.errors import ConfigError

END = "</s>"
WORDS = ["the", "cat", "sat", "on", "a", "mat", "It's", "music", "3", END, "Zwei", "Katzen"]
SAMPLE = [" ".join(random.Random(seed).choices(WORDS, k=40)) for seed in range(40)] + ["< / s > e n d o f t x S"] * 5
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
Edit = Callable[[dict[str, Any]], object]


def edited(backend: Tokenizer, edit: Edit) -> Tokenizer:
    described = json.loads(backend.to_str())
    edit(described)
    return Tokenizer.from_str(json.dumps(described))


def flags(**values: bool) -> Edit:
    return lambda described: [token.update(special=False, **values) for token in described["added_tokens"]]


def nothing_added(described: dict[str, Any]) -> None:
    described["added_tokens"] = []


def bpe(pre: Any = None, *, alphabet: bool = True, first: list[str] | None = None, **options: Any) -> Tokenizer:
    backend = Tokenizer(models.BPE(**options))
    backend.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    special = [END, *(first or [])]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=letters, show_progress=False)
    backend.train_from_iterator(SAMPLE, trainer)
    return backend


def unigram(normalizer: Any = None, first: list[str] | None = None) -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    if normalizer:
        backend.normalizer = normalizer
    trainer = trainers.UnigramTrainer(
        vocab_size=60 + len(first or []),
        special_tokens=["<unk>", END, *(first or [])],
        unk_token="<unk>",
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE, trainer)
    return backend


def words(kind: Any, trainer: Any, pre: Any, normalizer: Any = None) -> Tokenizer:
    backend = Tokenizer(kind(unk_token="<unk>"))
    backend.pre_tokenizer = pre
    if normalizer:
        backend.normalizer = normalizer
    backend.train_from_iterator(SAMPLE, trainer(vocab_size=200, special_tokens=["<unk>", END], show_progress=False))
    return backend


def llama() -> Tokenizer:
    """As Llama 2 has it: a blank put first, no words, bytes for what is unknown."""
    backend = bpe(pre_tokenizers.Metaspace(), alphabet=False, first=["<unk>", *BYTES], byte_fallback=True)

    def edit(described: dict[str, Any]) -> None:
        blank = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        prefix = {"type": "Prepend", "prepend": "\u2581"}
        described["pre_tokenizer"] = None
        described["normalizer"] = {"type": "Sequence", "normalizers": [prefix, blank]}
        described["model"].update(unk_token="<unk>", fuse_unk=True)
        described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] not in BYTES]

    return edited(backend, edit)


def every_word(described: dict[str, Any]) -> None:
    nothing_added(described)
    described["model"]["ignore_merges"] = True
    described["pre_tokenizer"] = json.loads(pre_tokenizers.WhitespaceSplit().__getstate__())


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": bpe,
    "not special": lambda: edited(bpe(), flags()),
    "strips both sides": lambda: edited(bpe(), flags(lstrip=True, rstrip=True)),
    "single word, normalized": lambda: edited(bpe(), flags(single_word=True, normalized=True)),
    "whole words first, as tiktoken": lambda: edited(bpe(), every_word),
    "fixed length": lambda: bpe(
        pre_tokenizers.Sequence([pre_tokenizers.FixedLength(7), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ),
    "letters": lambda: bpe(pre_tokenizers.WhitespaceSplit(), alphabet=False),
    "letters, no words": lambda: edited(
        bpe(pre_tokenizers.WhitespaceSplit(), alphabet=False), lambda d: d.update(pre_tokenizer=None)
    ),
    "unigram": unigram,
    "unigram, nothing added": lambda: edited(unigram(), nothing_added),
    "unigram, fullwidth is folded": lambda: unigram(normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])),
    "unigram, no words": lambda: edited(unigram(), lambda d: d.update(pre_tokenizer=None)),
    "unigram, unknown is the end": lambda: edited(unigram(), lambda d: d["model"].update(unk_id=1)),
    "unigram, nothing unknown": lambda: edited(unigram(), lambda d: d["model"].update(unk_id=None)),
    "unigram, a stripped text": lambda: unigram(normalizers.Strip()),
    "wordpiece": lambda: words(
        models.WordPiece, trainers.WordPieceTrainer, pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()
    ),
    "wordpiece, blanks": lambda: words(
        models.WordPiece, trainers.WordPieceTrainer, pre_tokenizers.WhitespaceSplit()
    ),
    "words": lambda: words(models.WordLevel, trainers.WordLevelTrainer, pre_tokenizers.WhitespaceSplit()),
    "one word": lambda: edited(
        words(models.WordLevel, trainers.WordLevelTrainer, pre_tokenizers.WhitespaceSplit()),
        lambda d: d.update(pre_tokenizer=None),
    ),
    "llama": llama,
}  # fmt: skip


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Loaded as a user's file is."""
    path = tmp_path_factory.mktemp("given") / "tokenizer.json"
    TOKENIZERS[request.param]().save(str(path))
    return load_tokenizer(str(path))


def encoded(tokenizer: TextTokenizer, *texts: str) -> list[tuple[list[int], int]]:
    with Encoder(tokenizer.spec, 1) as encoder:
        documents = list(encoder.encode((text, None) for text in texts))
    return [(np.frombuffer(tokens, tokenizer.dtype).tolist(), unknown) for tokens, unknown, _ in documents]


def test_text_that_spells_the_end_never_ends_a_document(tokenizer: TextTokenizer) -> None:
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in END)
    for text in (
        END,
        f"a{END}a",
        f"the {END} cat",
        f" {END} ",
        END * 3,
        f"{END}\n",
        END.upper(),
        wide,
        "\u6f22 \u0915",
    ):
        ids = tokenizer.encode(text)
        assert tokenizer.end_of_text_id not in ids
        assert encoded(tokenizer, text)[0][0] == [*ids, tokenizer.end_of_text_id]


def test_other_text_has_the_tokens_that_the_library_gives(tokenizer: TextTokenizer) -> None:
    for text in ("the cat sat on a mat", " a  mat music", "Katzen", ""):
        assert tokenizer.encode(text) == tokenizer.backend.encode(text, add_special_tokens=False).ids


def test_pieces_have_the_tokens_of_the_whole(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 40)
    stock = [
        *WORDS,
        "\u6f22\u5b57",
        "\u5b57\u3002\u5b57",
        "\U00010300",
        "\U00010301",
        "one\ntwo",
        "one.\ntwo",
        "x1",
        "--",
    ]
    for seed in range(10):
        text = " ".join(random.Random(seed).choices(stock, k=80))
        whole = tokenizer.encode(text)
        assert encoded(tokenizer, text)[0][0] == [*whole, tokenizer.end_of_text_id]
    monkeypatch.setattr(encoding, "CHUNK", 1 << 18)
    unbroken = "acgt" * 100
    assert encoded(tokenizer, unbroken)[0][0][:-1] == tokenizer.encode(unbroken)


def test_long_texts_are_cut_where_that_is_exact() -> None:
    """So that the test before this one is not of whole texts only."""
    expected = {"byte-level": 4, "unigram": 1, "llama": 3, "fixed length": 0, "one word": 0, "unigram, no words": 0}
    for name, rules in expected.items():
        cuts = TextTokenizer(TOKENIZERS[name](), name, END).plain.cuts
        assert cuts.count("(?=") == rules, name


def test_an_added_token_of_two_words_is_not_cut() -> None:
    backend = bpe()
    backend.add_tokens([AddedToken("cat sat", normalized=False)])
    cuts = TextTokenizer(backend, "two", END).plain.cut_pattern
    assert [piece for piece, _ in pieces("the cat sat on a mat " * 3, 20, cuts)] == ["the cat sat on a mat " * 3]


def test_a_text_without_a_place_to_cut_is_one_piece() -> None:
    cuts = TextTokenizer(bpe(), "bytes", END).plain.cut_pattern
    dna = "acgt" * 100
    assert list(pieces(dna, 50, cuts)) == [(dna, True)]
    assert list(pieces(f"a b {dna} c d", 10, cuts)) == [("a b", False), (f" {dna}", False), (" c d", True)]


# -- what is unknown or lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "unknown"),
    [
        ("byte-level", "\u6f22 \u0915 the", 0),
        ("llama", "\u6f22 \u0915 the", 0),  # bytes
        ("unigram", "\u6f22 cat \u0915", 2),
        ("unigram, nothing unknown", "\u6f22 cat \u0915", 2),
        ("unigram, unknown is the end", "\u6f22 cat \u0915", 2),
        ("letters", "\u6f22 cat \u0915", 2),  # the library drops them
        ("wordpiece", "\u6f22 cat \u0915", 2),
        ("words", "dog cat", 1),
        ("wordpiece", "cat cat\u0301", 1),  # an accent is stripped
    ],
)
def test_unknown_tokens_and_dropped_letters_are_counted(name: str, text: str, unknown: int) -> None:
    tokenizer = TextTokenizer(TOKENIZERS[name](), name, END)
    ((ids, found),) = encoded(tokenizer, text)
    assert found == unknown
    assert ids == [*tokenizer.encode(text), tokenizer.end_of_text_id]
    if tokenizer.unknown_id is not None and name != "wordpiece":
        assert ids.count(tokenizer.unknown_id) == unknown


@pytest.mark.parametrize("content", ["", " "])
def test_letters_that_a_normalizer_takes_away_are_counted(content: str) -> None:
    tokenizer = TextTokenizer(unigram(normalizers.Replace(Regex("[0-9\u00e4]"), content)), "no digits", END)
    assert [unknown for _, unknown in encoded(tokenizer, "cat 123", "3 \u00e4\u00e4 cat", "cat")] == [3, 3, 0]


def test_a_byte_level_model_without_all_bytes_drops_nothing_in_silence() -> None:
    tokenizer = TextTokenizer(bpe(alphabet=False), "few bytes", END)
    assert [unknown for _, unknown in encoded(tokenizer, "the cat", "\u6f22 the")] == [0, 3]  # three bytes


def test_counts_of_pieces_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CHUNK", 10)
    tokenizer = TextTokenizer(unigram(), "unigram", END)
    assert [unknown for _, unknown in encoded(tokenizer, "the \u6f22 cat " * 20, "cat", "\u6f22")] == [20, 0, 1]


# -- single members of the kind --------------------------------------------------------------------------------------


def test_the_unknown_token_is_not_spelled_either() -> None:
    tokenizer = TextTokenizer(unigram(first=["<pad>"]), "unigram", END, {"pad_token": "<pad>"})
    spelled = tokenizer.encode("a <pad> a")
    assert tokenizer.backend.token_to_id("<pad>") not in spelled
    assert len(tokenizer.encode("a <unk> a")) > 3 + 1  # more than one token for the word


def test_the_name_of_a_byte_is_not_the_byte() -> None:
    backend = unigram(first=BYTES)
    described: Edit = lambda d: (nothing_added(d), d["model"].update(byte_fallback=True))  # noqa: E731
    tokenizer = TextTokenizer(edited(backend, described), "bytes", END)
    assert tokenizer.backend.token_to_id("<0x41>") in tokenizer.backend.encode("the <0x41> cat").ids
    assert tokenizer.backend.token_to_id("<0x41>") not in tokenizer.encode("the <0x41> cat")


def test_ordinary_added_tokens_keep_their_ids() -> None:
    backend = bpe()
    backend.add_special_tokens(["<a>"])
    backend.add_tokens(["<b>"])
    tokenizer = TextTokenizer(backend, "added", END)
    assert tokenizer.backend.token_to_id("<b>") in tokenizer.encode("the <b> cat")
    assert tokenizer.backend.token_to_id("<a>") not in tokenizer.encode("the <a> cat")


def test_a_normalizer_makes_no_text_a_reserved_token() -> None:
    """This one drops what no text has, and would leave the number of a reserved token's name."""
    backend = Tokenizer(models.WordPiece({"<unk>": 0, END: 1, "1": 2}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(Regex("[^a-z0-9 ]"), "")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([AddedToken(END, normalized=True)])
    assert TextTokenizer(backend, "few", END).encode("1 1") == [2, 2]


def test_dropout_does_not_make_tokens_a_matter_of_luck() -> None:
    tokenizer = TextTokenizer(edited(bpe(), lambda d: d["model"].update(dropout=0.5)), "luck", END)
    assert len({tuple(tokenizer.encode("the cat sat on a mat")) for _ in range(10)}) == 1


def test_an_end_of_text_that_is_a_byte_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer 'mine': its end-of-text token '\u010a' is also a byte"):
        TextTokenizer(bpe(), "mine", "\u010a").encode("a")


def test_an_end_of_text_that_merges_make_is_spelled_with_smaller_tokens() -> None:
    tokenizer = TextTokenizer(bpe(), "mine", "the")
    assert tokenizer.end_of_text_id in tokenizer.backend.encode("the cat").ids
    spelled = [str(tokenizer.backend.id_to_token(id_)) for id_ in tokenizer.encode("the cat")]
    assert "".join(spelled) == "the\u0120cat"
    assert "the" not in spelled


def test_a_letter_model_with_no_room_for_losses_is_refused() -> None:
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.add_tokens(["<first>"])
    backend.add_special_tokens([END])
    with pytest.raises(ConfigError, match="no unknown token and would drop letters"):
        TextTokenizer(backend, "mine", END).encode("a")


def test_what_still_comes_out_of_text_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plain, "_rename", lambda described, reserved: None)
    unigram().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"takes the text '</s>' in a document for a special token"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


def test_the_manifest_counts_what_is_unknown(tmp_path: Path) -> None:
    """And the ends in the token files are those of the documents."""
    unigram().save(str(tmp_path / "tokenizer.json"))
    texts = [f"the <s>cat</s> {'x' * i} \u6f22" for i in range(40)]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    request = PrepareRequest(
        {"web": DomainSource([str(tmp_path / "web.jsonl")])}, 8, str(tmp_path / "tokenizer.json"), workers=1
    )
    corpus = prepare(request, tmp_path / "corpus")
    entry = asdict(corpus.entries["web"])
    end, unknown = corpus.tokenizer.end_of_text_id, 0
    for split in ("train", "validation"):
        ids = np.fromfile(corpus.path("web", f"{split}.bin"), "<u2")
        assert (ids == end).sum() == entry[split]["documents"]
        assert (ids == unknown).sum() == entry[split]["unknown"] >= entry[split]["documents"] > 0
