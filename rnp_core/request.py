"""A scan as a request: plain values that travel between processes, machines and reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnp_core.errors import ConfigError


@dataclass(frozen=True)
class ScanRequest:
    """Everything that decides the result of a scan of a file; every value is JSON-ready.

    Attributes:
        checkpoint: path of the checkpoint file or folder.
        clean: path of the clean labelled images; None takes those that came with the checkpoint.
        out: run folder to write.
        suspects: path of the images to triage, or None.
        arch: architecture name or ``FILE.py:CALLABLE``; None recognises it from the tensors.
        num_classes: expected number of classes, or None.
        class_names: class names in order of the labels, or None.
        normalization: "auto" or the name of a known one; ``mean`` and ``std`` overrule it.
        mean, std: of the channels, both or neither.
        preset: "quick", "standard" or "thorough".
        seed: of everything random.
        repair: whether removal may fine-tune.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads, None for all.
        force: replace an earlier scan in ``out``.
    """

    checkpoint: str
    clean: str | None
    out: str
    suspects: str | None = None
    arch: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    normalization: str = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    preset: str = "standard"
    seed: int = 0
    repair: bool = True
    device: str = "auto"
    threads: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        for name in ("class_names", "mean", "std"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        if (self.mean is None) != (self.std is None):
            raise ConfigError("--mean and --std go together")
        if self.mean is not None and self.std is not None:
            same_length = len(self.mean) == len(self.std)
            if not same_length or any(not value > 0 for value in self.std):
                raise ConfigError("expected as many --std values as --mean values, all above 0")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"expected --threads of at least 1, got {self.threads}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanRequest:
        """The request that :meth:`to_dict` wrote.

        Raises:
            ConfigError: for an unknown or missing field.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"expected the fields of a scan request: {error}") from error
