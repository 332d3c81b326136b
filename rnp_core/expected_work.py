"""The work of a scan before it is done, for the estimate of the time left.

Work is counted as stages report it, see :mod:`rnp_core.progress`. What adapts to the evidence is
expected by its usual course. The shares and constants here were fitted to nine scans of CIFAR-sized
models on one thread of a CPU.
"""

from __future__ import annotations

from rnp_core.config import ScanConfig
from rnp_core.inversion import InversionConfig
from rnp_core.progress import FORWARD_WORK, training_work
from rnp_core.stages.margins import SHORTER
from rnp_core.stages.target_label import COMPARED_AT_LEAST, UNIVERSAL_UP_TO
from rnp_core.stages.triggers import (
    COMPARED_LABELS,
    RESTART_SHARE,
    RESTARTS,
    SCREENED_FROM,
    screening,
    second_looks,
    strengthening,
    universal_look,
)

_UNLEARN_STEPS = 25  # until a network has forgotten; 13 to 35
_ACCUSED = 0.4  # chance that a model is accused, as long as nothing is known
_PRUNE_CANDIDATES = 7
_ATTRIBUTION = (500.0, 150.0)  # of the first map (the library loads), and of each


def expected_work(
    config: ScanConfig,
    *,
    classes: int,
    images: int,
    suspects: int,
    batch_statistics: bool,
    share: float = 0.0,
    accused: bool | None = None,
) -> dict[str, float]:
    """Stage to the work that it will take; "report" is what comes after the stages.

    Args:
        classes: of the model.
        images: clean ones.
        suspects: images to triage.
        batch_statistics: whether the network has BatchNorm layers.
        share: the largest unlearned share; 0 before unlearning.
        accused: whether there is a backdoor to remove; None while that is open.
    """
    chance = _ACCUSED if accused is None else float(accused)
    held_out = round(config.holdout_share * images)
    fit = images - held_out
    training = training_work(batch_statistics)
    labels = min(classes, config.max_labels)
    recover = config.recover_stage
    shown = (config.attributed_samples if suspects else 0) + chance
    first, each = _ATTRIBUTION
    return {
        "unlearn": _UNLEARN_STEPS * min(fit, config.unlearn_stage.batch_size) * training,
        "recover": recover.steps * min(fit, recover.batch_size) * training,
        "margins": _margins(config, classes, labels),
        "triggers": _triggers(
            config.invert_stage, classes, labels, batch_statistics, share, chance
        ),
        "removal": chance * _removal(config, fit, training),
        "samples": 3 * FORWARD_WORK * suspects,
        "attributions": (first + 2 * each * shown) if suspects or accused else 0.0,
        "report": FORWARD_WORK * (images + (labels + 2) * held_out),
    }


def _margins(config: ScanConfig, classes: int, labels: int) -> float:
    stage = config.margin_stage
    screened = classes * max(1, stage.steps // SHORTER) if classes > labels else 0
    return screened + labels * stage.starts * stage.steps


def _triggers(
    config: InversionConfig,
    classes: int,
    labels: int,
    batch_statistics: bool,
    share: float,
    chance: float,
) -> float:
    """Patches for certain, and further looks where these do not accuse a label."""
    work = 0
    if labels > SCREENED_FROM:
        work += _inversion(screening(config), labels)
        labels = SCREENED_FROM
    work += _inversion(config, labels)
    further = 0
    if batch_statistics and share >= RESTART_SHARE:
        further += _inversion(config, RESTARTS)
    if COMPARED_AT_LEAST <= classes <= UNIVERSAL_UP_TO:
        further += _inversion(universal_look(config), 1)
    for kind, settings in second_looks(config):
        if kind != "patch":
            further += _inversion(settings, min(labels, COMPARED_LABELS))
        elif not batch_statistics:
            further += _inversion(settings, labels)
    return work + (1 - chance) * further


def _inversion(config: InversionConfig, labels: int) -> int:
    return config.steps * config.batch_size * labels


def _removal(config: ScanConfig, fit: int, training: float) -> float:
    """Against one trigger."""
    work = float(_inversion(strengthening(config.invert_stage), 1))
    work += 2 * _PRUNE_CANDIDATES * fit * FORWARD_WORK
    if config.repair:
        stage = config.repair_stage
        work += stage.steps * stage.work_of_a_step(min(fit, stage.batch_size), training)
    return work
