"""Suspected target labels: what every stage says about each label, joined into one score.

Four kinds of evidence are joined. Unlearning sends clean images to the target label (RNP, section
4.4), the trigger that leads to the target is much smaller than those that lead to other labels
(Neural Cleanse), no other label can be made as sure (MM-BD), and no other is reached as surely by a
faint wave (for SIG). The first three alone fire on some clean models; together they seldom do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rnp_core.inversion import RecoveredTrigger
from rnp_core.metrics import anomaly_index
from rnp_core.ranges import check_range
from rnp_core.stages.sinusoids import SINUSOID, USUAL_LEAD
from rnp_core.stages.source_specific import SOURCE_SPECIFIC

SIZE_SPREAD = 0.28
"""Standard deviation of the log of trigger sizes between innocent labels of one model, unless this
model's own are further apart, see :func:`tail_spread`."""

MARGIN_SPREAD = 0.20
"""The same of the largest margins."""

_SPREAD_FROM = 8
"""Labels from which a model's own spread is looked at."""

_TARGETS = 2
"""Most suspicious labels that may be targets, and say nothing about the spread of innocent ones."""

_QUARTILE = 0.6745  # of a standard normal distribution

COMPARED_AT_LEAST = 3
"""Labels of a kind below which no size is typical: of two, either is far from the median."""

UNIVERSAL_UP_TO = 20
"""Classes up to which a small trigger to any other one is unusual. The more there are, the closer
is the next one: on clean models of 43 classes it is 0.34 to 0.7 of the median to a single label, as
on all-to-all ones."""

_AGREEMENT_UP_TO = 20
"""Classes above which an agreement counts no more: labels are less independent than chance."""

AGREEING_LEAD = 0.5
"""Lead with waves from which it counts that the label of the largest share has it: so it was on
none of 20 clean networks with such a lead, and on eight of 20 backdoored ones."""

_CHOSEN_SOURCES = 0.65
"""Standard deviations of the log of sizes. On 41 clean networks of 10 to 12 classes the smallest
patch was at 0.59 of the median (90 %: above 0.49) with chosen sources, at 0.68 (0.58) with all."""

_LEAST_FLIP_RATE = 0.05
_LEAST_MARGIN = 1e-3  # a label that cannot be reached at all
_STEEPNESS = 4


@dataclass(frozen=True)
class ScoreWeights:
    """Logistic model of a label's score; ``docs/results.md`` says on which models it was chosen.

    Raises:
        ConfigError: when a value is outside its range.
    """

    bias: float = -2.2
    outlier: float = 5.0  # per unit of size_outlier
    share: float = 4.0  # per unit of unlearned_share above the even share
    share_without_norm: float = 1.0  # the same for networks without BatchNorm
    margin: float = 2.0  # per unit of margin_outlier above 0
    sinusoid: float = 3.0  # per unit of sinusoid_lead above the usual one
    agreement: float = 1.0  # per unit of LabelEvidence.agreement
    universal_bias: float = -3.5  # of a trigger to any other class
    universal: float = 5.0  # per unit of -ln of its norm_ratio, see weigh_universal
    min_flip_rate: float = 0.5  # a trigger that flips less counts as larger than it is

    def __post_init__(self) -> None:
        check_range(self, "min_flip_rate", 0, 1)
        check_range(self, "bias", -100, 100)
        check_range(self, "universal_bias", -100, 100)
        for name in (
            "outlier", "share", "share_without_norm", "margin", "sinusoid", "agreement",
            "universal",
        ):  # fmt: skip
            check_range(self, name, 0, 100)


@dataclass(frozen=True)
class LabelEvidence:
    """What the stages say about one label.

    Attributes:
        label: class index.
        unlearned_share: share of clean images that the unlearned model predicts as it; [0, 1].
        trigger_norm: size of its patch trigger in pixels, NaN when it was not inverted.
        norm_ratio: smallest, over the kinds of trigger, of its effective size / median size of the
            labels, see :func:`effective_size`; one for a few sources counts as larger than it is.
        anomaly_index: of the effective patch size, positive when below the median; Neural Cleanse
            flags values above 2.
        kind: the kind of trigger that gave ``norm_ratio``, empty when none was inverted.
        size_outlier: ``-ln(norm_ratio)`` less what the smallest of K innocent labels reaches by
            chance, given as many starts each as this one had, and as many sources to choose from;
            above 0 is unusual.
        margin_ratio: its largest margin / the median of the labels; NaN where margins were not
            looked for, or for too few labels.
        margin_outlier: ``ln(margin_ratio)`` less what the largest of K innocent labels reaches by
            chance; above 0 is unusual.
        sinusoid_lead: by how much waves of low frequency reach it more surely than any other label,
            see :attr:`rnp_core.stages.sinusoids.SinusoidSurvey.leads`; NaN where none were tried.
        agreement: ln(K / 2), K being 20 at most, for each further kind of evidence that points at
            the label of the largest unlearned share; 0 for all others, and without BatchNorm.
        score: chance that the label is a target, by the logistic model; [0, 1].
        sources: classes that its trigger is for; empty for all others.
    """

    label: int
    unlearned_share: float
    trigger_norm: float
    norm_ratio: float
    anomaly_index: float
    kind: str
    size_outlier: float
    margin_ratio: float
    margin_outlier: float
    sinusoid_lead: float
    agreement: float
    score: float
    sources: tuple[int, ...] = ()

    @property
    def has_small_trigger(self) -> bool:
        """Whether its trigger is smaller than by chance. A label that is accused without one has a
        backdoor whose trigger may be of a kind other than ``kind``."""
        return self.size_outlier > 0


@dataclass(frozen=True)
class UniversalEvidence:
    """What a trigger to any other class says.

    Attributes:
        norm_ratio: its effective size / that of the smallest trigger to one label, which leads
            images of all other classes to another class too, so that a patch far below it has no
            one label to lead to.
        score: chance that the model has a backdoor whose target depends on the image; [0, 1].
    """

    norm_ratio: float
    score: float


def weigh_universal(
    trigger: RecoveredTrigger,
    triggers: Sequence[RecoveredTrigger],
    *,
    weights: ScoreWeights = ScoreWeights(),
) -> UniversalEvidence | None:
    """Compare a trigger to any other class with the smallest to a single label, all of one kind.

    Returns:
        None with triggers for fewer than :data:`COMPARED_AT_LEAST` labels, the smallest of which
        says little.
    """
    sizes = label_sizes(triggers, min_flip_rate=weights.min_flip_rate)
    if len(sizes) < COMPARED_AT_LEAST:
        return None
    ratio = effective_size(trigger, min_flip_rate=weights.min_flip_rate) / min(sizes.values())
    logit = weights.universal_bias - weights.universal * math.log(ratio)
    return UniversalEvidence(ratio, 1 / (1 + math.exp(-logit)))


def weigh_labels(
    unlearned_shares: Tensor,
    triggers: Mapping[str, Sequence[RecoveredTrigger]],
    *,
    margins: Tensor | None = None,
    sinusoid_leads: Tensor | None = None,
    used_batch_statistics: bool = True,
    weights: ScoreWeights = ScoreWeights(),
) -> tuple[LabelEvidence, ...]:
    """Join the evidence for every label, in label order.

    A label on which shares, sizes, margins and waves agree scores higher than by each alone
    (:attr:`LabelEvidence.agreement`).

    Args:
        margins: ``(K,)`` from :func:`rnp_core.stages.margins.margins_of_all`.
        sinusoid_leads: ``(K,)`` from :func:`rnp_core.stages.sinusoids.survey_sinusoids`.
        unlearned_shares: ``(K,)`` from :func:`rnp_core.stages.unlearn.unlearn`.
        triggers: kind to recovered triggers; a kind may cover only some labels. One that covers
            fewer than :data:`COMPARED_AT_LEAST` has no typical size and accuses nobody. Of several
            triggers for a label, the smallest counts.
        used_batch_statistics: of the unlearning; without, the shares weigh less.
    """
    count = len(unlearned_shares)
    ratios: dict[str, np.ndarray] = {}
    spreads: dict[str, float] = {}
    norms, effective = np.full(count, np.nan), np.full(count, np.nan)
    for kind, found in triggers.items():
        sizes = label_sizes(found, min_flip_rate=weights.min_flip_rate)
        median = typical_size(found) if len(sizes) >= COMPARED_AT_LEAST else math.nan
        ratios[kind] = np.full(count, np.nan)
        for label, size in sizes.items():
            ratios[kind][label] = size / median
            if kind == "patch":
                best = best_trigger(found, label, min_flip_rate=weights.min_flip_rate)
                norms[label], effective[label] = best.size, size
        spreads[kind] = tail_spread(-np.log(ratios[kind]), SIZE_SPREAD)
    anomalies = anomaly_index(effective) if np.isfinite(effective).any() else effective
    sureness = np.full(count, np.nan) if margins is None else margin_ratios(margins)
    excess = np.log(sureness)
    excess -= tail_spread(excess, MARGIN_SPREAD) * largest_normal(count)
    leads = [math.nan] * count if sinusoid_leads is None else sinusoid_leads.tolist()
    agreed = (
        _agreement(unlearned_shares, triggers.get("patch", ()), excess, leads, weights)
        if used_batch_statistics
        else {}
    )

    evidence = []
    for label in range(count):
        own = {
            kind: -math.log(found[label]) - freedom(kind) * spreads[kind]
            for kind, found in ratios.items()
            if np.isfinite(found[label])
        }
        kind = max(own, key=lambda kind: own[kind]) if own else ""
        starts = [trigger for trigger in triggers.get(kind, ()) if trigger.label == label]
        chance = spreads.get(kind, SIZE_SPREAD) * largest_normal(count * max(1, len(starts)))
        outlier = own.get(kind, 0.0) - chance
        share = float(unlearned_shares[label])
        row = LabelEvidence(
            label=label,
            unlearned_share=share,
            trigger_norm=float(norms[label]),
            norm_ratio=float(ratios[kind][label]) if own else math.nan,
            anomaly_index=float(anomalies[label]),
            kind=kind,
            size_outlier=float(outlier),
            margin_ratio=float(sureness[label]),
            margin_outlier=float(excess[label]),
            sinusoid_lead=leads[label],
            agreement=agreed.get(label, 0.0),
            score=math.nan,
            sources=best_trigger(starts, label, min_flip_rate=weights.min_flip_rate).sources
            if starts
            else (),
        )
        score = label_score(
            row, count, used_batch_statistics=used_batch_statistics, weights=weights
        )
        evidence.append(dataclasses.replace(row, score=score))
    return tuple(evidence)


def label_score(
    row: LabelEvidence, count: int, *, used_batch_statistics: bool, weights: ScoreWeights
) -> float:
    """Score in [0, 1] of one of ``count`` labels, whatever ``row.score`` says."""
    share_weight = weights.share if used_batch_statistics else weights.share_without_norm
    logit = weights.bias + weights.outlier * row.size_outlier
    logit += share_weight * (row.unlearned_share - 1 / count)
    if math.isfinite(row.margin_outlier):  # an ordinary margin takes nothing back
        logit += weights.margin * max(0.0, row.margin_outlier)
    if math.isfinite(row.sinusoid_lead):
        logit += weights.sinusoid * max(0.0, row.sinusoid_lead - USUAL_LEAD)
    logit += weights.agreement * row.agreement
    return 1 / (1 + math.exp(-logit))


def accusing_kind(row: LabelEvidence, triggers: Mapping[str, Sequence[RecoveredTrigger]]) -> str:
    """The kind of trigger that speaks loudest for a label: a sinusoid where waves lead to it as to
    no other, else ``row.kind``.

    Args:
        triggers: kind to recovered triggers.
    """
    waved = any(trigger.label == row.label for trigger in triggers.get(SINUSOID, ()))
    return SINUSOID if waved and row.sinusoid_lead > USUAL_LEAD else row.kind


def freedom(kind: str) -> float:
    """By how many standard deviations more the smallest of the innocent labels stands out, where
    for each of them the sources that are moved most easily were chosen, too."""
    return _CHOSEN_SOURCES if kind == SOURCE_SPECIFIC else 0.0


def largest_normal(count: int) -> float:
    """About the largest of ``count`` draws from a standard normal distribution."""
    return math.sqrt(2 * math.log(count))


def _agreement(
    unlearned_shares: Tensor,
    patches: Sequence[RecoveredTrigger],
    excess: np.ndarray,
    leads: Sequence[float],
    weights: ScoreWeights,
) -> dict[int, float]:
    """What it says that the label with the largest unlearned share has the smallest patch, a
    margin larger than any by chance, or leads with waves, more with each of them.

    On innocent models a second kind points at the same label in about one of K. Sizes and margins
    that agree with each other but not with the shares say little: classes of a data set have both
    in common. Only the first patch of each label counts, since the label of the largest share gets
    more.
    """
    count = len(unlearned_shares)
    first: dict[int, float] = {}
    for patch in patches:
        first.setdefault(patch.label, effective_size(patch, min_flip_rate=weights.min_flip_rate))
    label = int(unlearned_shares.argmax())
    compared = len(first) >= COMPARED_AT_LEAST
    smallest = compared and label == min(first, key=lambda label: first[label])
    surest = stands_out(label, excess, 0)
    waved = stands_out(label, leads, AGREEING_LEAD)
    kinds = int(smallest) + int(surest) + int(waved)
    return {label: kinds * one_agreement(count)}


def stands_out(label: int, values: Sequence[float] | np.ndarray, least: float) -> bool:
    """Whether a label has the largest of ``values`` ``(K,)``, NaN left out, and it is above
    ``least``."""
    return bool(values[label] > least and values[label] == np.nanmax(values))


def one_agreement(count: int) -> float:
    """What each further kind adds to :attr:`LabelEvidence.agreement`, of ``count`` labels."""
    return math.log(min(count, _AGREEMENT_UP_TO) / 2)


def tail_spread(outliers: np.ndarray, least: float) -> float:
    """Standard deviation that the suspicious side of a model's own labels has, ``least`` at least.

    It is taken from the quartile on that side of all labels but the two furthest out. A network
    that was trained badly needs small triggers and gives large margins for many labels, of which
    one is far out without being a target. What lies on the other side makes nobody suspicious.

    Args:
        outliers: ``(K,)`` logarithms, larger is more suspicious; NaN where nothing was measured.
    """
    known = np.sort(outliers[np.isfinite(outliers)])
    if len(known) < _SPREAD_FROM:
        return least
    reach = np.quantile(known[:-_TARGETS], 0.75) - np.median(known)
    return max(least, float(reach) / _QUARTILE)


def margin_ratios(margins: Tensor) -> np.ndarray:
    """Margins ``(K,)`` over their median; NaN where there is none, and everywhere for fewer than
    :data:`COMPARED_AT_LEAST` of them or where half of the labels cannot be reached at all."""
    values = margins.double().numpy()
    found = values[np.isfinite(values)]
    if len(found) < COMPARED_AT_LEAST or np.median(found) <= _LEAST_MARGIN:
        return np.full(len(values), np.nan)
    return np.maximum(values, _LEAST_MARGIN) / np.median(found)


def typical_size(triggers: Sequence[RecoveredTrigger]) -> float:
    """Median size over the labels, in the unit of the kind; further starts of a label do not count.

    Args:
        triggers: of one kind, at least one.
    """
    first: dict[int, float] = {}
    for trigger in triggers:
        first.setdefault(trigger.label, trigger.size)
    return float(np.median(list(first.values())))


def best_trigger(
    triggers: Sequence[RecoveredTrigger], label: int, *, min_flip_rate: float
) -> RecoveredTrigger:
    """Of the triggers for ``label``, the one of the smallest effective size.

    Args:
        triggers: of one kind, at least one of them for ``label``.
        min_flip_rate: see :func:`effective_size`.
    """
    own = [trigger for trigger in triggers if trigger.label == label]
    return min(own, key=lambda trigger: effective_size(trigger, min_flip_rate=min_flip_rate))


def label_sizes(
    triggers: Sequence[RecoveredTrigger], *, min_flip_rate: float
) -> dict[int, float]:
    """Label to the effective size of its best trigger; all ``triggers`` are of one kind."""
    sizes: dict[int, float] = {}
    for trigger in triggers:
        size = effective_size(trigger, min_flip_rate=min_flip_rate)
        sizes[trigger.label] = min(size, sizes.get(trigger.label, size))
    return sizes


def effective_size(trigger: RecoveredTrigger, *, min_flip_rate: float) -> float:
    """The size of a trigger, in the unit of its kind, raised where it flips too few images.

    A trigger that flips a little less than ``min_flip_rate`` counts almost as it is; one that flips
    half of that counts 16 times as large, so that a trigger which is small because it does nothing
    accuses nobody.
    """
    shortfall = min_flip_rate / max(trigger.flip_rate, _LEAST_FLIP_RATE)
    return trigger.size * max(1.0, shortfall) ** _STEEPNESS


def by_suspicion(evidence: Sequence[LabelEvidence]) -> list[LabelEvidence]:
    """The highest score first; of equal ones the lower label."""
    return sorted(evidence, key=lambda row: (-row.score, row.label))


def suspected_target_labels(
    evidence: Sequence[LabelEvidence], *, min_score: float = 0.5, further_score: float = 0.8
) -> tuple[int, ...]:
    """Suspected labels, most suspicious first; empty when there are none.

    Args:
        min_score: that the first one needs.
        further_score: that each other one needs. Most backdoors have one target, and labels that
            resemble it score higher than those of a clean model.
    """
    return tuple(
        row.label
        for place, row in enumerate(by_suspicion(evidence))
        if row.score >= (min_score if place == 0 else max(min_score, further_score))
    )
