"""The work of a scan before it is done, for the estimate of the time left.

Work is counted as stages report it, see :mod:`rnp_core.progress`. What adapts to the evidence is
expected by its usual course.
"""

from __future__ import annotations

from rnp_core.config import ScanConfig
from rnp_core.inversion import InversionConfig
from rnp_core.progress import FORWARD_WORK, training_work
from rnp_core.stages.margins import SHORTER
from rnp_core.stages.samples import COMPARED_MOST
from rnp_core.stages.sinusoids import FEWEST_CLASSES, SURVEY_WORK
from rnp_core.stages.source_specific import searches, suits_sources
from rnp_core.stages.target_label import COMPARED_AT_LEAST, UNIVERSAL_UP_TO
from rnp_core.stages.triggers import (
    COMPARED_LABELS,
    RESTART_SHARE,
    RESTARTS,
    SCREENED_FROM,
    SOURCES_AGAIN,
    screening,
    second_looks,
    strengthening,
    universal_look,
)

_UNLEARN_STEPS = 25  # until a network has forgotten; 13 to 35
_ACCUSED = 0.4  # chance that a model is accused, as long as nothing is known
_DOUBTFUL = 0.7  # chance that patches do not accuse it, so that further looks follow
_PRUNE_CANDIDATES = 7
_SETTLING = 0.6  # of the search that settles on a few classes, which mostly ends half-way
_SOURCES_AGAIN = 0.3  # chance that patches for a few classes are searched anew
_TARGETED = 0.5  # of the suspects, which get a suspected label
_ATTRIBUTION = (500.0, 150.0)  # of the first map (the library loads), and of each


def expected_work(
    config: ScanConfig,
    *,
    classes: int,
    images: int,
    suspects: int,
    batch_norms: bool,
    share: float = 0.0,
    accused: bool | None = None,
) -> dict[str, float]:
    """Stage to the work that it will take; "report" is what comes after the stages.

    Args:
        classes: of the model.
        images: clean ones.
        suspects: images to triage.
        batch_norms: whether the network has BatchNorm layers.
        share: the largest unlearned share; 0 before unlearning.
        accused: whether there is a backdoor to remove; None while that is open.
    """
    chance = _ACCUSED if accused is None else float(accused)
    held_out = round(config.holdout_share * images)
    fit = images - held_out
    labels = min(classes, config.max_labels)
    recover = config.recover_stage
    shown = (config.attributed_samples if suspects else 0) + chance
    first, each = _ATTRIBUTION
    return {
        "unlearn": _UNLEARN_STEPS
        * training_work(min(fit, config.unlearn_stage.batch_size), batch_norms=batch_norms),
        "recover": recover.steps
        * training_work(min(fit, recover.batch_size), batch_norms=batch_norms, masks=True),
        "margins": _margins(config, classes, labels),
        "triggers": _triggers(config.invert_stage, classes, labels, batch_norms, share),
        "removal": chance * _removal(config, classes, fit, batch_norms),
        "samples": FORWARD_WORK * (suspects + _compared(suspects, chance)),
        "attributions": (first + 2 * each * shown) if suspects or accused else 0.0,
        "report": FORWARD_WORK * (images + (labels + 2) * held_out),
    }


def _compared(suspects: int, chance: float) -> float:
    """Suspects that the unlearned and the repaired model are asked about: without a repaired one
    the other all."""
    few = min(suspects, COMPARED_MOST)
    return chance * (few + max(few, _TARGETED * suspects)) + (1 - chance) * suspects


def _margins(config: ScanConfig, classes: int, labels: int) -> float:
    stage = config.margin_stage
    screened = classes * max(1, stage.steps // SHORTER) if classes > labels else 0
    return screened + labels * stage.starts * stage.steps


def _triggers(
    config: InversionConfig,
    classes: int,
    labels: int,
    batch_norms: bool,
    share: float,
) -> float:
    """Patches for certain, and further looks where these do not accuse a label."""
    work = 0.0
    if labels > SCREENED_FROM:
        work += screening(config).work(labels)
        labels = SCREENED_FROM
    work += config.work(labels)
    further = 0.0
    if batch_norms and share >= RESTART_SHARE:
        further += config.work(RESTARTS)
    if COMPARED_AT_LEAST <= classes <= UNIVERSAL_UP_TO:
        further += universal_look(config).work(1)
    if classes >= FEWEST_CLASSES:
        further += SURVEY_WORK
    for kind, settings in second_looks(config):
        if kind != "patch":
            further += settings.work(min(labels, COMPARED_LABELS))
        elif not batch_norms:
            further += settings.work(labels)
    if suits_sources(classes):
        picking, settling = searches(config)
        further += picking.work(labels) + _SETTLING * settling.work(labels)
        further += _SOURCES_AGAIN * config.work(min(labels, SOURCES_AGAIN))
    return work + _DOUBTFUL * further


def _removal(config: ScanConfig, classes: int, fit: int, batch_norms: bool) -> float:
    """Against one trigger, which one repair removes."""
    work = strengthening(config.invert_stage).work(1)
    work += config.invert_stage.work(min(classes, COMPARED_LABELS))
    work += 2 * _PRUNE_CANDIDATES * fit * FORWARD_WORK
    if config.repair:
        stage = config.repair_stage
        step = stage.work_of_a_step(min(fit, stage.batch_size), batch_norms=batch_norms)
        work += stage.steps * step
    return work
