"""NeMo, Megatron-Bridge and GPT-NeoX: other spellings of Megatron's list of weights and prefixes."""

from __future__ import annotations

from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme, summary, yaml_bytes
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.megatron import own_data, own_files, own_lines, own_validation, weighted_paths
from doremi.export.targets.parsing import assigned, at, blend_list, pairs, yaml_at

UNIT = "samples of one length, hence tokens"
_MOST = 254  # data sets that GPT-NeoX mixes: it numbers them in 8 bits
_BRIDGE = "BLEND = [list(WEIGHTS), list(WEIGHTS.values())]\n"
_BRIDGE_OWN = """from pathlib import Path

HERE = Path(__file__).resolve().parent  # the token files lie beside this file, wherever that is
BLEND = [[str(HERE / path) for path in WEIGHTS], list(WEIGHTS.values())]
"""


def _nemo(blend: Blend, folder: Path) -> Files:
    """`blend.yaml`: NeMo 2's `paths` and NeMo 1's `data_prefix`, which are the same value.

    The run's own data are a list for each split. NeMo wants all three there, and takes no fraction of validation
    batches, which is its default, with one list alone.
    """
    words = [word for weight, path in weighted_paths(blend) for word in (decimal_text(weight), path)]
    yield from own_files(blend, folder.resolve())
    splits, pairs = own_validation(blend, folder.resolve())
    yield from pairs
    lists = {"train": words, "validation": splits["select"], "test": splits["report"]}
    value = lists if all(lists.values()) else words
    # text, since NeMo 2 takes strings, and NeMo 1 converts them
    yield "blend.yaml", yaml_bytes({"paths": value, "data_prefix": value}, summary(blend, UNIT))
    yield "README.txt", readme(blend, UNIT, [*_nemo_usage(value is words), "", *own_lines(blend)])


def _nemo_usage(alone: bool) -> list[str]:
    """`alone`: whether there is training data alone."""
    two = "NeMo 2:  PreTrainingDataModule(paths=yaml.safe_load(open('blend.yaml'))['paths'], split={}, ...)"
    one = "NeMo 1:  put data_prefix below model.data of the configuration"
    if not alone:
        documents = (
            "validation holds the documents that doremi chooses by, test those that it reports. They carry no weights."
        )
        return [two.format(None), one, "", documents]
    return [
        two.format("'100,0,0'"),
        f"{one}, with splits_string: '100,0,0'",
        "Set limit_val_batches and limit_test_batches of the trainer to 0. NeMo 2 refuses its own default, 1.0, where",
        "paths is a list. To validate, make it a dictionary: {train: this list, validation: [...], test: [...]}.",
    ]


def _bridge(blend: Blend, folder: Path) -> Files:
    """`blend.py` with the pair of lists that `GPTDatasetConfig(blend=...)` takes.

    The run's own token files are named relative to it: a Python file knows where it lies, lists of Megatron do not.
    """
    weighted = weighted_paths(blend)
    yield from own_files(blend, folder.resolve())
    values = {"WEIGHTS": {path: weight for weight, path in weighted}}
    yield "blend.py", python_bytes(blend, UNIT, values, _BRIDGE if blend.mapped else _BRIDGE_OWN)
    beside = "blend.py finds the token files beside itself, also after the run has moved with its export."
    first = "Copy blend.py beside your recipe, then:"
    usage = [
        first if blend.mapped else f"In your recipe, after `sys.path.append({str(folder.resolve())!r})`:",
        "  from blend import BLEND",
        "  config.dataset.blend = BLEND      # GPTDatasetConfig(blend=[[paths], [weights]])",
        "",
        *own_lines(blend, [beside]),
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _neox(blend: Blend, folder: Path) -> Files:
    """`data.yml`, to be named beside the other configuration files of GPT-NeoX."""
    weighted = weighted_paths(blend)
    yield from own_files(blend, folder.resolve())
    if len(weighted) > _MOST:
        raise ExportError(
            f"GPT-NeoX mixes at most {_MOST} data sets, and these are {len(weighted):,}; join some domains"
        )
    weights, paths = zip(*weighted, strict=True)
    value = {"train-data-paths": list(paths), "train-data-weights": list(weights)}
    yield "data.yml", yaml_bytes(value, summary(blend, UNIT))
    usage = [
        "Name data.yml beside your other configuration files, and leave data-path out there:",
        "  python deepy.py train.py your_model.yml data.yml",
        "Leave weight_by_num_documents at false: it would replace these weights.",
        "Add valid-data-paths and test-data-paths of your own, with weights for them.",
        "",
        *own_lines(blend),
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _read_nemo(text: str) -> Weights:
    value = yaml_at(text)
    for keys in (("paths",), ("data_prefix",), ("model", "data", "data_prefix")):
        try:
            found = at(value, *keys)
        except ValueError:
            continue
        return blend_list(found["train"] if isinstance(found, dict) and "train" in found else found)
    raise ValueError("has no paths and no data_prefix")


def _read_bridge(text: str) -> Weights:
    weights = assigned(text, "WEIGHTS")
    return pairs(weights, weights.values())


def _read_neox(text: str) -> Weights:
    value = yaml_at(text)
    return pairs(at(value, "train-data-paths"), at(value, "train-data-weights"))


TARGETS = (
    Target(
        name="nemo",
        family="Megatron files",
        description="NeMo 2 paths and NeMo 1 data_prefix",
        unit=UNIT,
        files=_nemo,
        main="blend.yaml",
        read=_read_nemo,
        own_data=own_data,
        data="tokens",
    ),
    Target(
        name="megatron-bridge",
        family="Megatron files",
        description="Megatron-Bridge GPTDatasetConfig(blend=...)",
        unit=UNIT,
        files=_bridge,
        main="blend.py",
        read=_read_bridge,
        own_data=lambda blend, domain, place: f"{domain.folder}/train",
        data="tokens",
    ),
    Target(
        name="gpt-neox",
        family="Megatron files",
        description="GPT-NeoX train-data-paths and train-data-weights",
        unit=UNIT,
        files=_neox,
        main="data.yml",
        read=_read_neox,
        own_data=own_data,
        data="tokens",
    ),
)
