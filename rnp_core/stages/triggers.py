"""Which triggers to recover for which labels, in the order that spends least."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.inversion import ANY_LABEL, InversionConfig, RecoveredTrigger, flip_rate, invert
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.stages.sampling import with_controls
from rnp_core.stages.sinusoids import FEWEST_CLASSES, SINUSOID, USUAL_LEAD, survey_sinusoids
from rnp_core.stages.source_specific import (
    PROMISING,
    SOURCE_SPECIFIC,
    find_source_specific,
    settle_again,
    suits_sources,
)
from rnp_core.stages.target_label import (
    COMPARED_AT_LEAST,
    UNIVERSAL_UP_TO,
    LabelEvidence,
    ScoreWeights,
    by_suspicion,
    label_sizes,
    typical_size,
    weigh_labels,
    weigh_universal,
)

SCREENED_FROM = 20
"""With more labels than this, a short first round picks those that get a full patch inversion."""

COMPARED_LABELS = 6
"""Labels that get a second look where patches leave doubt: the leaders and a control group that
gives the median."""

RESTART_SHARE = 0.3
"""Unlearned share from which the leading label gets further patch starts."""

SURE_GOAL = 0.97
"""Smoothed flip rate that a trigger of a suspected label is trained on to. A lower goal compares
labels as well and costs less; a trigger to show and to remove shall work on nearly every image."""

SOURCES_AGAIN = 3
"""Labels of the smallest patches for a few classes for which these are searched anew: three in ten
searches take a wrong class for a source, and their patch stands out by little."""

RESTARTS = 3
"""How many; on ABL's WideResNet, 9 of 16 starts ended in a large trigger."""


@dataclass(frozen=True, eq=False)
class TriggerSearch:
    """Recovered triggers.

    Attributes:
        by_kind: kind to triggers, in the order in which they were recovered.
        screened: patches of the short first round, for labels that are not in ``by_kind``. Cut
            short they are larger than need be, so no evidence, only something to look at.
        universal: a patch that leads every image to any other class; None where a single label is
            suspicious enough, or there are too many classes for it to say something.
        sinusoid_leads: ``(K,)``, see :class:`rnp_core.stages.sinusoids.SinusoidSurvey`; None where
            waves were not tried, because a label was suspicious enough or there are few classes.
    """

    by_kind: dict[str, tuple[RecoveredTrigger, ...]]
    screened: tuple[RecoveredTrigger, ...] = ()
    universal: RecoveredTrigger | None = None
    sinusoid_leads: Tensor | None = None


def recover_triggers(
    model: SuspectModel,
    defense_set: DefenseSet,
    unlearned_shares: Tensor,
    *,
    margins: Tensor | None = None,
    used_batch_statistics: bool = True,
    config: InversionConfig = InversionConfig(),
    max_labels: int = 64,
    enough_score: float = 0.8,
    doubtful_score: float = 0.1,
    weights: ScoreWeights = ScoreWeights(),
    on_progress: OnProgress = ignore_progress,
) -> TriggerSearch:
    """Recover triggers: patches for all labels, and a second look only where these leave doubt.

    The second look starts patches again for a label that draws a large unlearned share, since a
    start may be unlucky. Then it looks for a patch that leads to any other class, as in an
    all-to-all attack, and for a label that waves of low frequency lead to as to no other. Then it
    inverts additive and warp triggers, and patches once more, for the leading labels and a control
    group. Last, it looks for patches that move images of a few classes only, and where one stands
    out by too little, once more for the labels of the smallest ones.

    Where waves or an agreement of evidence accuse a label whose trigger is of ordinary size, an
    additive one is looked for too, so that removal works against the right kind.

    Args:
        unlearned_shares: ``(K,)`` from unlearning.
        margins: ``(K,)`` from :func:`rnp_core.stages.margins.margins_of_all`. The two decide which
            labels lead.
        max_labels: with more classes, patches are tried for the leading half and an evenly
            spaced control group. Of more than :data:`SCREENED_FROM` labels, a short round picks as
            many for the full length.
        enough_score: label score at which further kinds add nothing to the verdict.
        doubtful_score: where the unlearned shares carry weight of their own, patches start a second
            time only if some label reaches it.
    """
    leads: Tensor | None = None
    found: dict[str, tuple[RecoveredTrigger, ...]] = {}

    def ranked() -> list[LabelEvidence]:
        return by_suspicion(
            weigh_labels(
                unlearned_shares,
                found,
                margins=margins,
                sinusoid_leads=leads,
                used_batch_statistics=used_batch_statistics,
                weights=weights,
            )
        )

    leaders = [row.label for row in ranked()]
    labels = with_controls(leaders[: max_labels // 2], leaders, max_labels)
    screened: tuple[RecoveredTrigger, ...] = ()
    if len(labels) > SCREENED_FROM:
        short = screening(config)
        screened = invert(  # compared by their sizes alone
            model,
            defense_set,
            labels,
            kind="patch",
            check=False,
            config=short,
            on_progress=on_progress,
        )
        smallest = [t.label for t in sorted(screened, key=lambda t: t.size)]
        first = list(dict.fromkeys([*leaders[:2], *smallest[: SCREENED_FROM // 2]]))
        labels = with_controls(first, smallest, SCREENED_FROM)
        screened = tuple(trigger for trigger in screened if trigger.label not in labels)

    def look(
        kind: str,
        labels: Sequence[int],
        settings: InversionConfig,
        start: Sequence[RecoveredTrigger] = (),
    ) -> None:
        again = invert(
            model,
            defense_set,
            labels,
            kind=kind,
            start=start,
            config=settings,
            on_progress=on_progress,
        )
        found[kind] = found.get(kind, ()) + again

    def compared() -> list[int]:
        first = list(dict.fromkeys([row.label for row in ranked()[:3]] + leaders[:2]))
        return with_controls(first, leaders, COMPARED_LABELS)

    look("patch", labels, config)
    top = ranked()[0]
    if top.score >= enough_score:
        if not top.has_small_trigger:
            look("additive", compared(), dict(second_looks(config))["additive"])
        return TriggerSearch(found, screened)
    reseeded = dataclasses.replace(config, seed=config.seed + 1)
    if used_batch_statistics and float(unlearned_shares[leaders[0]]) >= RESTART_SHARE:
        look("patch", leaders[:1] * RESTARTS, reseeded)
    universal = None
    if COMPARED_AT_LEAST <= len(unlearned_shares) <= UNIVERSAL_UP_TO:
        wide = universal_look(config)
        (universal,) = invert(
            model, defense_set, [ANY_LABEL], kind="patch", config=wide, on_progress=on_progress
        )
        evidence = weigh_universal(universal, found["patch"], weights=weights)
        if evidence and evidence.score >= enough_score:
            return TriggerSearch(found, screened, universal)
    if len(unlearned_shares) >= FEWEST_CLASSES:
        survey = survey_sinusoids(model, defense_set, on_progress=on_progress)
        leads = survey.leads
        if leads.max() > USUAL_LEAD:
            waved = with_controls([int(leads.argmax())], leaders, COMPARED_LABELS)
            look(SINUSOID, waved, config, survey.starts(waved))
    for kind, settings in second_looks(config):
        top = ranked()[0]
        of_unknown_kind = SINUSOID in found or not top.has_small_trigger
        if top.score >= enough_score and not (kind == "additive" and of_unknown_kind):
            break
        if kind == "patch" and used_batch_statistics and top.score < doubtful_score:
            break
        if kind == "patch" and not used_batch_statistics:
            look(kind, labels, settings)  # nothing else tells which labels deserve it
            continue
        look(kind, compared(), settings)
    if suits_sources(len(unlearned_shares)) and ranked()[0].score < enough_score:
        some = find_source_specific(
            model, defense_set, labels, config=config, on_progress=on_progress
        )
        if some:
            found[SOURCE_SPECIFIC] = some
            sizes = label_sizes(some, min_flip_rate=weights.min_flip_rate)
            least = sorted(some, key=lambda trigger: sizes[trigger.label])[:SOURCES_AGAIN]
            stands_out = sizes[least[0].label] < PROMISING * typical_size(some)
            if stands_out and ranked()[0].score < enough_score:
                found[SOURCE_SPECIFIC] += settle_again(
                    model, defense_set, least, config=reseeded, on_progress=on_progress
                )
    return TriggerSearch(found, screened, universal, leads)


def strengthen(
    model: SuspectModel,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    *,
    config: InversionConfig = InversionConfig(),
    on_progress: OnProgress = ignore_progress,
) -> tuple[RecoveredTrigger, ...]:
    """Train recovered triggers on until they flip nearly every image, in half the steps again.

    Returns:
        One for each of ``triggers``, in their order; the old one where the new one flips no more.
    """
    settings = strengthening(config)
    stronger = []
    for old in triggers:
        if old.flip_rate == 1:
            stronger.append(old)
            continue
        (new,) = invert(
            model,
            defense_set,
            [old.label],
            kind=old.kind,
            start=[old],
            sources=[old.sources],
            config=settings,
            on_progress=on_progress,
        )
        before = flip_rate(model, old, defense_set) if old.sources else old.flip_rate
        stronger.append(new if new.flip_rate > before else old)
    return tuple(stronger)


def screening(config: InversionConfig) -> InversionConfig:
    """Settings of the short first round."""
    return dataclasses.replace(
        config, steps=config.steps // 3, batch_size=max(2, config.batch_size // 2)
    )


def universal_look(config: InversionConfig) -> InversionConfig:
    """Settings of the search for a patch that leads to any other class."""
    return dataclasses.replace(config, batch_size=2 * config.batch_size)


def strengthening(config: InversionConfig) -> InversionConfig:
    """Settings of :func:`strengthen`."""
    return dataclasses.replace(
        config, steps=config.steps // 2, batch_size=4 * config.batch_size, goal=SURE_GOAL
    )


def second_looks(config: InversionConfig) -> list[tuple[str, InversionConfig]]:
    """Kind and settings of each further round; the cheapest first."""
    smaller = dataclasses.replace(config, batch_size=max(2, 3 * config.batch_size // 4))
    brief = dataclasses.replace(smaller, steps=2 * config.steps // 3)
    again = dataclasses.replace(config, seed=config.seed + 2)
    return [
        ("additive", brief),
        ("warp", smaller),
        ("patch", again),
    ]
