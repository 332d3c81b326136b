"""Readers by container format."""

from __future__ import annotations

from rnp_core.checkpoints.container import SAFETENSORS, TORCH_LEGACY, TORCH_ZIP
from rnp_core.checkpoints.readers.base import Contents, Reader
from rnp_core.checkpoints.readers.safetensors_file import read_safetensors
from rnp_core.checkpoints.readers.torch_legacy import read_torch_legacy
from rnp_core.checkpoints.readers.torch_zip import read_torch_zip

READERS: dict[str, Reader] = {
    SAFETENSORS: read_safetensors,
    TORCH_ZIP: read_torch_zip,
    TORCH_LEGACY: read_torch_legacy,
}

__all__ = ["READERS", "Contents", "Reader"]
