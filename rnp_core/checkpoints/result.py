"""What reading a checkpoint gives: the weights, the findings and the hints of its layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from rnp_core.checkpoints.architecture_guess import ArchitectureGuess
from rnp_core.errors import CheckpointError

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class FileFinding:
    """One fact about the file itself that a reviewer should know.

    Attributes:
        severity: ``"info"`` to ``"critical"``.
        rule: stable identifier, for example ``"unsafe-global"``.
        message: one sentence for people.
        evidence: the fragment that caused the finding; JSON values only. Text taken from the file
            is attacker's text: escape it wherever it is shown.
        atlas: MITRE ATLAS technique ids.
        cwe: CWE ids.
    """

    severity: Severity
    rule: str
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    atlas: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "severity": self.severity,
            "rule": self.rule,
            "message": self.message,
            "evidence": dict(self.evidence),
            "atlas": list(self.atlas),
            "cwe": list(self.cwe),
        }


@dataclass(frozen=True)
class CheckpointHints:
    """What the layout says about the network; claims of the file, not facts.

    Attributes:
        architecture: name of the network as the tool that wrote the file calls it.
        class_names: name of each class index, or empty.
        num_classes: number of classes.
        input_size: ``(C, H, W)``; C or both sizes may be 0 when the layout does not say them.
        mean: channel means for images in [0, 1], or empty.
        std: channel standard deviations for images in [0, 1], or empty.
        module_classes: dotted class names of pickled modules, in order of appearance.
    """

    architecture: str | None = None
    class_names: tuple[str, ...] = ()
    num_classes: int | None = None
    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    module_classes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The hints as JSON values."""
        return {
            "architecture": self.architecture,
            "class_names": list(self.class_names),
            "num_classes": self.num_classes,
            "input_size": None if self.input_size is None else list(self.input_size),
            "mean": list(self.mean),
            "std": list(self.std),
            "module_classes": list(self.module_classes),
        }


@dataclass(frozen=True, eq=False)
class OfferedImages:
    """Images that came with a checkpoint. Offered only: nobody has checked them.

    Attributes:
        role: ``"clean"`` or ``"poisoned"``, as the layout claims.
        name: the part of the layout they come from, for example ``"bd_test"``.
        images: ``(N, H, W, C)`` uint8, or None when they are files.
        paths: image files inside the checkpoint's folder, or empty.
        labels: ``(N,)`` int64, the labels of the set (of a poisoned one: the target), or None.
        original_labels: ``(N,)`` int64, what the images show, where a poisoned set says it.
    """

    role: Literal["clean", "poisoned"]
    name: str
    images: np.ndarray | None = None
    paths: tuple[Path, ...] = ()
    labels: np.ndarray | None = None
    original_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths) if self.images is None else len(self.images)


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and type of one tensor, without its values."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is and would import; nothing in it ran and no weight was used.

    Attributes:
        path: the file or folder that was asked for.
        file_name: name of the file that holds the weights.
        sha256: of that file, hexadecimal.
        size_bytes: of that file.
        format: ``"safetensors"``, ``"torch-zip"``, ``"torch-legacy"``, or a format that is refused.
        reader: the reader that would be used, or None when the file is refused.
        layout: how the tool that wrote it arranges its content, or None when unknown.
        removed_prefix: wrapper prefix of the tensor names, for example ``"module."``.
        globals: every name that a full unpickling would import, sorted.
        tensors: the tensors of the network.
        hints: claims of the file about the network.
        findings: most severe first.
        refusal: why the file cannot be scanned, or None.
        architecture: the network that the tensors belong to; None when the file is refused.
    """

    path: Path
    file_name: str
    sha256: str
    size_bytes: int
    format: str
    reader: str | None
    layout: str | None
    removed_prefix: str
    globals: tuple[str, ...]
    tensors: tuple[TensorInfo, ...]
    hints: CheckpointHints
    findings: tuple[FileFinding, ...]
    refusal: str | None = None
    architecture: ArchitectureGuess | None = None

    def to_dict(self) -> dict[str, Any]:
        """The inspection as JSON values."""
        return {
            "path": str(self.path),
            "file_name": self.file_name,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "format": self.format,
            "reader": self.reader,
            "layout": self.layout,
            "removed_prefix": self.removed_prefix,
            "globals": list(self.globals),
            "tensors": [
                {"name": info.name, "shape": list(info.shape), "dtype": info.dtype}
                for info in self.tensors
            ],
            "hints": self.hints.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "refusal": self.refusal,
            "architecture": None if self.architecture is None else self.architecture.to_dict(),
        }


class CheckpointRefused(CheckpointError):
    """A checkpoint that was looked at and must not or cannot be used.

    Attributes:
        inspection: what is known about the file, with its findings.
    """

    def __init__(self, message: str, inspection: Inspection) -> None:
        super().__init__(message)
        self.inspection = inspection


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of one network and everything known about the file that held them.

    Attributes:
        path: the file or folder that was asked for.
        file_name: name of the file that holds the weights.
        sha256: of that file, hexadecimal.
        size_bytes: of that file.
        format: ``"safetensors"``, ``"torch-zip"`` or ``"torch-legacy"``.
        reader: ``"safetensors"``, ``"weights_only"`` or ``"inert"``.
        layout: for example ``"state_dict"``, ``"BackdoorBench attack_result"``, ``"Lightning"``.
        state: tensors by the file's own names without wrapper prefixes, on the CPU; half
            precision is upcast to float32.
        removed_prefix: the wrapper prefix that was removed, or ``""``.
        findings: most severe first.
        hints: claims of the file about the network.
        offered: image sets that came with the file.
        non_finite: names of tensors that hold NaN or infinity.
    """

    path: Path
    file_name: str
    sha256: str
    size_bytes: int
    format: str
    reader: str
    layout: str
    state: dict[str, Tensor]
    removed_prefix: str = ""
    findings: tuple[FileFinding, ...] = ()
    hints: CheckpointHints = field(default_factory=CheckpointHints)
    offered: tuple[OfferedImages, ...] = ()
    non_finite: tuple[str, ...] = ()
