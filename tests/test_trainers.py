"""Each trainer's own code reads what was exported for it, and draws: `make trainers`, one environment a trainer.

Packages of PyPI. What is in repositories only is in test_trainers_git.py.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import types
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from trainer_cases import DRAWS, KEPT, LENGTHS, WEIGHTS, Case, case_in, check_blocks, check_tiny, check_tokens, stand_in

pytestmark = [pytest.mark.trainers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_in(tmp_path)


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


def test_nemo(case: Case) -> None:
    """The list of `blend.yaml`, by the function of Megatron-Core that NeMo 2 hands its paths to."""
    from megatron.core.datasets.utils import get_blend_from_list, normalize

    value = yaml.safe_load((case.export("nemo", mapped=True) / "blend.yaml").read_text(encoding="utf-8"))
    assert value["data_prefix"] == value["paths"]
    prefixes, weights = get_blend_from_list(value["paths"])
    assert prefixes == [str(case.data(name)) for name in KEPT]
    assert normalize(weights) == pytest.approx(list(WEIGHTS), abs=1e-12)


def test_megatron_bridge(case: Case) -> None:
    """The pair of `blend.py` in the class of Megatron-Core that `GPTDatasetConfig` of Megatron-Bridge extends."""
    from megatron.core.datasets.blended_megatron_dataset_config import BlendedMegatronDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    pair = runpy.run_path(str(case.export("megatron-bridge", mapped=False) / "blend.py"))["BLEND"]
    config = BlendedMegatronDatasetConfig(random_seed=1, sequence_length=8, blend=pair, split="100,0,0")
    prefixes, weights = config.blend
    assert weights == pytest.approx(list(WEIGHTS), abs=1e-12)
    corpus = case.run.whole_corpus()
    for name, prefix in zip(KEPT, prefixes, strict=True):
        found = IndexedDataset(prefix, mmap=True)  # its lengths are gone when it is
        assert found.sequence_lengths.sum() == corpus.entries[name].train.tokens


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
    """The index of a source mixture, and sequences that its loader draws.

    Arrays are whole sequences, since OLMo-core drops the rest of each pass. Each is one number, with ends of documents.
    """
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    budget = 20_000_000
    for i, tokens in enumerate((12_000_000, 8_000_000, 8_000_000, 1_000_000)):
        ids = np.full(tokens, i + 1, dtype=np.uint16)
        ids[7::8] = 0
        ids.tofile(f"{case.data(KEPT[i])}.npy")
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
    check_blocks(np.bincount(list(islice(drawn_by_olmo(mixture, case.folder), DRAWS)), minlength=4))


def drawn_by_olmo(mixture: Any, folder: Path) -> Iterator[int]:
    """The domain of each sequence of a source mixture, as the loader deals them."""
    from olmo_core.data import NumpyDataLoaderConfig, NumpyDatasetDType, NumpyFSLDatasetConfig, TokenizerConfig

    tokenizer = TokenizerConfig(vocab_size=512, eos_token_id=0, pad_token_id=0)
    config = NumpyFSLDatasetConfig.from_src_mix(
        mixture, tokenizer=tokenizer, sequence_length=16, dtype=NumpyDatasetDType.uint16, work_dir=str(folder)
    )
    loader = NumpyDataLoaderConfig(global_batch_size=16_000, seed=0, work_dir=str(folder)).build(config.build())
    loader.reshuffle(epoch=1)
    for batch in loader:
        sequences = batch["input_ids"]
        assert sequences.shape == (1000, 16)
        assert ((sequences == 0).sum(1) == 2).all()
        yield from (sequences.max(1).values - 1).tolist()


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
    stand_in(
        monkeypatch, torchvision={}, torchvision__datasets={"VisionDataset": object}, torchvision__transforms={},
        torchvision__transforms__functional={"to_tensor": None},
    )  # fmt: skip


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


def test_llm_foundry(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The streams that its text loader makes, and the samples of an epoch over them."""
    without_torchvision(monkeypatch)
    unused = {"SUPPORTED_MDS_ENCODING_TYPES": [], "stream_remote_local_validate": None, "registry": None}
    source = str(Path(find_spec("llmfoundry").submodule_search_locations[0]) / "data")
    stand_in(
        monkeypatch, composer={}, composer__core={}, composer__core__data_spec={"DataSpec": object},
        llmfoundry=unused, llmfoundry__data={"__path__": [source]}, llmfoundry__data__data=unused,
        llmfoundry__utils={}, llmfoundry__utils__registry_utils={"construct_from_registry": None},
    )  # fmt: skip
    from llmfoundry.data.text_data import build_streams

    value = yaml.safe_load((case.export("llm-foundry", mapped=True) / "train_loader.yaml").read_text(encoding="utf-8"))
    streams = build_streams(value["train_loader"]["dataset"]["streams"])
    assert [Path(stream.local) for stream in streams] == [case.data(name) for name in KEPT]
    check_tiny([stream.proportion for stream in streams])


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


def test_llama_factory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments, its list of data sets, and 10^5 documents drawn as it merges them."""
    import datasets

    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    stand_in(monkeypatch, torchaudio={})
    from llamafactory.data.data_utils import merge_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams.data_args import DataArguments

    out = case.export("llama-factory", mapped=True)
    value = yaml.safe_load((out / "train.yaml").read_text(encoding="utf-8"))
    del value["stage"]
    arguments = DataArguments(dataset_dir=str(out), **value)
    listed = get_dataset_list(arguments.dataset, arguments.dataset_dir)
    assert [one.dataset_name for one in listed] == [str(case.data(name)) for name in KEPT]
    check_tiny(arguments.interleave_probs)
    mixed = merge_dataset(documents(datasets), arguments, seed=1)
    check_tokens(row["domain"] for row in mixed.take(DRAWS))


def test_ms_swift(case: Case) -> None:
    """Words as its command line gets them, its parser of each path, and 10^5 documents as its loader mixes them."""
    import datasets
    from swift.arguments.base_args.data_args import DataArguments
    from swift.dataset.dataset_syntax import DatasetSyntax
    from swift.dataset.loader import DatasetLoader
    from transformers import HfArgumentParser

    out = case.export("ms-swift", mapped=True)
    words = subprocess.run(
        ["bash", "-c", 'source arguments.sh && printf "%s\\0" "${MIXTURE[@]}"'],
        cwd=out, capture_output=True, text=True, check=True,
    ).stdout.split("\0")[:-1]  # fmt: skip
    (arguments,) = HfArgumentParser(DataArguments).parse_args_into_dataclasses(words)
    assert [DatasetSyntax.parse(one).dataset for one in arguments.dataset] == [str(case.data(name)) for name in KEPT]
    check_tiny(arguments.interleave_prob)
    mixed = DatasetLoader.interleave_datasets(
        documents(datasets), arguments.interleave_prob, seed=1, stopping_strategy=arguments.stopping_strategy
    )
    check_tokens(row["domain"] for row in mixed.take(DRAWS))


def test_axolotl(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry as its schema has it, and the documents that its loader finds where the data set was drawn."""
    package = Path(find_spec("axolotl").submodule_search_locations[0])
    unused = {"deduplicate_and_log_datasets": None, "md5": None, "get_default_process_count": None}
    stand_in(
        monkeypatch, axolotl__utils={"__path__": [str(package / "utils")]},
        axolotl__utils__data={"__path__": [str(package / "utils" / "data")]}, axolotl__utils__data__utils=unused,
        axolotl__utils__datasets=unused, axolotl__utils__logging={"get_logger": print},
    )  # fmt: skip
    from axolotl.utils.data.shared import load_dataset_with_config
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.datasets import SFTDataset

    out = case.export("axolotl", mapped=False)
    (value,) = yaml.safe_load((out / "datasets.yaml").read_text(encoding="utf-8"))["datasets"]
    monkeypatch.chdir(out)
    (out / "sampled").mkdir()
    for number in range(2):
        (out / "sampled" / f"shard-0000{number}.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (out / "sampled" / "doremi-sample.json").write_text('{"format": 1}')
    entry = SFTDataset(**value).model_dump(exclude_none=True)
    assert {key: entry[key] for key in value} == value
    assert load_dataset_with_config(DictDefault(entry), False)["text"][:] == ["a", "b"] * 2


def documents(datasets: Any) -> list[Any]:
    """A streaming data set of each domain."""
    return [datasets.Dataset.from_dict({"domain": [i] * 1000}).to_iterable_dataset() for i in range(len(KEPT))]


def test_data_juicer(case: Case) -> None:
    """Documents that its builder loads, in whole numbers, rounded up."""
    from data_juicer.core.data.dataset_builder import DatasetBuilder

    for i, name in enumerate(KEPT):
        case.data(name).mkdir()
        (case.data(name) / "all.jsonl").write_text(json.dumps({"text": f"domain {i}"}) + "\n")
    out = case.export("data-juicer", mapped=True, budget="300k")
    value = yaml.safe_load((out / "dataset.yaml").read_text(encoding="utf-8"))["dataset"]
    builder = DatasetBuilder(types.SimpleNamespace(dataset=value, np=1))
    check_tiny(builder.weights)
    found = np.bincount([int(row["text"].split()[1]) for row in builder.load_dataset().to_list()], minlength=4)
    wanted = WEIGHTS * 300_000 / LENGTHS
    assert found.sum() == value["max_sample_num"]
    assert (np.abs(found - wanted) <= (1, 1, 1, 3)).all()  # the last has what the others leave


# -- JAX -----------------------------------------------------------------------------------------------------------


def test_grain(case: Case) -> None:
    """The order of a mixed data set: Grain spreads its sources evenly, so shares are nearly exact."""
    import grain

    module = runpy.run_path(str(case.export("grain", mapped=True) / "mixture.py"))
    sources = {path: grain.MapDataset.source([i]).repeat(10 * DRAWS) for i, path in enumerate(module["WEIGHTS"])}
    mixed = module["mix"](sources)
    check_tiny(module["WEIGHTS"].values())
    check_tokens(mixed[i] for i in range(DRAWS))
