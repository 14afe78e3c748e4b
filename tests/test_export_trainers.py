"""Each trainer's files are read back: by its own loader where that is installed, always by a reader of ours."""

from __future__ import annotations

import importlib.util
import json
import math
import runpy
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import yaml

from doremi.errors import ExportError
from doremi.export import TARGETS, Options, export
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import (
    AWKWARD,
    documents_of,
    edit_manifest,
    loader,
    make_uint32,
    read_indexed,
    read_olmo,
    same_documents,
    weights_file,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(make_run(tmp_path / "demo", MadeRun(domains=AWKWARD, seeds=(0,))))


# -- where the run's own tokens are ----------------------------------------------------------------------------------


def test_an_export_that_knows_where_it_lies_moves_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(make_run(tmp_path / "runs" / "demo", MadeRun(domains=AWKWARD, seeds=(0,))))
    out = run.root / "export" / "megatron-bridge"
    export(run, "megatron-bridge")
    readme = (out / "README.txt").read_text(encoding="utf-8")
    assert f"sys.path.append({str(out)!r})" in readme
    assert "also after the run has moved with its export" in readme
    assert str(tmp_path) not in (out / "blend.py").read_text(encoding="utf-8")
    moved = (tmp_path / "runs").rename(tmp_path / "elsewhere") / "demo"
    monkeypatch.chdir(tmp_path)
    prefixes, weights = runpy.run_path(str(moved / "export/megatron-bridge/blend.py"))["BLEND"]
    assert sum(map(Decimal, map(str, weights))) == 1
    for domain, prefix in zip(AWKWARD, prefixes, strict=True):
        assert same_documents(read_indexed(Path(prefix)), documents_of(RunDirectory(moved).whole_corpus(), domain))


@pytest.mark.parametrize("target", ["megatron", "nemo", "gpt-neox", "automodel", "nanotron", "olmo"])
def test_where_it_cannot_know_the_paths_are_absolute_and_that_is_said(target: str, run: RunDirectory) -> None:
    out = run.root / "export" / target
    export(run, target)
    assert (out / TARGETS[target].main).read_text(encoding="utf-8").count(str(run.root.parent)) >= len(AWKWARD)
    assert "The paths are absolute, since this trainer reads relative ones" in (out / "README.txt").read_text("utf-8")


# -- megatron --------------------------------------------------------------------------------------------------------


def megatron_prefixes(run: RunDirectory, split: str) -> list[Path]:
    blend = json.loads((run.root / "export/megatron/blend.json").read_text(encoding="utf-8"))
    assert list(blend) == ["train", "valid", "test"]
    return [Path(word) for word in blend[split] if word.startswith("/")]


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_megatron_documents(run: RunDirectory, wide: bool) -> None:
    if wide:
        make_uint32(run)
    export(run, "megatron")
    corpus = run.whole_corpus()
    for domain, prefix in zip(AWKWARD, megatron_prefixes(run, "train"), strict=True):
        found = read_indexed(prefix)
        assert same_documents(found, documents_of(corpus, domain))
        assert any((document > 65_535).any() for document in found) == wide


def test_megatron_validation_halves(run: RunDirectory) -> None:
    export(run, "megatron")
    corpus = run.whole_corpus()
    for split, wanted in (("valid", False), ("test", True)):
        for domain, prefix in zip(AWKWARD, megatron_prefixes(run, split), strict=True):
            chosen = corpus.validation_documents(domain)["report"] == wanted
            documents = documents_of(corpus, domain, "validation")
            assert same_documents(read_indexed(prefix), [d for d, c in zip(documents, chosen, strict=True) if c])


def test_megatron_without_validation_of_one_half_says_null(run: RunDirectory) -> None:
    for domain in AWKWARD:
        path = run.corpus().path(domain, "validation.documents")
        records = np.fromfile(path, "<u4").reshape(-1, 2)
        records[:, 1] = 0
        records.tofile(path)
    export(run, "megatron")
    assert json.loads((run.root / "export/megatron/blend.json").read_text())["test"] is None


def test_megatron_refuses_ids_that_int32_cannot_hold(run: RunDirectory) -> None:
    make_uint32(run)
    edit_manifest(run, tokenizer={**asdict(run.corpus().tokenizer), "vocab_size": 2**31})
    with pytest.raises(ExportError, match="token ids end at"):
        export(run, "megatron")


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_megatron_core_reads_it(run: RunDirectory, wide: bool) -> None:
    indexed = loader("megatron.core.datasets.indexed_dataset")
    blends = loader("megatron.core.datasets.utils")
    if wide:
        make_uint32(run)
    export(run, "megatron")
    folder = run.root / "export/megatron"
    prefixes, weights = blends.get_blend_from_list((folder / "blend.txt").read_text(encoding="utf-8").split())
    assert weights == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-9)
    for domain, prefix in zip(AWKWARD, prefixes, strict=True):
        dataset = indexed.IndexedDataset(prefix, mmap=True)
        assert same_documents([dataset[i] for i in range(len(dataset))], documents_of(run.whole_corpus(), domain))
        assert dataset.document_indices[-1] == len(dataset)
    splits = json.loads((folder / "blend.json").read_text(encoding="utf-8"))
    for split in ("valid", "test"):
        prefixes, weights = blends.get_blend_from_list(splits[split])
        assert weights is None
        assert [len(indexed.IndexedDataset(prefix)) for prefix in prefixes] == [20] * 4


# -- huggingface -----------------------------------------------------------------------------------------------------


def unequal_lengths(run: RunDirectory) -> None:
    """Make the mean lengths of documents differ by a factor of twenty."""
    domains = json.loads((run.corpus_folder / "manifest.json").read_text())["domains"]
    for entry, length in zip(domains.values(), (5, 20, 50, 100), strict=True):
        entry["train"]["tokens"] = entry["train"]["documents"] * length
    edit_manifest(run, domains=domains)


def test_huggingface_probabilities_give_the_token_weights(run: RunDirectory) -> None:
    unequal_lengths(run)
    export(run, "huggingface")
    module = runpy.run_path(str(run.root / "export/huggingface/mixture.py"))
    tokens = np.array(list(module["PROBABILITIES"].values())) * [5, 20, 50, 100]
    assert tokens / tokens.sum() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-7)
    assert list(module["TOKEN_WEIGHTS"].values()) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert module["DOCUMENTS"] == pytest.approx(100_000 / tokens.sum(), abs=1)


def test_huggingface_mix_names_a_missing_dataset(run: RunDirectory) -> None:
    loader("datasets")
    export(run, "huggingface")
    mix = runpy.run_path(str(run.root / "export/huggingface/mixture.py"))["mix"]
    with pytest.raises(KeyError, match=r"name\.v2"):
        mix(dict.fromkeys([AWKWARD[0], AWKWARD[1], AWKWARD[3]]))


@pytest.mark.parametrize("streaming", [False, True])
def test_huggingface_datasets_draws_the_token_weights(run: RunDirectory, streaming: bool) -> None:
    datasets = loader("datasets")
    unequal_lengths(run)
    export(run, "huggingface")
    rng = np.random.default_rng(0)
    sources = {}
    for name, length in zip(AWKWARD, (5, 20, 50, 100), strict=True):
        # lengths between 1 and 2 mean - 1, so that only the mean is right
        lengths = rng.integers(1, 2 * length, 400)
        rows = datasets.Dataset.from_dict({"domain": [name] * 400, "tokens": lengths + length - lengths.mean()})
        sources[name] = rows.to_iterable_dataset() if streaming else rows
    mix = runpy.run_path(str(run.root / "export/huggingface/mixture.py"))["mix"]
    drawn = list(mix(sources, seed=1).take(3000))
    assert len(drawn) == 3000
    tokens = np.array([[row["tokens"] if row["domain"] == name else 0.0 for name in AWKWARD] for row in drawn])
    share = tokens.sum(0) / tokens.sum()
    # the error of a ratio of means: the spread of (tokens of the domain - share x tokens) over the draws
    error = (tokens - share * tokens.sum(1, keepdims=True)).std(0) / tokens.sum(1).mean() / math.sqrt(len(drawn))
    assert (np.abs(share - [0.1, 0.2, 0.3, 0.4]) < 4 * error).all()
    # the test can tell: drawn by token weights instead, the shares would be far outside of that
    by_tokens = np.array([0.1, 0.2, 0.3, 0.4]) * [5, 20, 50, 100]
    assert (np.abs(by_tokens / by_tokens.sum() - [0.1, 0.2, 0.3, 0.4]) > 4 * error).sum() >= 3


# -- olmo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_olmo_sources(run: RunDirectory, wide: bool) -> None:
    if wide:
        make_uint32(run)
    export(run, "olmo")
    text = (run.root / "export/olmo/sources.yaml").read_text(encoding="utf-8")
    assert "epochs" in text.partition("sources:")[0]
    corpus = run.whole_corpus()
    for source, count in zip(yaml.safe_load(text)["sources"], corpus.count("train", "tokens"), strict=True):
        assert next(iter(source)) == "source_name"
        (path,) = source["paths"]
        found = np.memmap(path, dtype=corpus.dtype, mode="r")
        assert np.array_equal(found, np.concatenate(documents_of(corpus, source["source_name"])))
        # what OLMo-core checks before it starts
        assert source["max_source_fraction"] == 1.0
        need, most = int(100_000 * source["target_ratio"]), int(count * source["max_repetition_ratio"])
        assert need <= most
        assert source["max_repetition_ratio"] == 1 or need > most - count


def test_olmo_repetition_is_never_under_one(run: RunDirectory, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "a.json", dict.fromkeys(AWKWARD, 1.0), budget_tokens=1000)
    export(run, "olmo", mixture=path)
    sources = yaml.safe_load((run.root / "export/olmo/sources.yaml").read_text(encoding="utf-8"))["sources"]
    assert {source["max_repetition_ratio"] for source in sources} == {1.0}


def test_small_weights_stay_numbers_in_yaml(run: RunDirectory, tmp_path: Path) -> None:
    weights = dict(zip(AWKWARD, [1e-5, 1e-7, 0.5, 0.49998990], strict=True))
    export(run, "olmo", mixture=weights_file(tmp_path / "a.json", weights))
    _, ratios = read_olmo(run.root / "export/olmo")
    assert ratios[:2] == [Decimal("0.00001"), Decimal("1E-7")]


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_olmo_core_reads_it(run: RunDirectory, wide: bool, tmp_path: Path) -> None:
    mixtures = loader("olmo_core.data.source_mixture")
    data = loader("olmo_core.data")
    if wide:
        make_uint32(run)
    export(run, "olmo")
    sources = mixtures.SourceMixtureList.from_yaml(str(run.root / "export/olmo/sources.yaml"))
    mixture = mixtures.SourceMixtureDatasetConfig(
        source_list=sources, requested_tokens=100_000, global_batch_size=160, quiet=True, render_tables=False
    )
    config = data.NumpyFSLDatasetConfig.from_src_mix(
        mixture,
        tokenizer=data.TokenizerConfig(vocab_size=256_000 if wide else 200, eos_token_id=0, pad_token_id=0),
        sequence_length=16,
        work_dir=str(tmp_path / "work"),
        dtype=data.NumpyDatasetDType.uint32 if wide else data.NumpyDatasetDType.uint16,
    )
    dataset = config.build()
    dataset.prepare()
    assert len(dataset) == pytest.approx(100_000 / 16, abs=20)
    counts = dict.fromkeys(dataset.paths, 0)
    for (path, _), tokens in mixture.build(npdtype=config.get_dtype(), sequence_length=16).to_index().items():
        counts[path] += tokens
    assert np.array(list(counts.values())) / 100_000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.002)
    stream = np.concatenate(documents_of(run.whole_corpus(), "web"))
    rows = stream[: len(stream) // 16 * 16].reshape(-1, 16)
    assert any(np.array_equal(dataset[0]["input_ids"], row) for row in rows)


# -- nanotron --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_nanotron_files(run: RunDirectory, wide: bool) -> None:
    if wide:
        make_uint32(run)
    export(run, "nanotron")
    corpus = run.whole_corpus()
    stages = yaml.safe_load((run.root / "export/nanotron/data_stages.yaml").read_text(encoding="utf-8"))
    (stage,) = stages["data_stages"]
    assert (stage["name"], stage["start_training_step"]) == ("stage1", 1)
    for domain, folder in zip(AWKWARD, stage["data"]["dataset"]["dataset_folder"], strict=True):
        file = Path(folder) / "train.ds"
        tokenizer, _, size = Path(f"{file}.metadata").read_text().splitlines()[0].partition("|")
        assert (Path(tokenizer), size) == (run.corpus_folder / "tokenizer", "4" if wide else "2")
        tokens = np.fromfile(file, dtype=f"<u{size}")
        assert len(tokens) == int(Path(f"{file}.metadata").read_text().splitlines()[1])
        ends = np.fromfile(f"{file}.index", dtype="<u8").astype(int)
        assert same_documents(np.split(tokens, ends[:-1]), documents_of(corpus, domain))


@pytest.mark.parametrize("wide", [False, True], ids=["uint16", "uint32"])
def test_datatrove_reads_it(run: RunDirectory, wide: bool) -> None:
    folder_dataset = loader("datatrove.utils.dataset").DatatroveFolderDataset
    if wide:
        make_uint32(run)
    export(run, "nanotron")
    for domain in AWKWARD:
        folder = run.root / "export/nanotron" / Path(run.whole_corpus().path(domain, "train.bin")).parent.name
        dataset = folder_dataset(
            str(folder),
            15,
            filename_pattern="*.ds",
            recursive=False,
            token_size=4 if wide else 2,
            return_positions=True,
        )
        documents = documents_of(run.whole_corpus(), domain)
        stream = np.concatenate(documents)
        positions = np.concatenate([np.arange(len(d)) for d in documents])
        assert len(dataset) == len(stream) // 16
        for i in range(len(dataset)):
            row = dataset[i]
            own = slice(16 * i, 16 * (i + 1))
            assert np.array_equal(row["input_ids"], stream[own])
            # datatrove counts positions from the start of the row for the document that was cut there
            inside = positions[own] == np.arange(16) + positions[own][0]
            assert np.array_equal(row["positions"][~inside], positions[own][~inside])


def test_loaders_are_tried_by_their_real_names() -> None:
    """A renamed module would make the tests above skip for ever; where the package is there, so is the module."""
    for package, module in (
        ("megatron.core", "megatron.core.datasets.indexed_dataset"),
        ("olmo_core", "olmo_core.data.source_mixture"),
        ("datatrove", "datatrove.utils.dataset"),
    ):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        if found is not None:
            assert importlib.util.find_spec(module) is not None


# -- Levanter --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rare", "block"), [(0.25, 2048), (5e-3, 4096), (1e-3, 32768), (1e-6, 32768)])
def test_levanter_blocks_hold_rare_domains_or_that_is_said(
    rare: float, block: int, run: RunDirectory, tmp_path: Path
) -> None:
    first, *others = run.corpus().domains
    weights = {first: rare, **dict.fromkeys(others, (1 - rare) / len(others))}
    said: list[str] = []
    export(run, "levanter", mixture=weights_file(tmp_path / "m.json", weights), out=tmp_path / "out", say=said.append)
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))["data"]
    assert data["mixture_block_size"] == block
    off = f"Levanter draws whole sequences of each block of 32,768: {next(iter(data['train_weights']))!r} gets 0"
    assert [note.startswith(off) for note in said if "Levanter draws" in note] == ([True] if rare == 1e-6 else [])


# -- MaxText -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rare", [0.25, 1e-3, 1.26e-3, 4e-5])
def test_maxtext_says_the_passes_and_writes_no_weights_that_it_would_round_off(
    rare: float, run: RunDirectory, tmp_path: Path
) -> None:
    corpus = run.corpus()
    first, *others = corpus.domains
    places = {
        name: {"path": f"/data/{i}", "tokens": 1000, "tokens_per_document": 10} for i, name in enumerate(corpus.domains)
    }
    (tmp_path / "paths.yaml").write_text(yaml.safe_dump(places, allow_unicode=True), encoding="utf-8")
    weights = {first: rare, **dict.fromkeys(others, (1 - rare) / len(others))}
    said: list[str] = []
    out, mixture = tmp_path / "out", weights_file(tmp_path / "m.json", weights)
    options = Options(budget="100k", paths=tmp_path / "paths.yaml")
    export(run, "maxtext", mixture=mixture, out=out, say=said.append, options=options)
    coarse = rare == 4e-5
    assert (out / "grain_train_files.txt").exists() != coarse
    assert any("MaxText rounds weights in grain_train_files to four decimals" in note for note in said) == coarse
    passes = 1 + math.ceil(100_000 * max(weights.values()) / 1000)
    assert f"num_epoch={passes}\n" in (out / "README.txt").read_text(encoding="utf-8")
