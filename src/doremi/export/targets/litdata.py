"""LitData, and litgpt over it: combined streaming datasets of blocks of tokens."""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, mapping

UNIT = "blocks of one length, hence tokens"
_CODE = '''
def combined(block_size, seed=42):
    """One data set of token blocks, which ends where its first path ends."""
    from litdata import CombinedStreamingDataset, StreamingDataset
    from litdata.streaming.item_loader import TokensLoader

    datasets = [
        StreamingDataset(path, item_loader=TokensLoader(block_size=block_size), shuffle=True, drop_last=True)
        for path in WEIGHTS
    ]
    return CombinedStreamingDataset(
        datasets, weights=list(WEIGHTS.values()), seed=seed, iterate_over_all=False
    )
'''
_MODULE = '''

def data_module(seed=42, num_workers=8):
    """The same for litgpt's trainer: `litgpt.pretrain.setup(data=data_module(), ...)`."""
    from litgpt.data import DataModule
    from torch.utils.data import DataLoader

    class Mixture(DataModule):
        def connect(self, tokenizer=None, batch_size=1, max_seq_length=None):
            self.batch_size, self.block_size = batch_size, (max_seq_length or 2048) + 1

        def train_dataloader(self):
            from litdata.streaming import StreamingDataLoader

            mixture = combined(self.block_size, seed)
            return StreamingDataLoader(mixture, batch_size=self.batch_size, num_workers=num_workers)

        def val_dataloader(self):
            return DataLoader([])

    return Mixture()
'''


def _litdata(blend: Blend, folder: Path) -> Files:
    values = {"WEIGHTS": blend.weights}
    yield "mixture.py", python_bytes(blend, UNIT, values, _CODE)
    yield "README.txt", readme(blend, UNIT, [*_usage("combined(block_size=2049)")])


def _litgpt(blend: Blend, folder: Path) -> Files:
    values = {"WEIGHTS": blend.weights}
    yield "mixture.py", python_bytes(blend, UNIT, values, _CODE + _MODULE)
    usage = [*_usage("data_module()"), "Its validation loader is empty: put yours there."]
    yield "README.txt", readme(blend, UNIT, usage)


def _usage(call: str) -> list[str]:
    return [
        "Copy mixture.py beside your script, then:",
        f"  from mixture import {call.partition('(')[0]}",
        f"  {call}",
        "Each path is a folder of `litdata optimize` with TokensLoader. The mixture ends where its first path ends:",
        "begin a further epoch then, or repeat small paths in their folders.",
    ]


def _read(text: str) -> Weights:
    return mapping(assigned(text, "WEIGHTS"))


TARGETS = (
    Target(
        name="litdata",
        family="streams",
        description="LitData CombinedStreamingDataset as a Python file",
        unit=UNIT,
        files=_litdata,
        main="mixture.py",
        read=_read,
    ),
    Target(
        name="litgpt",
        family="streams",
        description="litgpt data module over LitData",
        unit=UNIT,
        files=_litgpt,
        main="mixture.py",
        read=_read,
    ),
)
