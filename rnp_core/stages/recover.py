"""Recovering: minimise the unlearned model's error with one mask per filter (RNP, equation 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from rnp_core.data import DefenseSet
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, Progress, ignore_progress, training_work
from rnp_core.ranges import check_range
from rnp_core.stages.filter_mask import MaskableLayer, full_mask, masked_parameters
from rnp_core.stages.sampling import augment, epoch_batches
from rnp_core.stages.unlearn import use_batch_statistics

HISTOGRAM_BINS = 20
"""Steps of the mask values that progress reports."""


@dataclass(frozen=True)
class RecoverConfig:
    """Settings of :func:`recover`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    steps: int = 30  # gradient steps (official: 20 epochs of 4 batches)
    batch_size: int = 128  # images (official)
    learning_rate: float = 0.2  # of the masks (official)
    momentum: float = 0.9  # SGD (official)
    loss_weight: float = 0.2  # factor on the cross-entropy (official alpha)
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "steps", 1)
        check_range(self, "batch_size", 2)
        check_range(self, "learning_rate", 1e-9, 100)
        check_range(self, "momentum", 0, 0.999)
        check_range(self, "loss_weight", 1e-9, 100)


@dataclass(frozen=True, eq=False)
class RecoverResult:
    """Masks of the recovered model.

    Attributes:
        layers: the layers that carry masks, in running order.
        filter_mask: layer name to ``(channels,)`` in [0, 1] after the last step.
        filter_rank: layer name to ``(channels,)``, the mean of the mask over all steps minus the
            push that clamping threw away; orders filters that share mask value 0, lowest first.
        accuracy: ``(steps,)`` batch accuracy of the masked unlearned model.
        history: ``(snapshots, filters)`` mask values over time, layers concatenated.
    """

    layers: tuple[MaskableLayer, ...]
    filter_mask: dict[str, Tensor]
    filter_rank: dict[str, Tensor]
    accuracy: Tensor
    history: Tensor


def recover(
    unlearned: SuspectModel,
    layers: Sequence[MaskableLayer],
    defense_set: DefenseSet,
    *,
    config: RecoverConfig = RecoverConfig(),
    on_progress: OnProgress = ignore_progress,
) -> RecoverResult:
    """Learn a mask in [0, 1] for every filter of the unlearned model; all weights stay fixed.

    Filters that clean images need come back to 1, backdoor filters do not.

    Args:
        layers: from :func:`rnp_core.stages.filter_mask.find_maskable_layers` on the original model.

    Raises:
        ScanCancelled: when the callback raises it.
    """
    generator = torch.Generator().manual_seed(config.seed)
    network = unlearned.copy()
    batch_norms = use_batch_statistics(network)
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    images, targets = defense_set.images.to(network.device), defense_set.labels.to(network.device)
    masks = {
        name: values.to(network.device).requires_grad_(True)
        for name, values in full_mask(layers).items()
    }
    optimizer = torch.optim.SGD(masks.values(), lr=config.learning_rate, momentum=config.momentum)
    total = {name: torch.zeros_like(values) for name, values in masks.items()}
    accuracy: list[float] = []
    history: list[Tensor] = []
    batches = epoch_batches(len(defense_set), config.batch_size, generator)
    for step in range(config.steps):
        indices = next(batches)
        labels = targets[indices]
        logits = functional_call(
            network,
            masked_parameters(parameters, layers, masks),
            (augment(images[indices], generator),),
        )
        loss = config.loss_weight * F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, values in masks.items():
                total[name] += values  # before clamping: what is pushed below 0 ranks lower
                values.clamp_(0, 1)
        accuracy.append(float((logits.argmax(1) == labels).float().mean()))
        if step % max(1, config.steps // 20) == 0 or step == config.steps - 1:
            history.append(torch.cat([values.detach() for values in masks.values()]).cpu())
        on_progress(
            Progress(
                "recover",
                step + 1,
                config.steps,
                f"accuracy {accuracy[-1]:.2f}",
                {"accuracy": accuracy[-1], "mask_histogram": mask_histogram(masks.values())},
                training_work(len(indices), batch_norms=batch_norms, masks=True),
            )
        )
    return RecoverResult(
        layers=tuple(layers),
        filter_mask={name: values.detach().clone().cpu() for name, values in masks.items()},
        filter_rank={name: (values / config.steps).cpu() for name, values in total.items()},
        accuracy=torch.tensor(accuracy),
        history=torch.stack(history),
    )


def mask_histogram(masks: Iterable[Tensor]) -> list[float]:
    """How many mask values lie in each of :data:`HISTOGRAM_BINS` equal steps from 0 to 1."""
    values = torch.cat([values.detach().flatten() for values in masks]).cpu()
    return torch.histc(values, HISTOGRAM_BINS, 0, 1).tolist()
