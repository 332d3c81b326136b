"""Neural Cleanse: Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in
Neural Networks", IEEE S&P 2019.

Checked against github.com/bolunwang/backdoor (visualizer.py, gtsrb_visualize_example.py,
mad_outlier_detection.py): one label after the other, mask and pattern through tanh from a uniform
start, Adam 0.1 with betas 0.5 and 0.9, the L1 norm of the mask with a weight that starts at 0, is
set to 0.001 after five successes in a row, then doubles after five successes and falls by 2^1.5
after five failures, the smallest mask with 99 % success kept, the stop after 25 rounds without a
smaller one, and the MAD anomaly index with its limit of 2.

Differs from the official code: a round is one pass over the clean images instead of 1,000 images,
and there are at most 80 (BackdoorBench's ``nc_epoch``) instead of 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baselines.contract import Defence, Outcome
from benchmarks.baselines.training import shuffled_batches
from rnp_core.inversion import RecoveredTrigger
from rnp_core.metrics import anomaly_index, predict


@dataclass(frozen=True)
class NeuralCleanseConfig:
    """Settings of :func:`neural_cleanse`: gtsrb_visualize_example.py but for ``rounds``."""

    rounds: int = 80  # between which the weight of the mask may change
    batches_per_round: int | None = None  # None: one pass over the clean images
    batch_size: int = 32
    learning_rate: float = 0.1
    initial_cost: float = 1e-3  # weight of the mask's L1 norm, in pixels
    success: float = 0.99
    patience: int = 5  # rounds in a row before the weight changes
    cost_factor: float = 2.0
    stop_patience: int = 25  # rounds without a smaller mask
    max_anomaly: float = 2.0  # a smaller label beyond it is a target


def neural_cleanse(
    defence: Defence, *, config: NeuralCleanseConfig = NeuralCleanseConfig(), name: str = "nc"
) -> dict[str, Outcome]:
    """Recover a trigger for every label, and call the model backdoored when a mask is an outlier.

    ``score`` is the anomaly index of the smallest mask, ``labels`` the flagged labels, smallest
    first.
    """
    generator = torch.Generator().manual_seed(defence.seed)
    triggers = {
        label: _invert(defence, label, config, generator)
        for label in range(defence.model.num_classes)
    }
    norms = np.array([trigger.size for trigger in triggers.values()])
    index = anomaly_index(norms)
    order = np.argsort(norms, kind="stable").tolist()
    flagged = tuple(label for label in order if index[label] > config.max_anomaly)
    return {
        name: Outcome(
            verdict="backdoored" if flagged else "no_evidence",
            score=float(min(index[norms.argmin()], 1e6)),  # a MAD of 0 makes it infinite
            labels=flagged,
            triggers=triggers,
            notes={"norms": [round(float(norm), 3) for norm in norms]},
        )
    }


class CostSchedule:
    """Weight of the mask's norm, moved by the success of the last rounds.

    Attributes:
        value: the weight.
        moved_both_ways: whether it has both risen and fallen since it was set.
    """

    def __init__(self, config: NeuralCleanseConfig) -> None:
        self._config = config
        self.value = 0.0
        self._successes = self._failures = self._ready = 0
        self.moved_both_ways = False
        self._went = {"up": False, "down": False}

    def update(self, succeeded: bool) -> None:
        """Take in one round."""
        config = self._config
        if self.value == 0 and succeeded:
            self._ready += 1
            if self._ready >= config.patience:
                self.value = config.initial_cost
                self._successes = self._failures = 0
                self._went = {"up": False, "down": False}
        else:
            self._ready = 0
        self._successes = self._successes + 1 if succeeded else 0
        self._failures = 0 if succeeded else self._failures + 1
        if self._successes >= config.patience:
            self._successes = 0
            self.value *= config.cost_factor
            self._went["up"] = True
        elif self._failures >= config.patience:
            self._failures = 0
            self.value /= config.cost_factor**1.5
            self._went["down"] = True
        self.moved_both_ways = all(self._went.values())


def _invert(
    defence: Defence, label: int, config: NeuralCleanseConfig, generator: torch.Generator
) -> RecoveredTrigger:
    """The smallest mask and its pattern that send the images to ``label``."""
    channels, height, width = defence.model.input_shape
    network = defence.model.copy()
    start = [
        torch.rand((1, size, height, width), generator=generator).clamp(1e-4, 1 - 1e-4)
        for size in (1, channels)
    ]
    device, pixels = network.device, defence.clean.images.to(network.device)
    parameters = [torch.atanh(2 * v - 1).to(device).requires_grad_(True) for v in start]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.5, 0.9))
    cost = CostSchedule(config)
    best: list[Tensor] | None = None
    best_norm, idle = float("inf"), 0
    for batches in _rounds(len(defence.clean), config, generator):
        rates, norms = [], []
        for indices in batches:
            mask, pattern = _shown(parameters)
            images = pixels[indices]
            logits = network((1 - mask) * images + mask * pattern)
            targets = torch.full((len(images),), label, device=device)
            norm = mask.abs().sum()
            loss = F.cross_entropy(logits, targets) + cost.value * norm
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(loss, parameters), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
            rates.append(float((logits.argmax(1) == targets).float().mean()))
            norms.append(float(norm.detach()))
        succeeded = float(np.mean(rates)) >= config.success
        previous = best_norm
        if succeeded and np.mean(norms) < best_norm:
            best_norm = float(np.mean(norms))
            best = [parameter.detach().clone() for parameter in parameters]
        idle = idle + 1 if best is not None and best_norm >= previous else 0
        if cost.moved_both_ways and idle >= config.stop_patience:
            break
        cost.update(succeeded)
    chosen = best or [parameter.detach() for parameter in parameters]
    return _trigger(defence, label, [parameter.cpu() for parameter in chosen])


def _rounds(
    count: int, config: NeuralCleanseConfig, generator: torch.Generator
) -> Iterator[list[Tensor]]:
    """The index batches of each round."""
    waiting: list[Tensor] = []
    for _ in range(config.rounds):
        wanted = config.batches_per_round or -(-count // config.batch_size)
        while len(waiting) < wanted:
            waiting += shuffled_batches(count, config.batch_size, generator)
        yield waiting[:wanted]
        waiting = [] if config.batches_per_round is None else waiting[wanted:]


def _shown(parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mask and pattern in [0, 1]."""
    mask, pattern = (parameter.tanh() / 2 + 0.5 for parameter in parameters)
    return mask, pattern


@torch.no_grad()
def _trigger(defence: Defence, label: int, parameters: list[Tensor]) -> RecoveredTrigger:
    mask, pattern = _shown(parameters)
    clean = defence.clean
    others = clean.images[clean.labels != label]
    triggered = (1 - mask) * others + mask * pattern
    flips = predict(defence.model, triggered) == label if len(others) else torch.zeros(1)
    return RecoveredTrigger(
        label=label,
        kind="patch",
        size=float(mask.sum()),
        flip_rate=float(flips.float().mean()),
        trigger_mask=mask[0],
        trigger_pattern=pattern[0],
        parameters=[2 * parameter for parameter in parameters],  # sigmoid(2 x) = tanh(x) / 2 + 0.5
    )
