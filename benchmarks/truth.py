"""What is true about a subject: test images, triggered copies of them, and where a patch lies.

Nothing here reaches a defence, except an :data:`~benchmarks.baselines.contract.Oracle` for methods
whose published code looks at the attacker's trigger.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.baselines.contract import Measured
from benchmarks.subjects import NO_ATTACK, BenchmarkSubject
from rnp_core.data import DefenseSet
from rnp_core.images import read_defense_set
from rnp_core.inversion import RecoveredTrigger
from rnp_core.metrics import clean_accuracy, predict
from rnp_core.model import SuspectModel

PATCH_SHARE = 0.25
"""A trigger that changes at most this share of the pixels counts as a patch."""

_CHANGED = 0.5 / 255  # a pixel value that moves less is the same


@dataclass(frozen=True, eq=False)
class TriggeredImages:
    """One trigger on all test images that it is meant for.

    Attributes:
        target: the label that it leads to; None where that depends on the image (all-to-all).
        indices: ``(N,)`` the test images, those of source classes with another label than wanted.
        images: ``(N, C, H, W)`` in [0, 1], triggered.
        wanted: ``(N,)`` the label that the attacker wants for each.
    """

    target: int | None
    indices: Tensor
    images: Tensor
    wanted: Tensor


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Clean test images and their triggered copies, one entry for each target."""

    clean: DefenseSet
    triggered: tuple[TriggeredImages, ...]

    def measure(self, model: SuspectModel, *, max_images: int) -> Measured:
        """Accuracy on the first ``max_images`` clean images, and how often the wanted label comes
        out for as many triggered ones; triggers of several targets share them."""
        clean = self.clean.subset(torch.arange(min(max_images, len(self.clean))))
        accuracy = clean_accuracy(model, clean)
        if not self.triggered:
            return Measured(accuracy, None)
        each = max(1, max_images // len(self.triggered))
        hits = [predict(model, part.images[:each]) == part.wanted[:each] for part in self.triggered]
        return Measured(accuracy, float(torch.cat(hits).float().mean()))

    def sizes(self, max_images: int) -> tuple[int, int]:
        """How many clean and triggered images :meth:`measure` takes."""
        each = max(1, max_images // max(1, len(self.triggered)))
        triggered = sum(min(each, len(part.images)) for part in self.triggered)
        return min(max_images, len(self.clean)), triggered


def read_truth(
    subject: BenchmarkSubject, model: SuspectModel, *, max_images: int, seed: int
) -> GroundTruth:
    """Read at most ``max_images`` test images, balanced by class, in an order drawn from ``seed``.

    Raises:
        DataError: when the test images cannot be used.
    """
    channels, size = model.input_shape[0], model.input_shape[-1]
    test = read_defense_set(
        subject.test,
        channels=channels,
        size=size,
        num_classes=model.num_classes,
        max_images=max_images,
        seed=seed,
    ).images
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    test = test.subset(order)
    if subject.attack == NO_ATTACK:
        return GroundTruth(test, ())
    targets: tuple[int | None, ...] = subject.targets or (None,)
    parts = tuple(_triggered(subject, test, target) for target in targets)
    return GroundTruth(test, tuple(part for part in parts if len(part.images)))


@torch.no_grad()
def _triggered(subject: BenchmarkSubject, test: DefenseSet, target: int | None) -> TriggeredImages:
    wanted = subject.wanted_label(test.labels, target)
    meant = wanted != test.labels
    if subject.sources:
        meant &= torch.isin(test.labels, torch.tensor(list(subject.sources)))
    indices = torch.nonzero(meant).flatten()
    images = subject.trigger(test.images[indices], target=target)
    return TriggeredImages(target, indices, images.clamp(0, 1).float(), wanted[indices])


def patch_mask(truth: GroundTruth, part: TriggeredImages, *, count: int = 64) -> Tensor | None:
    """Where the true trigger changes pixels, ``(1, H, W)`` of 0 and 1; None when it is no patch.

    A pixel belongs to the patch when it changes in at least a tenth of the images.
    """
    clean = truth.clean.images[part.indices[:count]]
    change = (part.images[:count] - clean).abs().amax(dim=1, keepdim=True) > _CHANGED
    mask = change.float().mean(dim=0) >= 0.1
    return mask.float() if 0 < float(mask.float().mean()) <= PATCH_SHARE else None


def mask_overlap(recovered: RecoveredTrigger, true_mask: Tensor) -> float:
    """Intersection over union of a soft mask and the true one, [0, 1]; 1 where they are equal.

    Sum of the pixelwise minimum over the sum of the maximum (Ruzicka similarity), which is the
    usual intersection over union for masks of 0 and 1 and needs no cut for soft ones.
    """
    mask = recovered.trigger_mask
    return float(torch.minimum(mask, true_mask).sum() / torch.maximum(mask, true_mask).sum())
