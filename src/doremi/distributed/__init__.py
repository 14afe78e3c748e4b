"""The only package that knows torch.distributed."""

from doremi.distributed.rows import Rows, local, rows_of
from doremi.distributed.saved import begin_shards, load_shards, save_shards, saved_tensors
from doremi.distributed.world import Shards, World, blocks, first_to_fail, is_sharded, plain, start, stop

__all__ = [
    "Rows", "Shards", "World", "begin_shards", "blocks", "first_to_fail", "is_sharded", "load_shards", "local", "plain",
    "rows_of", "save_shards", "saved_tensors", "start", "stop",
]  # fmt: skip
