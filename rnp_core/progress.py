"""Progress of a running stage, and the one way to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

FORWARD_WORK = 0.4
"""Work of an image whose class is predicted. The unit is one image sent forward through the network
with BatchNorms folded, and the gradient back to its pixels. The constants here were fitted to
eleven scans with small networks on one thread of a CPU."""


def training_work(images: int, *, batch_norms: bool, masks: bool = False) -> float:
    """Work of a step that trains all weights, or masks on the filters; more with BatchNorm layers,
    which do not fold then."""
    each = (1.2 if masks else 1.4) if batch_norms else 0.7
    return each * images


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
