"""Repair: a short fine-tuning against triggers that fight back.

One recovered trigger is weaker than the true one, so a model that merely learns to ignore it keeps
its backdoor. Here the triggers are trained on, step by step, against the model that is being
repaired (the min-max problem of I-BAU, Zeng et al., ICLR 2022, equation 3), but only up to the size
that leads to an innocent label: anything larger would flip a clean model too. On clean images the
original model's own probabilities are the target (Hinton et al., 2015), which costs less accuracy
than the labels do.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.data import DefenseSet
from rnp_core.errors import ConfigError
from rnp_core.fold import fold_batch_norms
from rnp_core.inversion import KINDS, RecoveredTrigger, trigger_loss
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts, images_at_once
from rnp_core.progress import (
    FORWARD_WORK,
    OnProgress,
    Progress,
    ignore_progress,
    training_work,
)
from rnp_core.ranges import check_range
from rnp_core.stages.sampling import augment, epoch_batches
from rnp_core.stages.unlearn import has_batch_norms

_SIZE_PENALTY = 10.0  # on the relative excess over the size limit


@dataclass(frozen=True)
class RepairConfig:
    """Settings of :func:`repair`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    steps: int = 40  # SGD steps of the model
    warm_up: int = 20  # steps of each trigger alone, before the model moves
    copies: int = 3  # of each trigger, from slightly different starts
    batch_size: int = 160  # clean images a step
    reach: float = 1.5  # how large a trigger may grow, times what an innocent label takes
    triggered_share: float = 0.1  # triggered images a step, as a share of the clean ones
    learning_rate: float = 0.03  # falls to 0 along a cosine
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "steps", 1)
        check_range(self, "warm_up", 0)
        check_range(self, "copies", 1)
        check_range(self, "batch_size", 1)
        check_range(self, "reach", 0.1, 100)
        check_range(self, "triggered_share", 0, 1)
        check_range(self, "learning_rate", 1e-9, 10)
        check_range(self, "momentum", 0, 0.999)

    @property
    def triggered(self) -> int:
        """Triggered images a step."""
        return self.copies * max(1, int(self.triggered_share * self.batch_size) // self.copies)

    def work_of_a_step(self, clean: int, *, batch_norms: bool) -> float:
        """Work of a step with this many ``clean`` images, see :mod:`rnp_core.progress`: training on
        them and on triggered ones, the teacher's answers, and the triggers' own step."""
        learning = training_work(clean + self.triggered, batch_norms=batch_norms)
        attack = training_work(self.triggered, batch_norms=batch_norms)
        return learning + attack + FORWARD_WORK * clean


def repair(
    model: SuspectModel,
    defense_set: DefenseSet,
    triggers: Sequence[RecoveredTrigger],
    *,
    size_limits: Sequence[float],
    teacher: SuspectModel | None = None,
    config: RepairConfig = RepairConfig(),
    on_progress: OnProgress = ignore_progress,
) -> SuspectModel:
    """A fine-tuned copy of ``model`` in which ``triggers`` and others like them no longer work.

    BatchNorm statistics and dropout stay as they are; gradients are clipped to norm 1 after the
    backward pass. Parameters that are exactly 0 (pruned filters) stay 0.

    Args:
        triggers: at least one; they take turns.
        size_limits: the size that an innocent label takes, one for each trigger, in the unit of
            its kind; a trigger may grow to ``config.reach`` times as much.
        teacher: gives the probabilities on clean images; ``model`` itself when None.

    Raises:
        ConfigError: without triggers, or when there is not one limit per trigger.
        ScanCancelled: when the callback raises it.
    """
    if not triggers or len(size_limits) != len(triggers):
        raise ConfigError(
            f"expected at least one trigger and one size limit for each, got {len(triggers)} "
            f"and {len(size_limits)}"
        )
    generator = torch.Generator().manual_seed(config.seed)
    teacher = fold_batch_norms(teacher or model, defense_set.images[:2])
    repaired = model.copy()
    batch_norms = has_batch_norms(repaired)
    parameters = [p for p in repaired.network.parameters() if p.is_floating_point()]
    silent = [p.detach() == 0 for p in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(parameters, lr=config.learning_rate, momentum=config.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    opponents = [
        _Opponent(trigger, config.reach * limit, defense_set, config, generator, model.device)
        for trigger, limit in zip(triggers, size_limits, strict=True)
    ]
    for opponent in opponents:
        for _ in range(config.warm_up):
            opponent.attack(repaired)
    pixels = defense_set.images.to(model.device)
    batches = epoch_batches(len(defense_set), config.batch_size, generator)
    parts = Parts(images_at_once(model, config.batch_size + config.triggered))
    questions = Parts(config.batch_size)
    for step in range(config.steps):
        triggered, true_labels = opponents[step % len(opponents)].attack(repaired)
        clean = augment(pixels[next(batches)], generator)
        with torch.no_grad():
            right = F.one_hot(true_labels, model.num_classes).to(model.device, torch.float32)
            ask = functools.partial(_answer, teacher, clean)
            wanted = torch.cat([*questions.run(ask, len(clean)), right])
        images = torch.cat([clean, triggered])
        optimizer.zero_grad()
        learn = functools.partial(_learn, repaired, parameters, images, wanted)
        losses = parts.run(learn, len(images))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for parameter, zeros in zip(parameters, silent, strict=True):
                parameter[zeros] = 0.0
        work = config.work_of_a_step(len(clean), batch_norms=batch_norms)
        message = f"loss {sum(losses):.2f}"
        on_progress(Progress("repair", step + 1, config.steps, message, work=work))
    repaired.zero_grad(set_to_none=True)
    repaired.requires_grad_(False)
    return repaired


def _answer(teacher: SuspectModel, images: Tensor, part: slice) -> Tensor:
    return teacher(images[part]).softmax(1)


def _learn(
    model: SuspectModel,
    parameters: list[nn.Parameter],
    images: Tensor,
    wanted: Tensor,
    part: slice,
) -> float:
    """What some of the ``images`` add to the mean error over all; what they add to its gradient
    goes into that of the ``parameters``, all at once at the end, as memory may run out before."""
    error = F.cross_entropy(model(images[part]), wanted[part], reduction="sum") / len(images)
    gradients = torch.autograd.grad(error, parameters, materialize_grads=True)
    sums = [
        own if parameter.grad is None else parameter.grad + own
        for parameter, own in zip(parameters, gradients, strict=True)
    ]
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total
    return error.item()


class _Opponent:
    """Copies of one trigger that keep attacking the model within a size limit."""

    def __init__(
        self,
        trigger: RecoveredTrigger,
        limit: float,
        defense_set: DefenseSet,
        config: RepairConfig,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self._kind = KINDS[trigger.kind]
        self._label, self._limit = trigger.label, limit
        self._copies, self._parts = config.copies, Parts(config.copies)
        self._each = config.triggered // config.copies
        self._pixels, self._labels = defense_set.images.to(device), defense_set.labels
        self._generator = generator
        self._others = torch.nonzero(trigger.is_for(defense_set.labels)).flatten()
        self._parameters = []
        for parameter in trigger.parameters:
            copies = parameter.repeat(config.copies, *[1] * (parameter.ndim - 1))
            noise = torch.randn(copies.shape, generator=generator)
            noise[0] = 0.0  # the first copy starts where the trigger was found
            scale = 0.1 * parameter.std() if parameter.numel() > 1 else 0.1
            start = (copies + scale * noise).to(device)
            self._parameters.append(start.requires_grad_(True))
        self._optimizer = torch.optim.Adam(
            self._parameters, lr=self._kind.learning_rate, betas=(0.5, 0.9)
        )

    def attack(self, model: SuspectModel) -> tuple[Tensor, Tensor]:
        """One step against ``model``; returns triggered images and their true labels."""
        count = self._copies * self._each
        drawn = self._others[torch.randint(len(self._others), (count,), generator=self._generator)]
        images = self._pixels[drawn].view(self._copies, self._each, *model.input_shape)
        sources = self._labels[drawn].view(self._copies, self._each).to(images.device)

        def push(part: slice) -> tuple[Tensor, ...]:
            own = [parameter[part] for parameter in self._parameters]
            logits = model(self._kind.apply(own, images[part]).flatten(0, 1))
            excess = F.relu(self._kind.size(own) / self._limit - 1)
            goals = torch.full((len(logits),), self._label, device=logits.device)
            errors = trigger_loss(logits, goals, sources[part].flatten()).view(-1, self._each)
            return torch.autograd.grad((errors.mean(1) + _SIZE_PENALTY * excess).sum(), own)

        gradients = zip(*self._parts.run(push, self._copies), strict=True)
        for parameter, own in zip(self._parameters, gradients, strict=True):
            parameter.grad = torch.cat(own)
        self._optimizer.step()
        with torch.no_grad():
            triggered = self._kind.apply(self._parameters, images).flatten(0, 1)
        return triggered, self._labels[drawn]
