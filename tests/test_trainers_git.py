"""Trainers whose code is in repositories only, or is years old on PyPI: the file that decides the mixture reads ours.

`make trainers` fetches each at the commit that it names, as test_trainers.py has its packages. What such a file imports
for other purposes has a stand-in.
"""

from __future__ import annotations

import json
import types
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pytest
import yaml

from trainer_cases import DRAWS, KEPT, NAMES, WEIGHTS, Case, case_in, check_blocks, check_tiny, check_tokens, stand_in

pytestmark = [pytest.mark.trainers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_in(tmp_path)


def test_lingua(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """10^5 lines of files in its form, from the sources of its arguments."""
    stand_in(monkeypatch, lingua__tokenizer={"build_tokenizer": None, "TokenizerArgs": dict})
    from lingua.data import TRAIN_DATA_FILE_PATTERN, DataArgs, choose_source, init_choice_state, setup_sources

    for i, name in enumerate(KEPT):
        case.data(name).mkdir()
        (case.data(name) / "all.chunk.00.jsonl").write_text(json.dumps({"text": str(i)}) + "\n", encoding="utf-8")
    value = yaml.safe_load((case.export("lingua", mapped=True) / "data.yaml").read_text(encoding="utf-8"))
    arguments = DataArgs(**value["data"])
    check_tiny(arguments.sources.values())
    state = init_choice_state(arguments.root_dir, arguments.sources, 1, 0, 1, TRAIN_DATA_FILE_PATTERN)
    lines = choose_source(
        setup_sources(state), state["source_to_state"], state["root_dir"], state["sources"], state["rng_state"]
    )
    check_tokens(int(next(lines)[0]["text"]) for _ in range(DRAWS))


def test_nemo_itself(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data module of NeMo 2 builds what it trains on from `paths`. NeMo 1 reads the weights of `data_prefix`."""
    (place,) = package("nemo")
    data, megatron = "collections.llm.gpt.data", "collections.nlp.data.language_modeling.megatron"
    for name in ("", *accumulate(data.split("."), "{}.{}".format), *accumulate(megatron.split("."), "{}.{}".format)):
        path = f"{place}/{name.replace('.', '/')}"
        stand_in(monkeypatch, **{f"nemo.{name}".strip(".").replace(".", "__"): {"__path__": [path]}})
    others = ("collections.nlp.modules", "collections.nlp.modules.common", "lightning", "lightning.io", "utils")
    sampler = types.SimpleNamespace(global_batch_size=1)
    stand_in(
        monkeypatch, **{f"nemo.{name}".replace(".", "__"): {} for name in others},
        lightning={}, lightning__pytorch={"LightningDataModule": type("Module", (), {})},
        lightning__pytorch__utilities={},
        lightning__pytorch__utilities__rank_zero={"rank_zero_info": print},
        lightning__pytorch__utilities__types=dict.fromkeys(("EVAL_DATALOADERS", "TRAIN_DATALOADERS")),
        nemo__collections__nlp__modules__common__tokenizer_utils={"get_nmt_tokenizer": None},
        nemo__lightning__data={"WrappedDataLoader": None}, nemo__lightning__io__mixin={"IOMixin": Items},
        nemo__lightning__pytorch={}, nemo__lightning__pytorch__plugins={"MegatronDataSampler": lambda **_: sampler},
        nemo__utils__import_utils={"safe_import": lambda name: (None, False)},
        nemo__utils__msc_utils={"import_multistorageclient": None, "is_multistorageclient_url": lambda path: False},
    )  # fmt: skip
    from nemo.collections.llm.gpt.data.pre_training import PreTrainingDataModule
    from nemo.collections.nlp.data.language_modeling.megatron.base_dataset_utils import (
        get_datasets_weights_and_num_samples,
    )

    value = yaml.safe_load((case.export("nemo", mapped=False) / "blend.yaml").read_text(encoding="utf-8"))
    module = PreTrainingDataModule(value["paths"], seq_length=8, tokenizer=Tokens(), split=None)
    module.build(DRAWS, DRAWS, 1.0, 1.0)
    check_blocks(np.bincount(module._train_ds.dataset_index, minlength=4))
    documents = [case.run.whole_corpus().validation_documents(name) for name in NAMES]
    select = sum(int(one["tokens"][one["report"] == 0].sum()) for one in documents)
    assert select - 9 * len(NAMES) <= 8 * len(module._validation_ds) <= select
    alone = PreTrainingDataModule(value["paths"]["train"], seq_length=8, tokenizer=Tokens(), split="100,0,0")
    with pytest.raises(AssertionError, match="limit_val_batches"):
        alone.build(DRAWS, DRAWS, 1.0, 1.0)
    alone.build(DRAWS, DRAWS, 0, 0)
    assert np.array_equal(alone._train_ds.dataset_index, module._train_ds.dataset_index)
    _, weights, _ = get_datasets_weights_and_num_samples(value["data_prefix"]["train"], 10 * DRAWS)
    assert weights == pytest.approx(list(WEIGHTS), abs=1e-12)


class Tokens:
    """The tokenizer that Megatron-Core wants to know."""

    unique_identifiers: ClassVar = {"class": "Tokens"}
    eod, vocab_size = 0, None


def test_gpt_neox(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights as it normalises them, and the documents of its own index of our token files."""
    (place,) = package("megatron")
    stand_in(monkeypatch, megatron={"__path__": [place], "print_rank_0": print, "mpu": None})
    stand_in(monkeypatch, megatron__data={"__path__": [f"{place}/data"]})
    names = ("blendable_dataset", "gpt2_dataset", "online_dataset", "pairwise_dataset", "samplers")
    classes = {"BlendableDataset", "GPT2Dataset", "OnlineDataset", "PairwiseDataset", "DistributedBatchSampler"}
    stand_in(monkeypatch, **{f"megatron__data__{name}": dict.fromkeys(classes) for name in names})
    from megatron.data.data_utils import get_normalized_weights_and_num_samples
    from megatron.data.indexed_dataset import MMapIndexedDataset

    value = yaml.safe_load((case.export("gpt-neox", mapped=False) / "data.yml").read_text(encoding="utf-8"))
    weights, samples = get_normalized_weights_and_num_samples(value["train-data-weights"], 10 * DRAWS)
    assert weights == pytest.approx(list(WEIGHTS), abs=1e-12)
    assert samples == [int(np.ceil(weight * 10 * DRAWS * 1.005)) for weight in weights]
    corpus = case.run.whole_corpus()
    for name, prefix in zip(KEPT, value["train-data-paths"], strict=True):
        found = MMapIndexedDataset(prefix, skip_warmup=True)
        assert found.sizes.sum() == corpus.entries[name].train.tokens
        assert (
            found[1].tolist()
            == np.fromfile(corpus.path(name, "train.bin"), "<u2")[found.sizes[0] :][: found.sizes[1]].tolist()
        )


def test_nanotron(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of sequences that its data set makes from the weights of a stage."""
    (place,) = package("nanotron")
    log = types.SimpleNamespace(get_logger=lambda name: None)
    stand_in(
        monkeypatch, nanotron={"__path__": [place], "logging": log}, nanotron__data={"__path__": [f"{place}/data"]},
        nanotron__logging={"log_rank": print},
    )  # fmt: skip
    from nanotron.data.nanoset import build_nanoset_index_helper
    from nanotron.data.utils import normalize

    (stage,) = yaml.safe_load((case.export("nanotron", mapped=False) / "data_stages.yaml").read_text("utf-8"))[
        "data_stages"
    ]
    weights = normalize(stage["data"]["dataset"]["dataset_weights"])
    index, _ = build_nanoset_index_helper(n_samples=10 * DRAWS, weights=weights, dataset_sizes=np.full(4, 1000))
    assert np.bincount(index.astype(np.int64), minlength=4) == pytest.approx(WEIGHTS * 10 * DRAWS, abs=2)


def test_maxtext(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """10^5 records of ArrayRecord files, mixed by its input pipeline from the file that it reads."""
    (place,) = package("maxtext")
    others = ("data_processing_utils", "input_pipeline_utils", "grain_tokenizer", "dpo_utils", "multihost_dataloading")
    stand_in(
        monkeypatch, jax={}, ml_collections={"ConfigDict": dict}, grain__experimental={"ElasticIterator": None},
        maxtext={"__path__": [place]}, maxtext__input_pipeline={"__path__": [f"{place}/input_pipeline"]},
        maxtext__utils={"gcs_utils": None, "max_logging": types.SimpleNamespace(log=print)},
        **{f"maxtext__input_pipeline__{name}": {} for name in others},
    )  # fmt: skip
    from array_record.python.array_record_module import ArrayRecordWriter
    from maxtext.input_pipeline.grain_data_processing import get_datasets

    for i, name in enumerate(KEPT):
        writer = ArrayRecordWriter(f"{case.data(name)}.array_record", "group_size:1")
        for _ in range(1000):
            writer.write(bytes([i]))
        writer.close()
    out = case.export("maxtext", mapped=True, suffix=".array_record")
    mixed = get_datasets(
        None, "arrayrecord", True, 1, 0, 1000, 0, 1, 0, 1, 1, 4, mixture_config_path=str(out / "mixture.json")
    )
    records = iter(mixed)
    check_tokens(next(records)[0] for _ in range(DRAWS))


Item = TypeVar("Item")


class Names(type):
    """A kind of class that holds names."""

    def __contains__(cls, name: object) -> bool:
        return name in vars(cls).values()


class Items(Generic[Item]):
    """What Levanter's mixture calls a data set."""


def test_levanter(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequences of each domain in a block, with the block of the file."""
    (place,) = package("levanter")
    data = {"__path__": [f"{place}/data"], "AsyncDataset": Items}
    stand_in(
        monkeypatch, haliax={}, haliax__util={"StringHolderEnum": Names}, levanter={"__path__": [place]},
        levanter__data=data, levanter__schedule={"BatchSchedule": None},
        levanter__utils__thread_utils={"future_from_value": None},
    )  # fmt: skip
    from levanter.data.mixture import MixtureDataset

    data = yaml.safe_load((case.export("levanter", mapped=True) / "data.yaml").read_text(encoding="utf-8"))["data"]
    block = data["mixture_block_size"]
    mixture = MixtureDataset(dict.fromkeys(data["configs"], Items()), data["train_weights"], block, key=0)
    (count,) = mixture._counts_per_block_per_stage
    assert list(mixture.dataset_index._index_to_obj) == [
        name for name, weight in data["train_weights"].items() if weight
    ]
    assert count == pytest.approx(WEIGHTS * block, abs=4)
    assert count.sum() == block


def package(name: str) -> list[str]:
    """Where its modules are."""
    from importlib.util import find_spec

    found: Any = find_spec(name)
    return list(found.submodule_search_locations)
