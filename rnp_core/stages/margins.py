"""How sure a network can be made of each class, by images of any kind.

A backdoor teaches the network to be sure of its target whatever else an image shows, so the largest
margin that any input reaches is an outlier for that class (MM-BD, Wang et al., IEEE S&P 2024,
section 3). Nothing is assumed about the trigger, and no clean image is needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnp_core.errors import ConfigError
from rnp_core.fold import fold_batch_norms
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts, images_at_once
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.ranges import check_range
from rnp_core.stages.sampling import with_controls

_AT_ONCE = 96  # images
SHORTER = 4  # times fewer steps in the round that picks labels


@dataclass(frozen=True)
class MarginConfig:
    """Settings of :func:`largest_margins`.

    Raises:
        ConfigError: when a value is outside its range.
    """

    steps: int = 60  # Adam steps
    starts: int = 3  # random images for each class, of which the best one counts
    learning_rate: float = 0.2  # on the logit of the pixels
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "steps", 1)
        check_range(self, "starts", 1)
        check_range(self, "learning_rate", 1e-9, 100)


def margins_of_all(
    model: SuspectModel,
    *,
    max_labels: int = 64,
    config: MarginConfig = MarginConfig(),
    on_progress: OnProgress = ignore_progress,
) -> Tensor:
    """Largest margins of all K labels, at a cost that hardly grows with K.

    With more than ``max_labels``, a short round from one start picks the leading half of as many,
    and evenly spaced others that give the median.

    Returns:
        ``(K,)``; NaN for labels that were left after the short round.
    """
    count = model.num_classes
    if count <= max_labels:
        return largest_margins(model, range(count), config=config, on_progress=on_progress)
    short = dataclasses.replace(config, starts=1, steps=max(1, config.steps // SHORTER))
    first = largest_margins(model, range(count), config=short, on_progress=on_progress)
    ranked = first.argsort(descending=True, stable=True).tolist()
    labels = with_controls(ranked[: max_labels // 2], ranked, max_labels)
    margins = torch.full((count,), math.nan)
    margins[labels] = largest_margins(model, labels, config=config, on_progress=on_progress)
    return margins


def largest_margins(
    model: SuspectModel,
    labels: Sequence[int],
    *,
    config: MarginConfig = MarginConfig(),
    on_progress: OnProgress = ignore_progress,
) -> Tensor:
    """The largest margin found for each class: its logit less the largest other one.

    Differs from the paper: Adam on the logit of the pixels instead of projected gradient ascent, so
    that images stay in [0, 1] by themselves.

    Returns:
        ``(len(labels),)``, on the CPU; higher is more suspicious.

    Raises:
        ConfigError: for no labels, or labels outside the classes.
        ScanCancelled: when the callback raises it.
    """
    if not labels or not 0 <= min(labels) <= max(labels) < model.num_classes:
        raise ConfigError(f"expected labels below {model.num_classes}, got {list(labels)}")
    generator = torch.Generator().manual_seed(config.seed)
    count = len(labels) * config.starts
    starts = torch.rand((count, *model.input_shape), generator=generator).clamp(0.05, 0.95)
    targets = torch.tensor(list(labels)).repeat_interleave(config.starts)
    network = fold_batch_norms(model, starts[:2])

    def climb(part: slice) -> Tensor:
        pixels = torch.logit(starts[part]).to(model.device).requires_grad_(True)
        own = targets[part, None].to(model.device)
        optimizer = torch.optim.Adam([pixels], lr=config.learning_rate)
        for step in range(config.steps):
            logits = network(pixels.sigmoid())
            others = logits.scatter(1, own, float("-inf")).amax(1)
            margins = logits.gather(1, own).squeeze(1) - others
            (pixels.grad,) = torch.autograd.grad(-margins.sum(), pixels)
            optimizer.step()
            done = part.start * config.steps + (step + 1) * len(pixels)
            on_progress(Progress("margins", done, count * config.steps, work=len(pixels)))
        return margins.detach().cpu()

    found = torch.cat(Parts(images_at_once(model, _AT_ONCE)).run(climb, count))
    return found.view(len(labels), config.starts).amax(1)
