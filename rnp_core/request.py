"""A scan as a request: plain values that travel between processes, machines and reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnp_core.errors import ConfigError

PRESETS = {
    "quick": "20 to 30 s. Three fifths of the steps: recovered triggers are larger and weaker, and "
    "a faint one may be missed. For a first look; of six small backdoored models it accuses four.",
    "standard": "20 to 40 s. The one that the measured results rest on; a trigger that takes more "
    "steps than it has is missed. Of the same six it accuses all.",
    "thorough": "30 to 60 s. Twice the steps, for a repair that did not do. It gives up time, and "
    "finds no more: innocent triggers get smaller too, and of the same six it accuses five.",
}
"""What each preset promises: the time of a demo model (a small network with 12 classes, 600 clean
images of 32 x 32 pixels) on two cores with fast bfloat16, and what it gives up. The longer time is
that of a clean model, on which every search is made. Measured on two kinds of processors, start of
the process included: 18 to 29 s, 20 to 41 s over the six demo models, and 31 to 58 s."""

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32")
NORMALIZATION_NAMES = ("auto", "none", "cifar10", "imagenet", "half", "mnist")
LARGEST_SEED = 2**63 - 2  # one above it is still a seed of torch

_TEXTS = ("checkpoint", "out", "normalization", "preset", "device", "precision")
_CHOICES = (
    ("preset", "preset", PRESETS),
    ("device", "device", DEVICES),
    ("precision", "precision", PRECISIONS),
    ("normalization", "normalisation", NORMALIZATION_NAMES),
)
_OPTIONAL_TEXTS = ("clean", "suspects", "arch")
_OPTIONAL_COUNTS = {"num_classes": (2, 65536), "threads": (1, 1024)}  # smallest and largest value


@dataclass(frozen=True)
class ScanRequest:
    """Everything that decides the result of a scan of a file; every value is JSON-ready.

    Raises:
        ConfigError: when a field is not what it should be.

    Attributes:
        checkpoint: path of the checkpoint file or folder.
        clean: path of the clean labelled images; None takes those that came with the checkpoint.
        out: run folder to write.
        suspects: path of the images to triage, or None.
        arch: architecture name or ``FILE.py:CALLABLE``; None recognises it from the tensors.
        num_classes: expected number of classes, or None.
        class_names: class names in order of the labels, or None.
        normalization: one of :data:`NORMALIZATION_NAMES`; ``mean`` and ``std`` overrule it.
        mean, std: of the channels, both or neither.
        preset: "quick", "standard" or "thorough".
        seed: of everything random.
        repair: whether removal may fine-tune.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        precision: "auto" (bfloat16 where the hardware is fast at it) or "float32".
        threads: CPU threads, None for all.
        limits: on reading, see :func:`rnp_core.limit_options.parse_limits`; None for the defaults.
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
    precision: str = "auto"
    threads: int | None = None
    limits: tuple[str, ...] | None = None
    force: bool = False

    def __post_init__(self) -> None:
        self._check_texts()
        self._check_numbers()
        if (self.mean is None) != (self.std is None):
            raise ConfigError("--mean and --std go together")
        if self.mean is not None and self.std is not None:
            same_length = len(self.mean) == len(self.std)
            if not same_length or any(not value > 0 for value in self.std):
                raise ConfigError("expected as many --std values as --mean values, all above 0")

    def _check_texts(self) -> None:
        for name in (*_TEXTS, *_OPTIONAL_TEXTS):
            value = getattr(self, name)
            if name in _OPTIONAL_TEXTS and value is None:
                continue
            if not isinstance(value, str) or not value or "\x00" in value:
                raise ConfigError(f"expected text for {name}, got {value!r}")
        for name, word, choices in _CHOICES:
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"expected a {word} among {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        for field in ("class_names", "limits"):
            if getattr(self, field) is None:
                continue
            names = _as_tuple(field, getattr(self, field))
            if not all(isinstance(name, str) and name for name in names):
                raise ConfigError(f"expected names for {field}, got {names!r}")
            object.__setattr__(self, field, names)

    def _check_numbers(self) -> None:
        if not _is_count(self.seed) or not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"expected --seed from 0 to {LARGEST_SEED}, got {self.seed!r}")
        for name, (least, most) in _OPTIONAL_COUNTS.items():
            value = getattr(self, name)
            if value is not None and (not _is_count(value) or not least <= value <= most):
                option = name.replace("_", "-")
                raise ConfigError(f"expected --{option} from {least} to {most}, got {value!r}")
        for name in ("repair", "force"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"expected true or false for {name}, got {getattr(self, name)!r}")
        for name in ("mean", "std"):
            if getattr(self, name) is None:
                continue
            values = _as_tuple(name, getattr(self, name))
            if not all(_is_number(value) for value in values):
                raise ConfigError(f"expected finite numbers for --{name}, got {values!r}")
            object.__setattr__(self, name, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` takes them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanRequest:
        """The request that :meth:`to_dict` wrote.

        Raises:
            ConfigError: for an unknown or missing field, or one that is not what it should be.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"expected the fields of a scan request: {error}") from error


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise ConfigError(f"expected a list for {name}, got {value!r}")
    return tuple(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
