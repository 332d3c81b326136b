"""Reading untrusted checkpoints: every common format, and nothing in them runs."""

from rnp_core.checkpoints.architecture_guess import ArchitectureGuess
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.load import inspect_checkpoint, load_checkpoint
from rnp_core.checkpoints.result import (
    Checkpoint,
    CheckpointHints,
    CheckpointRefused,
    FileFinding,
    Inspection,
    OfferedImages,
    TensorInfo,
)

__all__ = [
    "ArchitectureGuess",
    "Checkpoint",
    "CheckpointHints",
    "CheckpointRefused",
    "FileFinding",
    "Inspection",
    "OfferedImages",
    "ReadLimits",
    "TensorInfo",
    "inspect_checkpoint",
    "load_checkpoint",
]
