"""Patches that work on images of a few classes only, and whose classes nobody knows.

A source-specific backdoor (TaCT, Tang et al., USENIX Security 2021) sends images of its source
classes to the target and leaves triggered images of all others alone, so that the patch that moves
every image is as large as for an innocent label. Trying every set of sources would take too long.
Here a picking search counts only the quarter of the images that its patch moves most easily, which
picks the sources as the patch shrinks; a settling one starts anew on the classes that were picked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from rnp_core.data import DefenseSet
from rnp_core.fold import fold_batch_norms
from rnp_core.inversion import InversionConfig, RecoveredTrigger, invert
from rnp_core.inversion.kinds import SourceSpecificKind
from rnp_core.metrics import predict, predict_probabilities
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, ignore_progress

SOURCE_SPECIFIC = SourceSpecificKind.name

SOURCES = 3
"""Classes of the settling search. Of two, a pair that looks alike is as easily moved on an innocent
network; the sizes for one class or two span three orders of magnitude."""

FEWEST_CLASSES, MOST_CLASSES = 8, 16
"""With fewer that the network knows, the sources are most of the other classes, which an ordinary
patch covers; with more they are fewer than the share of images that the picking one moves."""

PROMISING = 0.6
"""Of the median size, what the smallest patch must be below half-way through the settling search,
which ends there otherwise. On 13 backdoored models that the search accuses it was at 0.18 to 0.45
then, on 21 clean ones at 0.47 to 0.87, on 16 of these above 0.6."""

_SHARE, _GOAL = 0.25, 0.2
_LEAST_IMAGES = 2  # of a class that the network gets right


def find_source_specific(
    model: SuspectModel,
    defense_set: DefenseSet,
    labels: Sequence[int],
    *,
    config: InversionConfig = InversionConfig(),
    on_progress: OnProgress = ignore_progress,
) -> tuple[RecoveredTrigger, ...]:
    """For each label the smallest patch that sends images of :data:`SOURCES` classes to it.

    Only images that the network gets right take part: those that it takes for the label anyway
    would need no patch.

    Args:
        labels: to compare with each other.
        config: of a full inversion; the picking search takes two thirds of its steps, on 1.5 times
            the images.

    Returns:
        One for each of ``labels``, in their order; none where the network gets images of too few
        classes right.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    network = fold_batch_norms(model, defense_set.images[:2])
    known = _known(network, defense_set)
    if len(_usable(known)) < FEWEST_CLASSES:
        return ()
    picking, settling = searches(config)
    picked = invert(
        network,
        known,
        labels,
        kind=SOURCE_SPECIFIC,
        check=False,
        config=picking,
        on_progress=on_progress,
    )
    return _settle(network, known, picked, settling, on_progress)


def settle_again(
    model: SuspectModel,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    *,
    config: InversionConfig = InversionConfig(),
    on_progress: OnProgress = ignore_progress,
) -> tuple[RecoveredTrigger, ...]:
    """New patches for the labels of settled ones, on the classes that these move most surely.

    A patch that settled on two sources and a wrong class moves the third source too, so that the
    picks get better from one search to the next.

    Args:
        triggers: from :func:`find_source_specific` on the same images.
        config: of a full inversion.

    Returns:
        One for each of ``triggers``, in their order.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    network = fold_batch_norms(model, defense_set.images[:2])
    return _settle(network, _known(network, defense_set), triggers, config, on_progress)


def suits_sources(classes: int) -> bool:
    """Whether the search says something about a network of so many classes."""
    return FEWEST_CLASSES <= classes <= MOST_CLASSES


def searches(config: InversionConfig) -> tuple[InversionConfig, InversionConfig]:
    """Settings of the search that picks the sources, and of the one that settles on them."""
    picking = dataclasses.replace(
        config,
        steps=2 * config.steps // 3,
        batch_size=3 * config.batch_size // 2,
        share=_SHARE,
        goal=_GOAL,
    )
    return picking, dataclasses.replace(config, promising=PROMISING)


def _known(network: SuspectModel, defense_set: DefenseSet) -> DefenseSet:
    """The images that the network gets right."""
    right = predict(network, defense_set.images) == defense_set.labels
    return defense_set.subset(torch.nonzero(right).flatten())


def _usable(known: DefenseSet) -> list[int]:
    """Classes of which there are images enough to be a source."""
    return torch.nonzero(torch.bincount(known.labels) >= _LEAST_IMAGES).flatten().tolist()


def _settle(
    network: SuspectModel,
    known: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    config: InversionConfig,
    on_progress: OnProgress,
) -> tuple[RecoveredTrigger, ...]:
    """Patches for the labels of ``triggers``, each on the classes that its trigger moves most."""
    return invert(
        network,
        known,
        [trigger.label for trigger in triggers],
        kind=SOURCE_SPECIFIC,
        sources=[_most_moved(network, known, trigger) for trigger in triggers],
        config=config,
        on_progress=on_progress,
    )


def _most_moved(
    network: SuspectModel, known: DefenseSet, trigger: RecoveredTrigger
) -> tuple[int, ...]:
    """The classes whose images ``trigger`` sends to its label most surely, in growing order."""
    sure = predict_probabilities(network, trigger.apply(known.images))[:, trigger.label]
    means = {
        source: float(sure[known.labels == source].mean())
        for source in _usable(known)
        if source != trigger.label
    }
    most = sorted(means, key=lambda source: -means[source])[:SOURCES]
    return tuple(sorted(most))
