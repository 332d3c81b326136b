"""Unlearning: maximise the error on clean images until the model forgets them (RNP, equation 3).

What is left of a backdoored model is its backdoor: the clean images drift to the target label,
early and together. The whole trajectory of class shares is kept as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.data import DefenseSet
from rnp_core.errors import ModelError
from rnp_core.model import SuspectModel
from rnp_core.parts import retried_batches
from rnp_core.progress import OnProgress, Progress, ignore_progress, training_work
from rnp_core.ranges import check_range
from rnp_core.stages.sampling import augment, epoch_batches

_SETTLED_ON = 128  # images in a batch that gives statistics; fewer where memory runs out
_ABOVE_EVEN = 0.05  # accuracy above 1 / K that counts as forgotten where 1 / K is large


@dataclass(frozen=True)
class UnlearnConfig:
    """Settings of :func:`unlearn`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    stop_accuracy: float = 0.20  # stop when the smoothed batch accuracy falls to this (official)
    max_steps: int = 120  # gradient steps; the official code allows 21 epochs
    batch_size: int = 128  # images (official)
    relative_step: float = 0.004  # length of one step / norm of all parameters
    momentum: float = 0.9  # of the direction (official SGD momentum)
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "stop_accuracy", 0, 1)
        check_range(self, "momentum", 0, 0.999)
        check_range(self, "relative_step", 1e-9, 1)
        check_range(self, "max_steps", 0)
        check_range(self, "batch_size", 2)


@dataclass(frozen=True, eq=False)
class UnlearnResult:
    """The unlearned model and how it got there.

    Attributes:
        model: the unlearned model.
        shares: ``(steps + 1, K)`` share of the batch predicted as each class, before each step and
            after the last, with batch statistics; rows sum to 1.
        accuracy: ``(steps + 1,)`` accuracy on the same batches.
        distance: ``(steps + 1,)`` path length so far, relative to the norm of the parameters.
        unlearned_shares: ``(K,)`` shares over the whole defence set after the last step, with
            batch statistics.
        collapsed: whether ``stop_accuracy`` was reached; with fewer than seven classes, whether
            the accuracy came close to that of a model that gives one class only.
        used_batch_statistics: whether the network has BatchNorm layers. Without them the shares
            name a natural class as often as the target.
    """

    model: SuspectModel
    shares: Tensor
    accuracy: Tensor
    distance: Tensor
    unlearned_shares: Tensor
    collapsed: bool
    used_batch_statistics: bool


def unlearn(
    model: SuspectModel,
    defense_set: DefenseSet,
    *,
    config: UnlearnConfig = UnlearnConfig(),
    on_progress: OnProgress = ignore_progress,
) -> UnlearnResult:
    """Gradient ascent of the cross-entropy over all parameters.

    Batch statistics are used in BatchNorm layers, as in the official code: with frozen statistics
    a backdoored model collapses to a natural class and names the wrong label. Dropout stays off.

    Differs from the official code: the step has a fixed length relative to the norm of the
    parameters, so that the same setting suits every network, and the loop stops inside an epoch.

    Raises:
        ModelError: when the network stops giving numbers.
        ScanCancelled: when the callback raises it.
    """
    generator = torch.Generator().manual_seed(config.seed)
    unlearned = model.copy()
    batch_norms = use_batch_statistics(unlearned)
    parameters = [p for p in unlearned.network.parameters() if p.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    images, targets = defense_set.images.to(model.device), defense_set.labels.to(model.device)
    norm = torch.sqrt(sum((p.detach().square().sum() for p in parameters), torch.zeros(())))
    velocity = [torch.zeros_like(p) for p in parameters]
    shares, accuracy, distance = [], [], [0.0]
    smoothed = 1.0
    collapsed = False
    stop_accuracy = max(config.stop_accuracy, 1 / model.num_classes + _ABOVE_EVEN)
    batches = epoch_batches(len(defense_set), config.batch_size, generator)
    for step in range(config.max_steps + 1):
        indices = next(batches)
        labels = targets[indices]
        logits = unlearned(augment(images[indices], generator))
        if logits.isnan().any():
            raise ModelError("the answers of the network are no numbers any more")
        predicted = logits.detach().argmax(1)
        counts = torch.bincount(predicted, minlength=model.num_classes)
        shares.append(counts.cpu() / len(indices))
        accuracy.append(float((predicted == labels).float().mean()))
        smoothed = accuracy[-1] if step == 0 else 0.5 * smoothed + 0.5 * accuracy[-1]
        on_progress(
            Progress(
                "unlearn",
                step,
                config.max_steps,
                f"accuracy {accuracy[-1]:.2f}",
                {
                    "accuracy": accuracy[-1],
                    "stop_accuracy": stop_accuracy,
                    "shares": shares[-1].tolist(),
                },
                training_work(len(indices), batch_norms=batch_norms),
            )
        )
        collapsed = smoothed <= stop_accuracy
        if collapsed or step == config.max_steps:
            break
        gradients = torch.autograd.grad(
            F.cross_entropy(logits, labels), parameters, allow_unused=True
        )
        distance.append(distance[-1] + config.relative_step)
        _ascend(
            parameters, velocity, gradients, config.relative_step * float(norm), config.momentum
        )
    for parameter in parameters:
        parameter.requires_grad_(False)
    return UnlearnResult(
        model=unlearned,
        shares=torch.stack(shares),
        accuracy=torch.tensor(accuracy),
        distance=torch.tensor(distance),
        unlearned_shares=class_shares(unlearned, images, defense_set.labels, config.batch_size),
        collapsed=collapsed,
        used_batch_statistics=use_batch_statistics(unlearned),
    )


def use_batch_statistics(model: SuspectModel) -> bool:
    """Put the BatchNorm layers of ``model`` in train mode and nothing else; False without any."""
    found = _batch_norms(model)
    for module in found:
        module.train()
    return bool(found)


def has_batch_norms(model: SuspectModel) -> bool:
    """Whether ``model`` has layers that can use the statistics of a batch."""
    return bool(_batch_norms(model))


def _batch_norms(model: SuspectModel) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def class_shares(
    model: SuspectModel, images: Tensor, labels: Tensor, batch_size: int
) -> Tensor:
    """Share of ``images`` that ``model`` predicts as each class, ``(K,)``, in the model's mode.

    Every class of ``labels`` ``(N,)`` counts the same, however many images it has. Running
    statistics are left as they are.
    """
    probe = model.copy()
    if any(norm.training for norm in _batch_norms(model)):
        use_batch_statistics(probe)
    batches = list(images.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # one image has no batch statistics
        batches[-2:] = [torch.cat(batches[-2:])]
    predicted = torch.cat([probe(batch).argmax(1) for batch in batches]).cpu()
    counts = torch.bincount(labels)
    weights = 1 / (counts[labels] * (counts > 0).sum()).double()
    return torch.bincount(predicted, weights, minlength=model.num_classes).float()


@torch.no_grad()
def with_clean_statistics(unlearned: SuspectModel, images: Tensor) -> SuspectModel:
    """A copy in eval mode whose BatchNorm statistics are those of clean ``images``.

    Unlearning runs on batch statistics, so the running ones do not fit the unlearned weights; with
    these, an image's prediction does not hang on its neighbours.

    Args:
        images: ``(N, C, H, W)``, at least two.
    """
    settled = unlearned.copy()
    norms = _batch_norms(settled)
    for norm in norms:
        if norm.track_running_stats:
            norm.momentum = None  # a plain mean over the batches
            norm.train()

    def settle(size: int) -> None:
        for norm in norms:
            norm.reset_running_stats()
        for start in range(0, len(images) - size + 1, size):
            settled(images[start : start + size])

    if any(norm.training for norm in norms):
        size = min(_SETTLED_ON, len(images))
        retried_batches(settle, size)
    return settled.eval()


def _ascend(
    parameters: list[nn.Parameter],
    velocity: list[Tensor],
    gradients: tuple[Tensor | None, ...],
    length: float,
    momentum: float,
) -> None:
    """Move ``parameters`` by ``length`` along the smoothed direction of the gradient."""
    found = [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)
    ]
    size = torch.sqrt(sum((g.square().sum() for g in found), torch.zeros(()))).clamp_min(1e-12)
    with torch.no_grad():
        for memory, gradient in zip(velocity, found, strict=True):
            memory.mul_(momentum).add_(gradient / size, alpha=1 - momentum)
        size = torch.sqrt(sum((v.square().sum() for v in velocity), torch.zeros(()))).clamp_min(
            1e-12
        )
        for parameter, memory in zip(parameters, velocity, strict=True):
            parameter.add_(memory, alpha=length / float(size))
