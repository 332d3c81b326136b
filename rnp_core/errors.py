"""Exceptions of the package. Every message can be shown to a user as it is."""

import re
from typing import Literal

IsolationReason = Literal["crash", "memory", "time", "protocol", "start"]


class RnpError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(RnpError):
    """A setting is outside its range or does not fit the others."""


class CheckpointError(RnpError):
    """A checkpoint cannot be read, or must not be."""


class ArchitectureError(RnpError):
    """No network definition fits the tensors of a checkpoint, or the wrong one was named."""


class DataError(RnpError):
    """Images or labels cannot be read, or do not suit the model."""


class ModelError(RnpError):
    """A network does not behave like an image classifier (shape, NaN, a crash)."""


class ReportError(RnpError):
    """A report cannot be written, read or rendered."""


class IsolationError(RnpError):
    """The child process that works on untrusted files ended without a result.

    Attributes:
        reason: "crash" (a signal, an exit or an unexpected error), "memory" (its limit, or the
            system's), "time" (its limit), "protocol" (it sent something that is no message) or
            "start" (it could not be started).
        detail: the end of what it wrote to standard error, for a log; untrusted text.
    """

    def __init__(
        self, message: str, *, reason: IsolationReason = "crash", detail: str = ""
    ) -> None:
        super().__init__(message)
        self.reason: IsolationReason = reason
        self.detail = detail


class JobError(RnpError):
    """A job cannot be accepted, found or changed, or the place that keeps jobs cannot be used."""


class ScanCancelled(RnpError):
    """Raised by a progress callback to stop the running stage; nothing is left half written."""


def reason_of(error: Exception) -> str:
    """What the system says went wrong, without number and path; else the whole message."""
    return getattr(error, "strerror", None) or str(error)


_ALLOCATION_FAILED = re.compile("bad_alloc|memory allocation|allocate memory", re.IGNORECASE)
_NO_MEMORY = ("not enough memory", "out of memory", "ALLOC_FAILED")


def allocation_failed(text: str) -> bool:
    """Whether an allocator of C++, Rust or PyTorch says in ``text`` that it got no memory."""
    return _ALLOCATION_FAILED.search(text) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the CPU or a GPU; torch raises a RuntimeError for that."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (allocation_failed(text) or any(words in text for words in _NO_MEMORY))
    )
