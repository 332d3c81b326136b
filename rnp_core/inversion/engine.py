"""Trigger inversion: the smallest change that sends images of every class to one label.

All labels run in one batch. Each has its own weight on the size of its trigger, raised while the
trigger works and lowered while it does not (Neural Cleanse, Wang et al., S&P 2019, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.errors import ConfigError, DataError
from rnp_core.fold import fold_batch_norms
from rnp_core.inversion.kinds import KINDS
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts, images_at_once
from rnp_core.progress import FORWARD_WORK, OnProgress, Progress, ignore_progress
from rnp_core.ranges import check_range

ANY_LABEL = -1
"""In place of a label: any class but the one that the model sees without the trigger."""

_CHECKED = 96
"""Images, evenly spaced, on which the flip rate of a finished trigger is measured at most. A fixed
number, because every new batch size costs the convolution library a set-up."""


@dataclass(frozen=True)
class InversionConfig:
    """Settings of :func:`invert`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    steps: int = 100  # Adam steps
    batch_size: int = 8  # images a label and step
    goal: float = 0.85  # smoothed flip rate at which a trigger counts as working
    share: float = 1.0  # of the images of a label and step, those of lowest loss, that count
    weight_rate: float = 0.10  # relative change of the size weight a step
    promising: float = 1.0  # of the median size; the search ends half-way unless one is smaller
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "steps", 0)
        check_range(self, "batch_size", 1)
        check_range(self, "goal", 0, 1)
        check_range(self, "share", 0, 1)
        check_range(self, "weight_rate", 0, 10)
        check_range(self, "promising", 0, 1)

    @property
    def counted(self) -> int:
        """Images of a label and step that count."""
        return max(1, round(self.share * self.batch_size))

    @property
    def work_of_a_step(self) -> float:
        """Work of a step for one label, see :mod:`rnp_core.progress`. Images that do not count are
        seen forward only."""
        choosing = FORWARD_WORK * self.batch_size if self.counted < self.batch_size else 0.0
        return choosing + self.counted

    def work(self, labels: int) -> float:
        """Work of so many labels at once: the steps that report it, and the check of the finished
        triggers."""
        return labels * (self.steps * self.work_of_a_step + FORWARD_WORK * _CHECKED)


@dataclass(frozen=True, eq=False)
class RecoveredTrigger:
    """A recovered trigger of one label.

    Attributes:
        label: class that it leads to, or :data:`ANY_LABEL`.
        kind: a name in :data:`rnp_core.inversion.kinds.KINDS`.
        size: in the unit of its kind: pixels, or percent; see ``rnp_core.inversion.kinds``.
        flip_rate: share of the clean images that it is for that it sends to ``label``, or whose
            predicted class it changes; [0, 1].
        trigger_mask: ``(1, H, W)`` in [0, 1], where it acts.
        trigger_pattern: ``(C, H, W)`` in [0, 1], what it shows; amplified for added ones.
        parameters: free parameters of the kind, each ``(1, ...)``.
        sources: classes whose images it is for; empty for all but ``label``.
    """

    label: int
    kind: str
    size: float
    flip_rate: float
    trigger_mask: Tensor
    trigger_pattern: Tensor
    parameters: list[Tensor]
    sources: tuple[int, ...] = ()

    def is_for(self, labels: Tensor) -> Tensor:
        """Which images of the classes ``labels`` ``(N,)`` it is for, ``(N,)`` bool."""
        return _is_for(labels, self.label, self.sources)

    def apply(self, images: Tensor) -> Tensor:
        """Triggered copies of ``images`` ``(N, C, H, W)`` in [0, 1], on their device."""
        parameters = [parameter.to(images.device) for parameter in self.parameters]
        return KINDS[self.kind].apply(parameters, images.unsqueeze(0))[0]


def invert(
    model: SuspectModel,
    defense_set: DefenseSet,
    labels: Sequence[int],
    *,
    kind: str = "patch",
    start: Sequence[RecoveredTrigger] = (),
    sources: Sequence[tuple[int, ...]] = (),
    check: bool = True,
    config: InversionConfig = InversionConfig(),
    on_progress: OnProgress = ignore_progress,
) -> tuple[RecoveredTrigger, ...]:
    """Recover one trigger for every label in ``labels``.

    Kept is the smallest trigger that worked on the last batches; where none did, the last one, with
    the flip rate that it reaches.

    Args:
        labels: classes, or :data:`ANY_LABEL` for a trigger that leads away from the predicted
            class, wherever to.
        kind: a name in ``rnp_core.inversion.kinds.KINDS``.
        start: triggers of this kind to go on from, one for each label; random ones when empty.
        sources: for each label the classes whose images its trigger shall move; all others when
            empty.
        check: False leaves out how many images the finished triggers flip, which becomes NaN.

    Returns:
        One trigger per label, in the order of ``labels``.

    Raises:
        ConfigError: for an unknown kind, no labels, labels outside the classes, or starts or
            sources that do not fit them.
        DataError: when there are no images that the trigger of a label shall move.
        ScanCancelled: when the callback raises it.
    """
    if kind not in KINDS:
        raise ConfigError(f"expected a kind among {', '.join(KINDS)}, got {kind!r}")
    if not labels or not ANY_LABEL <= min(labels) <= max(labels) < model.num_classes:
        raise ConfigError(f"expected labels below {model.num_classes}, got {list(labels)}")
    if start and [(t.label, t.kind) for t in start] != [(label, kind) for label in labels]:
        raise ConfigError(f"expected starts of kind {kind} for the labels {list(labels)}")
    if sources and len(sources) != len(labels):
        raise ConfigError(f"expected sources for {len(labels)} labels, got {len(sources)}")
    family = KINDS[kind]
    generator = torch.Generator().manual_seed(config.seed)
    network = fold_batch_norms(model, defense_set.images[:2])
    device, pixels = model.device, defense_set.images.to(model.device)
    aimless = ANY_LABEL in labels  # other labels need no prediction
    seen = predict(network, defense_set.images) if aimless else defense_set.labels
    answer_of = seen.to(device)
    count, batch = len(labels), config.batch_size
    targets = torch.tensor(list(labels), device=device).unsqueeze(1).expand(-1, batch)  # (L, B)
    sources = sources or [()] * count
    pools = [
        _pool(defense_set.labels, _is_for(defense_set.labels, label, own))
        for label, own in zip(labels, sources, strict=True)
    ]
    if any(len(pool) == 0 for pool in pools):
        raise DataError("expected images of at least two classes, sources among them, got fewer")
    if start:
        parameters = [torch.cat(own) for own in zip(*(t.parameters for t in start), strict=True)]
    else:
        parameters = family.start(count, model.input_shape, generator)
    parameters = [parameter.to(device, copy=True) for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=family.learning_rate, betas=(0.5, 0.9))
    weight = torch.full((count,), family.initial_weight(model.input_shape), device=device)
    flips = torch.zeros(count, device=device)
    best_size = torch.full((count,), float("inf"), device=device)
    best = [parameter.detach().clone() for parameter in parameters]

    def look(own: list[Tensor], chosen: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Errors and hits ``(L, B)`` of triggers on the images ``chosen`` ``(L, B)``."""
        answers = answer_of[chosen].flatten()
        logits = network(family.apply(own, pixels[chosen]).flatten(0, 1))
        errors = trigger_loss(logits, goals.flatten(), answers)
        hits = trigger_hits(logits.argmax(1), goals.flatten(), answers)
        return errors.view_as(goals), hits.view_as(goals)

    def attack(part: slice) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Flip rates and sizes of the triggers of some labels, and gradients of their losses."""
        own = [parameter[part] for parameter in parameters]
        chosen, goals = drawn[part], targets[part]  # (L, B)
        if config.counted < batch:
            with torch.no_grad():
                errors, hits = look(own, chosen, goals)
            easiest = errors.topk(config.counted, dim=1, largest=False).indices.to(chosen.device)
            chosen, goals = chosen.gather(1, easiest), goals[:, : config.counted]
            errors, _ = look(own, chosen, goals)
        else:
            errors, hits = look(own, chosen, goals)
        size = family.size(own)
        loss = (errors.mean(1) + weight[part] * size).sum()
        return hits.float().mean(1), size.detach(), torch.autograd.grad(loss, own)

    parts = Parts(images_at_once(model, count * batch) // batch)
    work = count * config.work_of_a_step
    for step in range(config.steps):
        drawn = torch.stack(
            [pool[torch.randint(len(pool), (batch,), generator=generator)] for pool in pools]
        )
        hits, sizes, gradients = zip(*parts.run(attack, count), strict=True)
        hit, size = torch.cat(hits), torch.cat(sizes)
        with torch.no_grad():
            flips = hit if step == 0 else 0.7 * flips + 0.3 * hit
            works = flips >= config.goal
            better = works & (size < best_size)
            best_size = torch.where(better, size, best_size)
            for kept, parameter in zip(best, parameters, strict=True):
                kept[better] = parameter[better]
            weight *= torch.where(works, 1 + config.weight_rate, 1 / (1 + config.weight_rate))
        for parameter, *own in zip(parameters, *gradients, strict=True):
            parameter.grad = torch.cat(own)
        optimizer.step()
        values = {"sizes": size.tolist(), "labels": [float(label) for label in labels]}
        on_progress(Progress("triggers", step + 1, config.steps, kind, values, work))
        if step + 1 == config.steps // 2 and config.promising < 1:
            found = torch.where(torch.isinf(best_size), size, best_size)
            if found.min() >= config.promising * found.quantile(0.5):
                break

    failed = torch.isinf(best_size)
    for kept, parameter in zip(best, parameters, strict=True):
        kept[failed] = parameter.detach()[failed]
    best = [kept.cpu() for kept in best]
    return _collect(network, defense_set, seen, labels, sources, kind, best, check=check)


def _is_for(labels: Tensor, target: int, sources: Sequence[int]) -> Tensor:
    """Which images of the classes ``labels`` a trigger is for, see :class:`RecoveredTrigger`."""
    return torch.isin(labels, labels.new_tensor(sources)) if sources else labels != target


def _pool(labels: Tensor, meant: Tensor) -> Tensor:
    """Indices of ``meant`` images; those of rare classes repeat, so that every class is drawn about
    as often."""
    others = torch.nonzero(meant).flatten()
    counts = torch.bincount(labels[others])
    repeats = (counts.max() / counts.clamp_min(1)).round().long() if len(others) else counts
    return others.repeat_interleave(repeats[labels[others]])


def trigger_loss(logits: Tensor, targets: Tensor, answers: Tensor) -> Tensor:
    """The loss that a trigger lowers, ``(N,)``: cross-entropy to its target, or, towards
    :data:`ANY_LABEL`, minus the log of the chance that the answer is another.

    Args:
        logits: ``(N, K)`` of triggered images.
        targets: ``(N,)`` classes or :data:`ANY_LABEL`.
        answers: ``(N,)`` classes without the trigger.
    """
    aimed = F.cross_entropy(logits, targets.clamp_min(0), reduction="none")
    own = answers.unsqueeze(1)
    others = logits.scatter(1, own, float("-inf")).logsumexp(1)
    away = F.softplus(logits.gather(1, own).squeeze(1) - others)
    return torch.where(targets == ANY_LABEL, away, aimed)


def trigger_hits(predicted: Tensor, targets: Tensor | int, answers: Tensor) -> Tensor:
    """Whether a trigger reached what it is for, ``(N,)`` bool.

    Args:
        predicted: ``(N,)`` classes of triggered images.
        targets, answers: as in :func:`trigger_loss`.
    """
    aimless = torch.as_tensor(targets, device=predicted.device) == ANY_LABEL
    return torch.where(aimless, predicted != answers, predicted == targets)


@torch.no_grad()
def _collect(
    network: SuspectModel,
    defense_set: DefenseSet,
    seen: Tensor,
    labels: Sequence[int],
    sources: Sequence[tuple[int, ...]],
    kind: str,
    parameters: list[Tensor],
    *,
    check: bool,
) -> tuple[RecoveredTrigger, ...]:
    family = KINDS[kind]
    sizes = family.size(parameters)
    masks, patterns = family.picture(parameters, network.input_shape)
    triggers = []
    for row, label in enumerate(labels):
        own = [parameter[row : row + 1].clone() for parameter in parameters]
        rate = math.nan
        if check:
            others = torch.nonzero(_is_for(defense_set.labels, label, sources[row])).flatten()
            count = min(_CHECKED, len(others))
            others = others[torch.linspace(0, len(others) - 1, count).long()]
            triggered = family.apply(own, defense_set.images[others].unsqueeze(0))[0]
            reached = trigger_hits(predict(network, triggered), label, seen[others])
            rate = float(reached.float().mean())
        triggers.append(
            RecoveredTrigger(
                label=label,
                kind=kind,
                size=float(sizes[row]),
                flip_rate=rate,
                trigger_mask=masks[row],
                trigger_pattern=patterns[row],
                parameters=own,
                sources=tuple(sources[row]),
            )
        )
    return tuple(triggers)
