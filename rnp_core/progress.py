"""Progress of a running stage, and the one way to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

FORWARD_WORK = 0.3
"""Work of an image whose class is predicted. The unit is one image sent forward through the network
with BatchNorms folded, and the gradient back to its pixels."""


def training_work(batch_statistics: bool) -> float:
    """Work of an image that weights or masks are trained on; more with BatchNorm layers, which do
    not fold then."""
    return 1.2 if batch_statistics else 0.7


@dataclass(frozen=True)
class Progress:
    """One report from a running stage.

    Attributes:
        stage: name of the stage, one of ``rnp_core.pipeline.STAGES``.
        step: finished steps, ``0 <= step <= total``.
        total: planned steps of the stage; a stage may finish earlier.
        message: a short sentence for people, may be empty.
        values: plain numbers (or lists of them) of this step, for live curves; those of a whole
            scan also hold what :mod:`rnp_core.scan_clock` adds.
        work: what this step cost, in the unit of :data:`FORWARD_WORK`; read inside the scan only.
    """

    stage: str
    step: int
    total: int
    message: str = ""
    values: Mapping[str, float | list[float]] = field(default_factory=dict)
    work: float = 0.0


OnProgress = Callable[[Progress], None]
"""Called between steps. It may raise :class:`rnp_core.errors.ScanCancelled` to stop the stage."""


def ignore_progress(progress: Progress) -> None:
    """The default callback: does nothing."""
