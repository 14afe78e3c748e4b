"""Tokenizer: trained ones lose nothing and repeat exactly, loaded ones keep their ids, documents stay plain text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from doremi.corpus.tokenizer import END_OF_TEXT, TextTokenizer, load_tokenizer, tokenizer_sha256, train_tokenizer
from doremi.errors import ConfigError

SAMPLE = ["the cat sat on the mat\n" * 20, "def f(x):\n    return x + 1\n" * 20, "\u00e4\u00f6\u00fc " * 20]
UNICODE = st.text(st.characters(codec="utf-8"))


@pytest.fixture(scope="module")
def trained() -> TextTokenizer:
    return train_tokenizer(SAMPLE, 280)


# -- training --------------------------------------------------------------------------------------------------------


def test_training_repeats_exactly(trained: TextTokenizer) -> None:
    again = train_tokenizer(iter(SAMPLE), 280)
    assert again.backend.to_str() == trained.backend.to_str()
    assert again.sha256 == trained.sha256
    assert train_tokenizer(SAMPLE[:2], 280).sha256 != trained.sha256


def test_trained_on_one_or_many_threads_is_the_same(tmp_path: Path) -> None:
    code = (
        "from doremi.corpus.tokenizer import train_tokenizer; import random, string; r = random.Random(0); "
        "words = [''.join(r.choices('abcdefgh', k=r.randint(1, 7))) for _ in range(400)]; "
        "print(train_tokenizer((' '.join(r.choices(words, k=50)) for _ in range(300)), 600).sha256)"
    )
    found = set()
    for threads in ("1", "4"):
        setting = {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true" if threads == "4" else "false"}
        run = subprocess.run([sys.executable, "-c", code], env=setting, capture_output=True, text=True, check=True)
        found.add(run.stdout)
    assert len(found) == 1


def test_end_of_text_is_0_and_every_byte_is_known(trained: TextTokenizer) -> None:
    assert (trained.end_of_text, trained.end_of_text_id, trained.source) == (END_OF_TEXT, 0, "trained")
    assert trained.vocab_size == 280
    assert trained.dtype == "uint16"
    assert set(pre_tokenizers.ByteLevel.alphabet()) < set(trained.backend.get_vocab())


@settings(deadline=None)
@given(text=UNICODE)
def test_any_text_comes_back_from_its_tokens(trained: TextTokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


def test_a_document_that_contains_the_special_token_is_plain_text(trained: TextTokenizer) -> None:
    text = f"before {END_OF_TEXT} after {END_OF_TEXT}"
    assert trained.end_of_text_id not in trained.encode(text)
    assert trained.decode(trained.encode(text)) == text


def test_sample_too_small_for_the_vocabulary() -> None:
    assert train_tokenizer(["ab"], 5000).vocab_size == 258
    assert train_tokenizer([], 257).vocab_size == 257


def test_vocabulary_without_room_for_all_bytes() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 256; it needs at least 257"):
        train_tokenizer(SAMPLE, 256)


def test_type_of_the_token_files_follows_the_largest_id(trained: TextTokenizer) -> None:
    def with_largest_id(largest: int) -> TextTokenizer:
        return TextTokenizer(Tokenizer(models.WordLevel({END_OF_TEXT: 0, "a": largest}, unk_token="a")), "test")

    assert [with_largest_id(n).dtype for n in (65535, 65536)] == ["uint16", "uint32"]
    assert with_largest_id(65535).vocab_size == 65536  # ids with a gap: rows of an embedding, not words


# -- saving ----------------------------------------------------------------------------------------------------------


def test_transformers_loads_what_is_saved(trained: TextTokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    trained.save(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*SAMPLE, " two  blanks , don 't \u4e2d\u6587 \U0001f600\n\n", ""]:
        assert loaded(text)["input_ids"] == trained.encode(text)
        assert loaded.decode(loaded(text)["input_ids"]) == text
    assert (loaded.eos_token, loaded.eos_token_id) == (END_OF_TEXT, 0)
    again = load_tokenizer(str(tmp_path))
    assert again.sha256 == trained.sha256
    assert again.source == str(tmp_path)


def test_saved_files_hold_no_path_and_are_the_same_again(trained: TextTokenizer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        trained.save(tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        data = (tmp_path / "a" / file).read_bytes()
        assert data == (tmp_path / "b" / file).read_bytes()
        assert str(tmp_path).encode() not in data


# -- loading ---------------------------------------------------------------------------------------------------------


def unigram() -> Tokenizer:
    """A tokenizer as T5 and Llama have them: normaliser, blanks as a letter, a start token added by default."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(SAMPLE, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    backend.enable_truncation(4)
    backend.enable_padding()
    return backend


def test_a_folder_of_another_tokenizer_keeps_ids_and_special_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    backend = unigram()
    special = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "given")
    loaded = load_tokenizer(str(tmp_path / "given"))
    assert (loaded.end_of_text, loaded.end_of_text_id) == ("</s>", 2)
    ids = loaded.encode("the cat sat on the mat")
    assert len(ids) > 4  # not truncated
    assert not {1, 2} & set(ids)  # nothing added
    loaded.save(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again("the cat sat on the mat", add_special_tokens=False)["input_ids"] == ids
    assert {name: getattr(again, name) for name in special} == special
    assert load_tokenizer(str(tmp_path / "saved")).sha256 == loaded.sha256


def test_special_tokens_without_a_name_are_reserved(tmp_path: Path) -> None:
    """They stand in a list of tokenizer_config.json only, and are pieces of the model like all others."""
    described = json.loads(unigram().to_str())
    described["added_tokens"] = []
    described["model"]["vocab"] += [["<x>", 0.0], ["<y>", 0.0]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "additional_special_tokens": ["<x>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_tokenizer(str(tmp_path))
    x, y = (loaded.backend.token_to_id(token) for token in ("<x>", "<y>"))
    assert (x in loaded.encode("a<x>a"), y in loaded.encode("a<y>a")) == (False, True)
    loaded.save(tmp_path / "saved")
    assert x not in load_tokenizer(str(tmp_path / "saved")).encode("a<x>a")


def test_a_bare_tokenizer_file(trained: TextTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    trained.backend.save(str(path))
    loaded = load_tokenizer(str(path))
    assert loaded.sha256 == trained.sha256
    assert 0 not in loaded.encode(END_OF_TEXT)
    unigram().save(str(path))
    other = load_tokenizer(str(path))
    assert other.end_of_text == "</s>"
    assert other.backend.padding is None  # or short documents of a batch would end in padding


def test_what_cannot_be_loaded_says_so_in_one_line(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    (tmp_path / "broken.json").write_text("{")
    backend.save(str(tmp_path / "endless.json"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "no-end").mkdir()
    backend.save(str(tmp_path / "no-end" / "tokenizer.json"))
    (tmp_path / "no-end" / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    cases = {
        "broken.json": "cannot be loaded",
        "gone.json": "No such file",
        "endless.json": "none of the end-of-text tokens <|endoftext|>",
        "gone": "no such folder",
        "empty": "cannot be loaded",
        "no-end": "set eos_token",
    }
    for name, part in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_tokenizer(str(tmp_path / name))
        assert part in str(caught.value)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"no/such-name.*cannot be loaded"):
        load_tokenizer("no/such-name")


def test_code_of_strangers_is_never_run(tmp_path: Path) -> None:
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError):
        load_tokenizer(str(tmp_path))
    assert not (tmp_path / "ran").exists()


# -- identity --------------------------------------------------------------------------------------------------------


def test_hash_is_of_the_content_and_the_end_of_text(trained: TextTokenizer) -> None:
    reordered = Tokenizer.from_str(json.dumps(dict(reversed(json.loads(trained.backend.to_str()).items()))))
    assert tokenizer_sha256(reordered, END_OF_TEXT) == trained.sha256
    assert tokenizer_sha256(trained.backend, "a") != trained.sha256


def test_corpus_modules_import_neither_torch_nor_transformers() -> None:
    modules = ", ".join(f"doremi.corpus.{name}" for name in ("prepare", "store", "readers", "encoding", "validation"))
    code = f"import sys, {modules}; print([m for m in ('torch', 'transformers', 'pyarrow') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_hash_leaves_out_what_documents_never_meet() -> None:
    backend = unigram()
    framed = tokenizer_sha256(backend, "</s>")
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    assert tokenizer_sha256(backend, "</s>") == framed
    backend.normalizer = normalizers.NFC()
    assert tokenizer_sha256(backend, "</s>") != framed
