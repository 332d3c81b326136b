"""What a scan computes on: the model made fast, the clean images parted, its settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnp_core.acceleration import accelerate
from rnp_core.assembly import as_suspect_model, check_labels, check_shape
from rnp_core.config import ScanConfig
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import DataError
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel
from rnp_core.parts import LEAST_BATCH, fitting_batch

_COMPARED = 64  # clean images on which a faster form of the network must give the same answers


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """What all stages of a scan share.

    Attributes:
        model: as the scan computes it; no stage changes it.
        clean: all clean images.
        fit, held_out: the part of them that stages work with, and the part that measures.
        suspects: images to triage.
        config: with smaller batches where the images are large.
        clean_accuracy: of the model on all clean images; [0, 1].
        warning: a sentence when labels and model do not agree.
    """

    model: SuspectModel
    clean: DefenseSet
    fit: DefenseSet
    held_out: DefenseSet
    suspects: SuspectSet | None
    config: ScanConfig
    clean_accuracy: float
    warning: str | None

    @property
    def class_names(self) -> list[str]:
        """The name of every class, or its index as text."""
        return [self.model.class_name(label) for label in range(self.model.num_classes)]


def prepare(
    model: nn.Module,
    defense_set: DefenseSet,
    suspects: SuspectSet | None,
    config: ScanConfig,
) -> ScanInputs:
    """Check a model and images against each other, and make them ready for the stages.

    Raises:
        DataError: when the images do not suit the model.
        ModelError: when the model cannot run on them.
    """
    suspect = as_suspect_model(model, defense_set, class_names=defense_set.class_names)
    if suspects is not None:
        check_shape(suspect, suspects.images, "suspect")
    suspect = accelerate_for_scan(suspect, defense_set, config)
    predicted = predict(suspect, defense_set.images)
    warning = check_labels(suspect, defense_set, predicted)
    config = with_fitting_batches(config, suspect)
    fit, held_out = split(defense_set, config.holdout_share, config.seed)
    return ScanInputs(
        model=suspect,
        clean=defense_set,
        fit=fit,
        held_out=held_out,
        suspects=suspects,
        config=config,
        clean_accuracy=float((predicted == defense_set.labels).float().mean()),
        warning=warning,
    )


def split(defense_set: DefenseSet, share: float, seed: int) -> tuple[DefenseSet, DefenseSet]:
    """Part the clean images into a fitting part and a held-out part of about ``share``, by class.

    Fractions of an image carry over to the next class, so that sets with one image a class are
    parted too.

    Raises:
        DataError: when one part would be empty.
    """
    generator = torch.Generator().manual_seed(seed)
    held: list[Tensor] = []
    fit: list[Tensor] = []
    due = 0.0
    for label in defense_set.labels.unique().tolist():
        members = torch.nonzero(defense_set.labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        due += share * len(members)
        count = min(round(due), len(members))
        due -= count
        held.append(members[:count])
        fit.append(members[count:])
    parts = [torch.cat(part).sort().values for part in (fit, held)]
    if any(len(part) == 0 for part in parts):
        raise DataError(f"expected more clean images to hold some out, got {len(defense_set)}")
    return defense_set.subset(parts[0]), defense_set.subset(parts[1])


def accelerate_for_scan(
    model: SuspectModel, defense_set: DefenseSet, config: ScanConfig
) -> SuspectModel:
    """The model as a scan computes it; compared on images of all classes, which files list one
    after the other."""
    compared = min(fitting_batch(model, _COMPARED), len(defense_set))
    return accelerate(
        model,
        defense_set.images[torch.linspace(0, len(defense_set) - 1, compared).long()],
        mixed_precision=None if config.precision == "auto" else False,
    )


def with_fitting_batches(config: ScanConfig, model: SuspectModel) -> ScanConfig:
    """Smaller batches for unlearning and recovery where the images are large; whatever the memory,
    as they are part of the method."""

    def fitting(usual: int) -> int:
        return min(usual, max(LEAST_BATCH, fitting_batch(model, usual)))

    unlearning, recovering = config.unlearn_stage, config.recover_stage
    return dataclasses.replace(
        config,
        unlearn_stage=dataclasses.replace(unlearning, batch_size=fitting(unlearning.batch_size)),
        recover_stage=dataclasses.replace(recovering, batch_size=fitting(recovering.batch_size)),
    )
