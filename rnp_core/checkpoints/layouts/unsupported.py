"""Layouts that are refused with a reason: quantised and sharded networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from rnp_core.checkpoints.layouts.base import Leaf
from rnp_core.checkpoints.trace import Trace
from rnp_core.errors import CheckpointError

_SHARD_NAME = re.compile(
    r"(-\d{5}-of-\d{5}\.|_?mp_rank_\d+|__\d+_\d+\.distcp$|zero_pp_rank_|\.index\.json$|_shard_\d+)"
)
_QUANTISED_NAMES = re.compile(
    r"(_packed_params|\.qweight$|\.qzeros$|\.SCB$|\.absmax$|\.quant_map$|\.quant_state|"
    r"\.weight_scale$|\.zero_point$)"
)
_QUANTISED_GLOBALS = ("_rebuild_qtensor", "quantized", "torchao", "bitsandbytes")
_QUANTISED_TYPES = (torch.float8_e4m3fn, torch.float8_e5m2)

QUANTISED = (
    "the file holds a quantised network, which is not supported; "
    "give the float checkpoint it was made from"
)
SHARDED = (
    "the file is one part of a sharded checkpoint; "
    "merge the parts into one file first (for example with save_pretrained and a large shard size)"
)


def refuse_shard_name(path: Path) -> None:
    """Raises:
    CheckpointError: when the file name is that of a shard or of an index of shards.
    """
    if _SHARD_NAME.search(path.name):
        raise CheckpointError(SHARDED)


def refuse_quantised(trace: Trace, entries: Mapping[str, Leaf]) -> None:
    """Raises:
    CheckpointError: when names, types or pickled classes are those of a quantised network.
    """
    for name in trace.globals:
        if any(part in name.dotted for part in _QUANTISED_GLOBALS):
            raise CheckpointError(QUANTISED)
    for key, leaf in entries.items():
        if _QUANTISED_NAMES.search(key) or leaf.dtype in _QUANTISED_TYPES:
            raise CheckpointError(QUANTISED)
        if leaf.dtype in (torch.int8, torch.uint8) and len(leaf.shape) >= 2:
            raise CheckpointError(QUANTISED)
