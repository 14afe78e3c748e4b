"""MosaicML Streaming and LLM Foundry: one stream a path, with its proportion of the samples."""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend, Entry
from doremi.export.files import Files, python_bytes, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, at, number, yaml_at

UNIT = "samples, which are documents unless the streams were cut to one length"
_CODE = '''
def streams(cache=None):
    """A stream for each path; remote ones are kept below the folder `cache`."""
    from streaming import Stream

    def stream(number, path, proportion):
        remote = "://" in path
        places = {"remote": path, "local": f"{cache}/{number}"} if remote else {"local": path}
        return Stream(proportion=proportion, **places)

    return [stream(number, *one) for number, one in enumerate(PROPORTIONS.items())]
'''


def _streaming(blend: Blend, folder: Path) -> Files:
    """`streams.py`. A path is a folder or an address of MDS files."""
    values = {
        "PROPORTIONS": blend.weights,
        "SAMPLES": blend.units,
    }
    yield "streams.py", python_bytes(blend, UNIT, values, _CODE)
    usage = [
        "Copy streams.py beside your script, then:",
        "  from streams import SAMPLES, streams",
        "  StreamingDataset(streams=streams('/tmp/cache'), epoch_size=SAMPLES, batching_method='stratified', ...)",
        "SAMPLES is the budget. Pass a smaller epoch_size to draw it in several epochs.",
        *_lengths(),
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _foundry(blend: Blend, folder: Path) -> Files:
    """`train_loader.yaml`, for the configuration of LLM Foundry."""
    streams = {entry.key: _stream(entry) for entry in blend.entries}
    value = {"train_loader": {"name": "text", "dataset": {"streams": streams, "epoch_size": blend.units}}}
    yield "train_loader.yaml", yaml_bytes(value, summary(blend, UNIT))
    usage = ["Merge train_loader.yaml into the configuration of LLM Foundry.", *_lengths()]
    yield "README.txt", readme(blend, UNIT, usage)


def _stream(entry: Entry) -> dict[str, object]:
    (path,) = entry.paths
    places = {"remote": path, "local": f"cache/{entry.key}"} if "://" in path else {"local": path}
    return {**places, "proportion": entry.weight}


def _lengths() -> list[str]:
    return ["For samples of one length, give that length as `tokens_per_document` of each path."]


def _read_streaming(text: str) -> Weights:
    return [(key, number(weight)) for key, weight in assigned(text, "PROPORTIONS").items()]


def _read_foundry(text: str) -> Weights:
    streams = yaml_at(text, "train_loader", "dataset", "streams")
    return [(name, number(at(stream, "proportion"))) for name, stream in streams.items()]


TARGETS = (
    Target(
        name="streaming",
        family="streams",
        description="MosaicML Streaming streams as a Python file",
        unit=UNIT,
        files=_streaming,
        main="streams.py",
        read=_read_streaming,
        counts="documents",
    ),
    Target(
        name="llm-foundry",
        family="streams",
        description="LLM Foundry train_loader",
        unit=UNIT,
        files=_foundry,
        main="train_loader.yaml",
        read=_read_foundry,
        counts="documents",
        key="folder",
    ),
)
