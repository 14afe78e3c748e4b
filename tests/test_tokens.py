"""Files of tokens, read where they lie: what comes out is what text would give, and what is wrong is one line.

Cases of others: uint32 written where uint16 is read and the other way round (dolma 142, 152; LLM-Shearing 65), indices
that do not fit their tokens (Megatron-LM 431, lm-engine 53), negative places beyond 2 GiB (Megatron-LM 1673), empty
documents (Megatron-LM 62), documents without an end.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from doremi.corpus import store
from doremi.corpus.key import corpus_key
from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.patterns import expand
from doremi.corpus.prepare import prepare
from doremi.corpus.sampler import Sampler
from doremi.corpus.sources import DomainSource, find_files
from doremi.corpus.token_files import SEGMENT, FlatFile, Segments
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.decoding import decoder_of
from doremi.corpus.tokenized.documents import Reader
from doremi.corpus.tokenized.flat import scan, scan_between, table_of
from doremi.corpus.tokenized.glance import count
from doremi.corpus.tokenized.layout import Layout
from doremi.corpus.tokenized.reading import Wanted, reading_of
from doremi.corpus.tokenizer import TextTokenizer
from doremi.corpus.validation import cut, digest_of
from doremi.corpus.value import Corpus
from doremi.errors import ConfigError, DamageError, DataError
from doremi.files import read_json
from shaped import WORDS, texts_of, write
from token_shapes import (
    FORMS,
    as_flat,
    as_megatron,
    as_parquet,
    flat,
    ids_of,
    megatron_index,
    texts,
    tokenizer,
    written,
)

WEB = ids_of(texts_of("web"))
NOTHING = (lambda: None, lambda what, done, total: None)


def request(root: Path, domains: dict[str, DomainSource], **settings: Any) -> PrepareRequest:
    tokenizer().save(root / "tokenizer")
    named = str(root / "tokenizer" / "tokenizer.json")
    return PrepareRequest(domains, 32, named, **{"validation_max_tokens": 20_000, "workers": 1, **settings})


def of_tokens(folder: str | Path, **settings: Any) -> DomainSource:
    return DomainSource([str(folder)], ids=TokenIds(), **settings)


def as_text(root: Path, topics: list[str]) -> dict[str, DomainSource]:
    for topic in topics:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts_of(topic))
        write(root / "text" / topic / "a.jsonl", lines.encode())
    return {topic: DomainSource([str(root / "text" / topic)]) for topic in topics}


def stream(corpus: Corpus, domain: str) -> np.ndarray:
    found = np.empty(corpus.entries[domain].train.tokens, np.int64)
    store.token_file(corpus, domain, "train").read(0, found)
    return found


def documents(corpus: Corpus, domain: str) -> list[str]:
    found: list[str] = []
    for split in ("train", "validation"):
        ids = stream(corpus, domain) if split == "train" else store.tokens(corpus, domain, split)
        found += texts(ids, np.fromfile(corpus.path(domain, f"{split}.ends"), "<u8"))
    return sorted(found)


def made(root: Path, ids: TokenIds | None = None, **settings: Any) -> Corpus:
    """Of the tokens in `web`, beside a domain of text."""
    source = DomainSource([str(root / "web")], ids=ids or TokenIds(), sample_tokens=settings.pop("sample", None))
    return prepare(request(root, {"web": source, **as_text(root, ["law"])}, **settings), root / "corpus")


def said(root: Path, ids: TokenIds | None = None) -> str:
    with pytest.raises(DataError) as caught:
        made(root, ids)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(root: Path, docs: list[list[int]], name: str = "a.bin", dtype: str = "<u2") -> Path:
    path = root / "web" / name
    write(path, flat(docs, dtype))
    return path


def pair(root: Path, docs: list[list[int]], dtype: str = "<u2", code: int = 8) -> Path:
    path = put(root, docs, dtype=dtype)
    write(path.with_suffix(".idx"), megatron_index([len(one) for one in docs], code, np.dtype(dtype).itemsize))
    return path


# -- every form ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_text(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("text")
    return prepare(request(root, as_text(root, list(WORDS))), root / "corpus")


NAMES = list(FORMS)


@pytest.mark.parametrize("forms", [NAMES[:3], NAMES[3:6], NAMES[5:]], ids=" ".join)
def test_tokens_in_place_are_those_of_the_text(tmp_path: Path, forms: list[str], from_text: Corpus) -> None:
    """The same is held out, byte for byte, and the training tokens are those that train.bin would hold."""
    folders = written(tmp_path, forms)
    corpus = prepare(request(tmp_path, {name: of_tokens(path) for name, path in folders.items()}), tmp_path / "corpus")
    store.verify(corpus, full=True, in_place=True)
    for domain, form in zip(WORDS, forms, strict=True):
        for file in ("validation.bin", "validation.ends", "validation.documents", "train.ends"):
            assert corpus.path(domain, file).read_bytes() == from_text.path(domain, file).read_bytes()
        entry, other = corpus.entries[domain], from_text.entries[domain]
        assert entry.in_place is not None
        assert entry.in_place.tokens_sha256 == other.train.files[f"{domain}/train.bin"]
        assert (entry.train.bytes, entry.tokens, entry.found) == (other.train.bytes, other.tokens, other.found)
        assert documents(corpus, domain) == sorted(texts_of(domain))
        assert not corpus.path(domain, "train.bin").exists()
        packed = form in ("packed arrow", "parquet")
        assert ["is compressed" in note for note in corpus.remarks[domain].notes] == [True] * packed


def test_a_manifest_of_text_is_what_it_was(from_text: Corpus) -> None:
    assert "in_place" not in (from_text.folder / "manifest.json").read_text()
    assert read_json(from_text.folder / "manifest.json", "manifest")["format"] == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30), min_size=20, max_size=90)
)
def test_long_documents_are_cut_where_their_text_is(words: list[str]) -> None:
    """Pieces have the hashes of the text's own, and their tokens are the document's, each once."""
    text = " ".join(words)
    ids = np.array([*tokenizer().encode(text), 0])
    decoder = decoder_of(tokenizer())
    assert decoder.exact
    pieces = Reader(decoder, 0, 64, re.compile("$^")).cut(ids).pieces
    assert [piece.digest for piece in pieces] == [digest_of(part) for part in cut(text, 64)]
    assert [piece.first for piece in pieces] == [0, *(piece.last for piece in pieces[:-1])]
    assert pieces[-1].last == len(ids) - 1
    upto = decoder.upto(ids[:-1])
    ends = np.cumsum([len(part.encode()) for part in cut(text, 64)])
    for piece, end in zip(pieces[:-1], ends.tolist(), strict=False):  # the last token that does not reach beyond
        assert upto[piece.last] <= end
        assert upto[piece.last + 1] > end
    assert sum(piece.size for piece in pieces) == len(text.encode())


def pieces_of_bytes(prepended: bool) -> TextTokenizer:
    """As Llama 2 has them (a blank before every text), or Gemma (none)."""
    names = [
        "<unk>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "\u2581",
        *"etaoinshrdlu",
        "th",
        "the",
        "\u2581the",
    ]
    model = models.BPE({name: i for i, name in enumerate(names)}, [("t", "h"), ("th", "e"), ("\u2581", "the")],
                       byte_fallback=True, unk_token="<unk>")  # fmt: skip
    backend = Tokenizer(model)
    blanks = normalizers.Replace(" ", "\u2581")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), blanks]) if prepended else blanks
    backend.add_special_tokens(["<unk>", "</s>"])
    return TextTokenizer(backend, "made here", "</s>")


@pytest.mark.parametrize("prepended", [True, False])
def test_tokenizers_with_a_sign_for_the_blank(prepended: bool) -> None:
    decoder = decoder_of(pieces_of_bytes(prepended))
    assert (decoder.exact, decoder.strips) == (True, prepended)
    for text in (" the other\u6771\u4eac", "the the", *texts_of("web")):
        ids = np.array(decoder.tokenizer.encode(text))
        assert decoder.data(ids) == text.encode()
        assert decoder.upto(ids)[-1] == len(text.encode())
        pieces = Reader(decoder, 1, 64, re.compile("$^")).cut(ids).pieces
        assert [piece.digest for piece in pieces] == [digest_of(part) for part in cut(text, 64)]


def test_a_text_that_is_held_out_as_text_is_trained_on_in_no_file_of_tokens(tmp_path: Path) -> None:
    as_megatron(tmp_path / "web", [*WEB, *ids_of(texts_of("law"))])
    corpus = made(tmp_path)
    ends = np.fromfile(corpus.path("law", "validation.ends"), "<u8")
    held = set(texts(store.tokens(corpus, "law", "validation"), ends))
    trained = set(texts(stream(corpus, "web"), np.fromfile(corpus.path("web", "train.ends"), "<u8")))
    assert held
    assert not held & trained
    assert corpus.entries["web"].found.excluded > 0


def test_a_tokenizer_that_loses_text_goes_by_ids(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers

    names = [
        "<|endoftext|>",
        "[UNK]",
        *sorted({w for t in WORDS for text in texts_of(t) for w in text.lower().split()}),
    ]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<|endoftext|>", "[UNK]"])
    (tmp_path / "web").mkdir()
    backend.save(str(tmp_path / "words.json"))
    put(tmp_path, [[*backend.encode(text).ids, 0] for text in texts_of("web")])
    domains = {"web": of_tokens(tmp_path / "web"), **as_text(tmp_path, ["law"])}
    asked = replace(request(tmp_path, domains), tokenizer=str(tmp_path / "words.json"))
    corpus = prepare(asked, tmp_path / "corpus")
    assert corpus.remarks["web"].notes[0].startswith("its tokens do not give the exact text")
    assert corpus.entries["web"].validation.bytes > 0


# -- what is wrong ---------------------------------------------------------------------------------------------------


def swapped(docs: list[list[int]]) -> bytes:
    return np.concatenate([np.array(one) for one in docs]).astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("data", "ids", "says"),
    [
        (flat(WEB, "<u4"), TokenIds(), "every second number is below 8, so it more likely holds uint32;"),
        (flat(WEB), TokenIds("uint32"), "no whole number of uint32"),
        (flat([*WEB, [0]]), TokenIds("uint32"), "It more likely holds uint16"),
        (flat(WEB) + b"x", TokenIds(), "9,423 bytes, which is no whole number of uint16"),
        (swapped(WEB), TokenIds(), "Its bytes are more likely in big-endian order"),
        (
            flat([*WEB[:5], [1, 5000, 0], *WEB[5:]]),
            TokenIds(),
            "it has the id 5,000, and the tokenizer's vocabulary is 400",
        ),
        (flat(WEB), TokenIds(end=399), "no document ends with the id 399 (tokenized.end)"),
        (flat(ids_of(texts_of("web"), ended=False)), TokenIds(), "no document ends with the id 0 (the tokenizer's"),
        (b"", TokenIds(), "holds no tokens"),
    ],
)
def test_arrays_that_are_others(tmp_path: Path, data: bytes, ids: TokenIds, says: str) -> None:
    write(tmp_path / "web" / "a.bin", data)
    assert says in said(tmp_path, ids)


def test_an_id_that_only_reading_all_of_it_finds(tmp_path: Path) -> None:
    docs = WEB * 400
    docs[7777] = [1, 401, 0]
    put(tmp_path, docs)
    assert "it has the id 401, and the tokenizer's vocabulary is 400" in said(tmp_path)


def test_numpy_headers(tmp_path: Path) -> None:
    path = tmp_path / "web" / "a.npy"
    path.parent.mkdir()
    for array, says in [
        (np.concatenate(WEB).astype(">u2"), "big-endian order (>u2)"),
        (np.concatenate(WEB).astype("f4"), "holds float32"),
        (np.asfortranarray(np.ones((8, 8), "u2")), "Fortran's order"),
    ]:
        np.save(path, array)
        assert says in said(tmp_path)
    np.save(path, np.concatenate(WEB).astype("u2"))
    assert "its header says uint16, and tokenized.type says uint32" in said(tmp_path, TokenIds("uint32"))
    path.write_bytes(path.read_bytes()[:-2])
    assert "its header says 4,711 tokens, and it has 4,710" in said(tmp_path)


def test_pairs_that_do_not_belong_together(tmp_path: Path) -> None:
    def index(change: Any) -> str:
        path = pair(tmp_path, WEB).with_suffix(".idx")
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(bytes(data))
        return said(tmp_path)

    def negative(data: bytearray) -> None:
        data[34 + 4 * len(WEB) : 34 + 4 * len(WEB) + 8] = struct.pack("<q", -(2**31))

    assert "a.idx has 1,233 bytes instead of 1,242" in index(lambda data: data.__delitem__(slice(-9, None)))
    assert "negative lengths or places, as older writers leave beyond 2 GiB" in index(negative)
    assert "of the old form (TNTIDX)" in index(lambda data: data.__setitem__(slice(0, 8), b"TNTIDX\0\0"))
    assert "is no index of Megatron" in index(lambda data: data.__setitem__(slice(0, 8), b"whatever"))
    assert "version 1 and type 11" in index(lambda data: data.__setitem__(17, 11))
    assert "document bounds that do not cover" in index(lambda data: data.__setitem__(slice(-8, None), bytes(8)))
    path = pair(tmp_path, WEB)
    path.write_bytes(path.read_bytes()[:-100])
    assert "names tokens up to byte 9,422, and the file has 9,322" in said(tmp_path)
    pair(tmp_path, WEB, "<i4", 8)
    assert "every second number is below 8" in said(tmp_path)


def test_a_table_of_ends_of_another_file(tmp_path: Path) -> None:
    write(put(tmp_path, WEB, "a.ds").with_name("a.ds.index"), np.array([5, 10], "<u8").tobytes())
    assert "a.ds.index ends at token 10, and the file has 4,711 as uint16" in said(tmp_path)


def test_columns_that_hold_no_ids(tmp_path: Path) -> None:
    path = tmp_path / "web" / "a.arrow"
    path.parent.mkdir()
    for column, says in [
        ({"text": ["a"]}, "has no column 'input_ids'; it has 'text'"),
        ({"input_ids": ["a"]}, "holds string, and not lists of token ids"),
        ({"input_ids": pa.array([[1, None]], pa.list_(pa.int32()))}, "rows with null for an id"),
        ({"input_ids": pa.array([[1, 500]], pa.list_(pa.int32()))}, "it has the id 500"),
    ]:
        table = pa.table(column)
        with ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        assert says in said(tmp_path)


def test_tokens_need_their_tokenizer_and_a_disk(tmp_path: Path) -> None:
    put(tmp_path, WEB)
    without = replace(request(tmp_path, {"web": of_tokens(tmp_path / "web")}), tokenizer=None)
    with pytest.raises(ConfigError, match="name the tokenizer that made them"):
        prepare(without, tmp_path / "corpus")
    with pytest.raises(DataError, match="copy these files to a local disk"):
        corpus_key(request(tmp_path, {"web": of_tokens("s3://bucket/web.bin")}))
    write(tmp_path / "web" / "a.bin", b"")
    (tmp_path / "web" / "a.bin").rename(tmp_path / "web" / "a.txt")
    assert "has no file of tokens; doremi reads .bin .npy" in said(tmp_path)


# -- what is odd, and fine -------------------------------------------------------------------------------------------


def test_empty_documents_and_documents_without_an_end(tmp_path: Path) -> None:
    pair(tmp_path, [[], *WEB[:10], [0], [], *[one[:-1] for one in WEB[10:]], []])
    corpus = made(tmp_path)
    assert corpus.entries["web"].found.empty == 4
    assert documents(corpus, "web") == sorted(texts_of("web"))  # those without an end got one


def test_documents_beyond_four_gigabytes(tmp_path: Path) -> None:
    """With holes in place of what is before them."""
    path, place = tmp_path / "web" / "a.bin", 5 << 30
    path.parent.mkdir()
    with path.open("wb") as file:
        file.seek(place)
        file.write(flat(WEB))
    index = bytearray(megatron_index([len(one) for one in WEB], 8, 2))
    for number in range(len(WEB)):
        at = 34 + 4 * len(WEB) + 8 * number
        index[at : at + 8] = struct.pack("<q", place + struct.unpack("<q", index[at : at + 8])[0])
    path.with_suffix(".idx").write_bytes(bytes(index))
    corpus = made(tmp_path)
    store.verify(corpus, full=True, in_place=True)
    assert documents(corpus, "web") == sorted(texts_of("web"))


def test_what_an_index_leaves_out_is_said(tmp_path: Path) -> None:
    path = pair(tmp_path, WEB)
    path.write_bytes(path.read_bytes() + bytes(200))
    assert made(tmp_path).remarks["web"].notes == ("a.idx knows 4,711 of the 4,811 tokens of its .bin",)


def test_tokens_of_another_tokenizer_are_a_warning(tmp_path: Path) -> None:
    order = np.concatenate([[0], np.random.default_rng(0).permutation(399) + 1])
    put(tmp_path, [order[one].tolist() for one in WEB])
    notes = made(tmp_path).remarks["web"].notes
    assert [note.split(" looked at ")[0] for note in notes] == ["20 of 20 documents", "the text of 20 of 20 documents"]


def test_a_pair_is_named_as_megatron_does(tmp_path: Path) -> None:
    pair(tmp_path, WEB)
    domains = {"web": of_tokens(tmp_path / "web" / "a"), **as_text(tmp_path, ["law"])}
    assert prepare(request(tmp_path, domains), tmp_path / "corpus").entries["web"].train.documents == 48


def test_validation_files_of_tokens(tmp_path: Path) -> None:
    put(tmp_path, WEB, "train.bin")
    put(tmp_path, ids_of(texts_of("code")), "val.bin")
    corpus = made(tmp_path)
    assert corpus.count("validation", "documents")[0] == corpus.count("train", "documents")[0] == 60


def test_equal_documents_are_dropped(tmp_path: Path) -> None:
    pair(tmp_path, [*WEB, *WEB[:20]])
    corpus = made(tmp_path, drop_duplicates=True)
    assert corpus.entries["web"].found.dropped == 20
    assert documents(corpus, "web") == sorted(texts_of("web"))


@pytest.mark.parametrize(
    ("writer", "size"),
    [
        (as_flat, 2),
        pytest.param(as_megatron, 3, marks=pytest.mark.slow),
        pytest.param(as_parquet, 2, marks=pytest.mark.slow),
    ],
)
def test_a_larger_sample_holds_the_smaller(tmp_path: Path, writer: Any, size: int) -> None:
    number = 60_000
    writer(tmp_path / "web", [[1 + i % 300, 1 + i // 300 % 300, *[7] * 40, 0] for i in range(number)])
    source = of_tokens(tmp_path / "web")
    files = find_files(source, key="web").train
    places = []
    for tokens in (100_000, 900_000):
        asked = Wanted("web", TokenIds(), tokenizer(), 64, tmp_path / "to", tmp_path / "scans", tokens, *NOTHING)
        found = reading_of(asked, files, [])
        read = [(one.file, one.offset, len(one.ids)) for one in found.train.documents()]
        assert tokens <= sum(length for *_, length in read) < tokens + 600_000
        assert all(length == 43 for *_, length in read)
        assert found.sample is not None
        assert found.sample.of_bytes == number * 43 * size
        places.append(set(read))
    assert places[0] < places[1]
    assert not (tmp_path / "scans").exists()  # what is not in the sample is not looked through


def test_a_scan_that_was_stopped_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from doremi.corpus.tokenized import flat as module

    put(tmp_path, WEB)
    asked = request(tmp_path, {"web": of_tokens(tmp_path / "web"), "law": of_tokens(tmp_path / "nothing")})
    write(tmp_path / "nothing" / "a.bin", b"")
    with pytest.raises(DataError, match="holds no tokens"):
        prepare(asked, tmp_path / "corpus")
    write(tmp_path / "nothing" / "a.idx", megatron_index([len(one) for one in WEB], 8, 2))
    write(tmp_path / "nothing" / "a.bin", flat(WEB))
    monkeypatch.setattr(module, "scan", lambda *_: pytest.fail("scanned again"))
    corpus = prepare(asked, tmp_path / "corpus")
    assert not (corpus.folder / "scans").exists()


# -- later -----------------------------------------------------------------------------------------------------------


def test_files_that_change_or_go_are_named(tmp_path: Path) -> None:
    path = pair(tmp_path, WEB * 80)
    corpus = made(tmp_path)
    store.verify(corpus, full=True, in_place=True)
    data = bytearray(path.read_bytes())
    second = (len(data) - store.SAMPLED_BYTES) // (store.SAMPLED - 1)  # block of the sampled checksum
    changed = bytearray(data)
    changed[store.SAMPLED_BYTES : second : 2] = [byte ^ 1 for byte in data[store.SAMPLED_BYTES : second : 2]]
    path.write_bytes(bytes(changed))
    store.verify(corpus, full=True)
    with pytest.raises(DamageError, match=r"some of its tokens are others than when it was prepared \(its first file"):
        store.verify(corpus, full=True, in_place=True)
    path.write_bytes(bytes([data[0] ^ 1]) + bytes(data[1:]))
    with pytest.raises(DamageError, match=r"a\.bin has other bytes than when it was prepared; put it back"):
        store.verify(corpus, full=False)
    path.write_bytes(bytes(data[:-2]))
    with pytest.raises(DamageError, match=r"has 753,758 bytes instead of 753,760; put it back"):
        store.verify(corpus, full=False)
    path.unlink()
    with pytest.raises(DamageError, match=r"domain 'web' is used where it lies, and .*a\.bin is missing; put it back"):
        store.verify(corpus, full=False)


def test_what_is_asked_of_tokens_is_in_the_key(tmp_path: Path) -> None:
    path = pair(tmp_path, WEB)
    base = request(tmp_path, {})

    def key(ids: TokenIds) -> str:
        return corpus_key(replace(base, domains={"web": DomainSource([str(tmp_path / "web")], ids=ids)}))

    keys = {key(ids) for ids in (TokenIds(), TokenIds("int32"), TokenIds(end=3), TokenIds(field="ids"))}
    assert len(keys) == 4
    assert key(TokenIds()) in keys
    data = path.with_suffix(".idx").read_bytes()
    path.with_suffix(".idx").write_bytes(data[:-1])
    assert key(TokenIds()) not in keys


# -- segments --------------------------------------------------------------------------------------------------------


def test_documents_that_begin_in_a_stretch_of_a_file(tmp_path: Path) -> None:
    """Stretches that follow one another have each document once, wherever they are cut, also where one begins."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"he" + flat([[1, 0], [2, 0], [0], [3, 4, 5, 0], [6, 7]]))
    layout = Layout(path, "flat", np.dtype("<u2"), 2, 11)
    whole = table_of(scan(layout, 0), layout)
    assert whole.tokens.tolist() == [2, 2, 1, 4, 2]
    for cut_at in range(2, 26):
        for again in range(cut_at, 26):
            parts = [scan_between(layout, 0, a, b) for a, b in ((0, cut_at), (cut_at, again), (again, 99))]
            assert np.concatenate([part.offset for part in parts]).tolist() == whole.offset.tolist()
            assert np.concatenate([part.tokens for part in parts]).tolist() == whole.tokens.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_segments_read_as_one_row(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever their types, places and gaps, any window of them is that of the tokens laid out in a row."""
    folder = tmp_path_factory.mktemp("segments")
    types = ["<u2", "<i4", "<i8"]
    held = [np.arange(50) + 100 * i for i in range(3)]
    for i, (ids, dtype) in enumerate(zip(held, types, strict=True)):
        (folder / str(i)).write_bytes(b"head!" + ids.astype(dtype).tobytes())
    rows, row, file, first = [], [], 0, 0
    for _ in range(data.draw(st.integers(1, 8))):
        if first > 45 or data.draw(st.booleans()):  # else goes on after a gap, or none
            file, first = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 49))
        tokens, end = data.draw(st.integers(0, min(9, 50 - first))), data.draw(st.integers(0, 1))
        rows.append((file, end, 5 + first * np.dtype(types[file]).itemsize, tokens))
        row += [*held[file][first : first + tokens].tolist(), *[7] * end]
        first += tokens + data.draw(st.integers(0, 2))
    source = Segments([(folder / str(i), types[i]) for i in range(3)], np.array(rows, SEGMENT), 7, "train.segments")
    first = data.draw(st.integers(0, len(row)))
    last = data.draw(st.integers(first, len(row)))
    out = np.empty(last - first, np.int64)
    source.read(first, out)
    assert out.tolist() == row[first:last]
    with pytest.raises(DamageError, match="ends before token"):
        source.read(len(row), np.empty(1, np.int64))


def test_an_arrow_file_with_a_flipped_bit_is_counted_or_refused_in_one_line(tmp_path: Path) -> None:
    column = pa.array([list(range(i, i + 9)) for i in range(12)], pa.list_(pa.int32()))
    table = pa.RecordBatch.from_arrays([column], ["input_ids"])
    path, refused = tmp_path / "a.arrow", 0
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_batch(table)
    whole = path.read_bytes()
    for place in range(24, len(whole) // 2, 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        (file,) = expand(str(path), "k")
        try:
            count("web", file, TokenIds())
        except DataError as error:
            refused += 1
            assert str(error).startswith(f"domain 'web': {path}: ")
    assert refused > 50


def in_pieces(rng: np.random.Generator, folder: Path, *, far: bool, end: int | None) -> tuple[Segments, list[int]]:
    """A domain of short segments of two files, and its tokens in a row. Every other gap is too wide where they are
    `far`; with `end` None some segments are ended and others are not."""
    held = [rng.integers(0, 60_000, 60_000) for _ in range(2)]
    rows, row, place = [], [], [0, 0]
    for i, ids in enumerate(held):
        (folder / str(i)).write_bytes(ids.astype("<u2").tobytes())
    for number in range(120):
        file, tokens = number // 30 % 2, int(rng.integers(0, 12))
        ended = int(rng.integers(0, 2)) if end is None else end
        rows.append((file, ended, 2 * place[file], tokens))
        row += [*held[file][place[file] : place[file] + tokens].tolist(), *[7] * ended]
        place[file] += tokens + int(rng.integers(0, 3)) + (9000 if far and number % 50 == 0 else 0)
    return Segments([(folder / str(i), "<u2") for i in range(2)], np.array(rows, SEGMENT), 7, "train.segments"), row


def test_a_batch_is_what_its_windows_are_one_by_one(tmp_path: Path) -> None:
    """Of domains that are read together, of one whose segments are not alike, and of one that is a file."""
    rng = np.random.default_rng(3)
    kinds = [(False, 0), (True, 0), (False, 1), (True, 1), (False, None)]
    made = []
    for number, (far, end) in enumerate(kinds):
        (tmp_path / str(number)).mkdir()
        made.append(in_pieces(rng, tmp_path / str(number), far=far, end=end))
    flat = rng.integers(0, 60_000, 700)
    (tmp_path / "flat").write_bytes(flat.astype("<u2").tobytes())
    every = [*made, (FlatFile(tmp_path / "flat", "uint16"), flat.tolist())]
    for chosen in ([0, 1], [2, 3], [0, 2, 3], [4, 5], [5, 0, 4, 1], [2]):
        sources, rows = zip(*(every[i] for i in chosen), strict=True)
        counts = [windows(len(row), 16) for row in rows]
        stream = BatchStream(Sampler([1 / len(chosen)] * len(chosen), counts, 24, "k"), sources, 16)
        for step in range(8):
            (batch,) = stream.micro_batches(step)
            for tokens, domain, sequence in zip(batch.tokens, batch.domain_B, batch.sequence_B, strict=True):
                assert tokens.tolist() == rows[domain][16 * sequence : 16 * sequence + 17]


def test_batches_over_segments_are_those_over_one_file(tmp_path: Path, from_text: Corpus) -> None:
    pair(tmp_path, WEB)
    corpus = made(tmp_path)
    one = FlatFile(from_text.path("web", "train.bin"), "uint16")
    counts = [windows(corpus.entries["web"].train.tokens, 32)]
    for step in range(3):
        batches = [
            BatchStream(Sampler([1.0], counts, 4, "k"), [source], 32).micro_batches(step)[0]
            for source in (one, store.token_file(corpus, "web", "train"))
        ]
        assert (batches[0].input_BT == batches[1].input_BT).all()
