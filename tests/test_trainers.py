"""Each trainer's own code reads what was exported for it, and draws: `make trainers`, one environment a trainer.

A domain's share of the drawn tokens is the mixture's within four standard errors. A weight of 1e-6 is too small for
10^5 draws: it is read from what the trainer's code made of the written number.
"""

from __future__ import annotations

import json
import runpy
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from doremi.export import Options, export
from doremi.mixture.domains import folder_name
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import weights_file

pytestmark = [pytest.mark.trainers, pytest.mark.filterwarnings("ignore")]

NAMES = ("web", "gr\u00fcne B\u00fccher", "code", "tiny", "never")
KEPT = NAMES[:4]
WEIGHTS = np.array([0.5, 0.3, 0.199999, 1e-6])
LENGTHS = np.array([20, 2000, 200, 50])  # tokens of a document
DRAWS = 100_000


@dataclass(frozen=True)
class Case:
    """A run, the mixture to export, and a folder for data in the trainer's own form."""

    run: RunDirectory
    mixture: Path
    folder: Path

    def data(self, name: str) -> Path:
        return self.folder / folder_name(name)

    def export(self, target: str, *, mapped: bool, suffix: str = "", **options: Any) -> Path:
        """Export over paths of one's own in `folder`, of known lengths, or over the run's tokens."""
        out = self.folder / "out"
        if mapped:
            places = {
                name: {"path": f"{self.data(name)}{suffix}", "tokens": "1T", "tokens_per_document": int(length)}
                for name, length in zip(KEPT, LENGTHS, strict=True)
            }
            paths = self.folder / "paths.yaml"
            paths.write_text(yaml.safe_dump(places, allow_unicode=True), encoding="utf-8")
            options["paths"] = paths
        export(self.run, target, mixture=self.mixture, out=out, options=Options(**options))
        return out


@pytest.fixture
def case(tmp_path: Path) -> Case:
    run = RunDirectory(make_run(tmp_path / "runs" / "demo", MadeRun(domains=NAMES, seeds=(0,))))
    weights = dict(zip(NAMES, [*WEIGHTS, 0.0], strict=True))
    folder = tmp_path / "data"
    folder.mkdir()
    return Case(run, weights_file(tmp_path / "mixture.json", weights), folder)


def check_tokens(drawn: Iterable[int]) -> None:
    """`drawn` is the domain of each draw, of a document of its domain's length."""
    domain = np.fromiter(drawn, dtype=np.int64)
    assert len(domain) == DRAWS
    tokens = np.zeros((len(domain), len(KEPT)))
    tokens[np.arange(len(domain)), domain] = LENGTHS[domain]
    share = tokens.sum(0) / tokens.sum()
    error = (tokens - share * tokens.sum(1, keepdims=True)).std(0) / tokens.sum(1).mean() / np.sqrt(len(domain))
    assert (np.abs(share - WEIGHTS)[:3] < 4 * error[:3]).all()


def check_blocks(count: np.ndarray) -> None:
    """`count`: random draws of blocks of one length, by domain."""
    error = np.sqrt(WEIGHTS * (1 - WEIGHTS) / count.sum())
    assert count.sum() >= DRAWS
    assert (np.abs(count / count.sum() - WEIGHTS) < 4 * error + 1 / count.sum()).all()


def check_tiny(documents: Iterable[float]) -> None:
    """Weights as the trainer holds them, of documents: as tokens, the tiny one is 1e-6 of them."""
    tokens = np.array(list(documents)) * LENGTHS
    assert tokens / tokens.sum() == pytest.approx(WEIGHTS, rel=1e-4, abs=1e-9)


# -- Megatron files ------------------------------------------------------------------------------------------------


def test_megatron(case: Case) -> None:
    """The blended index that a training goes by, over the run's own tokens."""
    import torch
    from megatron.core.datasets import helpers
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import get_blend_from_list, normalize

    out = case.export("megatron", mapped=False)
    lists = json.loads((out / "blend.json").read_text(encoding="utf-8"))
    for words in ((out / "blend.txt").read_text(encoding="utf-8").split(), lists["train"]):
        prefixes, weights = get_blend_from_list(words)
        assert normalize(weights) == pytest.approx(list(WEIGHTS), abs=1e-12)
        corpus = case.run.whole_corpus()
        for name, prefix in zip(KEPT, prefixes, strict=True):
            found = IndexedDataset(prefix, mmap=True)
            assert found.sequence_lengths.sum() == corpus.entries[name].train.tokens
    size = 10 * DRAWS
    domain, sample = np.zeros(size, dtype=np.int16), np.zeros(size, dtype=np.int64)
    helpers.build_blending_indices(domain, sample, normalize(weights), len(weights), size, False)
    assert np.bincount(domain, minlength=4) == pytest.approx(WEIGHTS * size, abs=2)
    assert torch.__version__


def test_automodel(case: Case) -> None:
    """The domain mixture accepts the blend beside it, and multiplies no loss."""
    from megatron.core.datasets.utils import get_blend_from_list
    from nemo_automodel.components.training.domain_mixture import DomainMixtureConfig, DomainWeightConfig

    value = yaml.safe_load((case.export("automodel", mapped=False) / "domain_mixture.yaml").read_text(encoding="utf-8"))
    domains = tuple(DomainWeightConfig(**one) for one in value["domain_mixture"]["domains"])
    mixture = DomainMixtureConfig(domains).build(blend=get_blend_from_list(value["dataset"]["paths"]))
    assert mixture.names == KEPT
    assert mixture.sampling_weights == pytest.approx(list(WEIGHTS), abs=1e-12)
    assert mixture.loss_multipliers == pytest.approx([1.0] * 4)


# -- token files ---------------------------------------------------------------------------------------------------


def test_olmo(case: Case) -> None:
    """The index of a source mixture, over arrays that are whole sequences: OLMo-core drops the rest of each pass."""
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    budget = 20_000_000
    for name, tokens in zip(KEPT, (12_000_000, 8_000_000, 8_000_000, 1_000_000), strict=True):
        np.zeros(tokens, dtype=np.uint16).tofile(f"{case.data(name)}.npy")
    out = case.export("olmo", mapped=True, suffix=".npy", budget=str(budget))
    sources = SourceMixtureList.from_yaml(str(out / "sources.yaml"))
    assert [source.source_name for source in sources.sources] == list(KEPT)
    assert [source.target_ratio for source in sources.sources] == pytest.approx(list(WEIGHTS), abs=1e-12)
    mixture = SourceMixtureDatasetConfig(
        source_list=sources, requested_tokens=budget, global_batch_size=64, quiet=True, render_tables=False
    )
    count = dict.fromkeys((f"{case.data(name)}.npy" for name in KEPT), 0)
    for (path, _), tokens in mixture.build(npdtype=np.uint16, sequence_length=16).to_index().items():
        count[str(path)] += tokens
    found = np.array(list(count.values()))
    assert found == pytest.approx(WEIGHTS * budget, abs=32)  # sequences of 16
    assert found[3] in (16, 32)


def test_datatrove(case: Case) -> None:
    """Every sequence of every domain; nanotron draws from these by the weights in the file."""
    from datatrove.utils.dataset import DatatroveFolderDataset

    out = case.export("nanotron", mapped=False)
    (stage,) = yaml.safe_load((out / "data_stages.yaml").read_text(encoding="utf-8"))["data_stages"]
    dataset = stage["data"]["dataset"]
    assert dataset["dataset_weights"] == pytest.approx(list(WEIGHTS), abs=1e-12)
    corpus = case.run.whole_corpus()
    for name, folder in zip(KEPT, dataset["dataset_folder"], strict=True):
        found = DatatroveFolderDataset(folder, 15, filename_pattern="*.ds", recursive=False, token_size=2)
        stream = np.fromfile(corpus.path(name, "train.bin"), "<u2")
        rows = np.stack([np.asarray(found[i]["input_ids"]) for i in range(len(found))])
        assert np.array_equal(rows.ravel(), stream[: rows.size])
        assert rows.size > len(stream) - 16


def test_torchtitan(case: Case) -> None:
    """The interleaved data set of 0.3, over packed children that repeat themselves."""
    from torch.utils.data import IterableDataset

    class Packed(IterableDataset):
        def __init__(self, domain: int) -> None:
            self.domain = domain

        def __iter__(self) -> Any:
            while True:
                yield self.domain

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

        def reloop(self) -> None: ...

    module = runpy.run_path(str(case.export("torchtitan", mapped=True) / "mixture.py"))
    assert list(module["WEIGHTS"].values()) == pytest.approx(list(WEIGHTS), abs=1e-12)
    mixed = module["interleaved"]({path: Packed(i) for i, path in enumerate(module["WEIGHTS"])})
    stream = iter(mixed)
    check_blocks(np.bincount([next(stream) for _ in range(DRAWS)], minlength=4))


# -- streams -------------------------------------------------------------------------------------------------------


def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """MosaicML Streaming imports it for data sets of pictures; its wheel would want another build of torch."""
    stubs: dict[str, dict[str, Any]] = {
        "torchvision": {"__path__": []},
        "torchvision.datasets": {"VisionDataset": object},
        "torchvision.transforms": {"__path__": []},
        "torchvision.transforms.functional": {"to_tensor": None},
    }
    for name, values in stubs.items():
        module = types.ModuleType(name)
        vars(module).update({"__spec__": ModuleSpec(name, None), **values})
        monkeypatch.setitem(sys.modules, name, module)


def test_streaming(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """MDS files of documents, an epoch of 10^5 samples."""
    without_torchvision(monkeypatch)
    from streaming import MDSWriter, StreamingDataset

    for i, name in enumerate(KEPT):
        with MDSWriter(out=str(case.data(name)), columns={"domain": "int"}) as writer:
            for _ in range(1000):
                writer.write({"domain": i})
    module = runpy.run_path(str(case.export("streaming", mapped=True) / "streams.py"))
    streams = module["streams"]()
    dataset = StreamingDataset(
        streams=streams, epoch_size=DRAWS, batching_method="random", shuffle=True, shuffle_seed=1, batch_size=1
    )
    check_tiny([stream.proportion for stream in streams])
    check_tokens(sample["domain"] for sample in dataset)


def write_blocks(case: Case) -> None:
    """480,000 tokens of each domain in LitData's form, all of them its number."""
    import torch
    from litdata.streaming.item_loader import TokensLoader
    from litdata.streaming.writer import BinaryWriter

    for i, name in enumerate(KEPT):
        case.data(name).mkdir()
        writer = BinaryWriter(str(case.data(name)), chunk_bytes="1MB", item_loader=TokensLoader())
        writer.add_item(0, torch.full((8 * 60_000,), i, dtype=torch.int32))
        writer.done()
        writer.merge()


def test_litdata(case: Case) -> None:
    """Blocks of tokens, drawn by the combined data set."""
    write_blocks(case)
    module = runpy.run_path(str(case.export("litdata", mapped=True) / "mixture.py"))
    mixed = module["combined"](block_size=8, seed=3)
    assert mixed._weights == pytest.approx(list(WEIGHTS), abs=1e-12)
    stream = iter(mixed)
    check_blocks(np.bincount([int(next(stream)[0]) for _ in range(DRAWS)], minlength=4))


def test_litgpt(case: Case) -> None:
    """Batches of the data module, as litgpt's trainer asks for them."""
    write_blocks(case)
    module = runpy.run_path(str(case.export("litgpt", mapped=True) / "mixture.py"))
    data = module["data_module"](seed=3, num_workers=0)
    data.connect(batch_size=100, max_seq_length=7)
    stream = iter(data.train_dataloader())
    rows = np.concatenate([next(stream)[:, 0].numpy() for _ in range(DRAWS // 100)])
    check_blocks(np.bincount(rows, minlength=4))


def test_energon(case: Case) -> None:
    """The metadataset as Energon's own parser reads it, with the weights of its blend."""
    from megatron.energon.epathlib import EPath
    from megatron.energon.metadataset.loader import load_config
    from megatron.energon.metadataset.metadataset_v2 import MetadatasetV2

    path = EPath(str(case.export("energon", mapped=True) / "metadataset.yaml"))
    found = load_config(path, default_type=MetadatasetV2, default_kwargs={"path": path})
    blend = found.splits["train"].blend
    assert [str(one.path) for one in blend] == [str(case.data(name)) for name in KEPT]
    check_tiny([one.weight for one in blend])


# -- Hugging Face --------------------------------------------------------------------------------------------------


def test_datasets(case: Case) -> None:
    """Streaming data sets of documents that repeat, 10^5 drawn."""
    import datasets

    module = runpy.run_path(str(case.export("huggingface", mapped=True) / "mixture.py"))
    assert [paths for paths in module["PATHS"].values()] == [[str(case.data(name))] for name in KEPT]
    sources = {
        name: datasets.Dataset.from_dict({"domain": [i] * 1000}).to_iterable_dataset() for i, name in enumerate(KEPT)
    }
    mixed = module["mix"](sources, seed=1)
    check_tiny(module["PROBABILITIES"].values())
    check_tokens(row["domain"] for row in mixed.take(DRAWS))


# -- JAX -----------------------------------------------------------------------------------------------------------


def test_grain(case: Case) -> None:
    """The order of a mixed data set: Grain spreads its sources evenly, so shares are nearly exact."""
    import grain

    module = runpy.run_path(str(case.export("grain", mapped=True) / "mixture.py"))
    sources = {path: grain.MapDataset.source([i]).repeat(10 * DRAWS) for i, path in enumerate(module["WEIGHTS"])}
    mixed = module["mix"](sources)
    check_tiny(module["WEIGHTS"].values())
    check_tokens(mixed[i] for i in range(DRAWS))


def test_maxtext(case: Case) -> None:
    """Grain, as MaxText calls it with the weights of the file that it reads."""
    import grain

    value = json.loads((case.export("maxtext", mapped=True) / "mixture.json").read_text(encoding="utf-8"))
    weights = [one["weight"] for one in value.values()]
    check_tiny(weights)
    sources = [grain.MapDataset.source([i]).repeat(10 * DRAWS) for i in range(4)]
    mixed = grain.MapDataset.mix(sources, weights)
    check_tokens(mixed[i] for i in range(DRAWS))
