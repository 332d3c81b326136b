"""What to hold a scan against: the published procedures, and the machine's matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baselines.neural_cleanse import NeuralCleanseConfig
from benchmarks.baselines.official_rnp import OfficialRnpConfig
from benchmarks.cost.cases import Case
from benchmarks.cost.networks import fitted_network, prototype_images
from rnp_core.acceleration import choose_device, has_fast_bfloat16

_OFFICIAL_UNLEARNING = 13
"""Epochs after which the official RNP's unlearning stops."""


def plain_ways(case: Case, *, device: str) -> dict[str, float]:
    """Seconds of the published procedures on the same network, from the median of a few steps each.

    ``official_steps`` are the steps of the official RNP's 33 epochs, all timed as plain training of
    the parameters, without its passes over test images; ``neural_cleanse`` goes label by label with
    its usual 80 rounds over the clean images, of which it may leave out some where a trigger gets
    no smaller.
    """
    torch.set_num_threads(case.threads)
    model = fitted_network(case.network, case.classes).to(choose_device(device))
    official, cleanse = OfficialRnpConfig(), NeuralCleanseConfig()
    batch = min(official.batch_size, case.clean)
    images, labels = prototype_images(case.classes, model.input_shape[-1], batch, seed=3)
    images, labels = images.to(model.device), labels.to(model.device)
    trained = model.copy().train()
    trained.requires_grad_(True)

    optimizer = torch.optim.SGD(trained.parameters(), lr=1e-9, momentum=0.9)

    def train_step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(trained(images), labels)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for the GPU

    few = images[: cleanse.batch_size].clone().requires_grad_(True)

    def trigger_step() -> None:
        (slope,) = torch.autograd.grad(F.cross_entropy(model(few), labels[: len(few)]), few)
        float(slope.sum())  # waits for the GPU

    batches = -(-case.clean // official.batch_size)
    training = batches * (_OFFICIAL_UNLEARNING + official.recover_epochs)
    rounds = cleanse.rounds * -(-case.clean // cleanse.batch_size)
    return {
        "official_steps": training * _step_seconds(train_step),
        "neural_cleanse": case.classes * rounds * _step_seconds(trigger_step),
    }


def matrix_rate(case: Case, *, device: str) -> float:
    """Multiply-adds a second of products of square matrices in the precision that the case can use:
    the median over many products, as a shared machine now and then runs one more than twice as
    fast, of the better of two sizes."""
    place = choose_device(device)
    fast = case.precision == "auto" and has_fast_bfloat16(place)
    dtype = torch.bfloat16 if fast else torch.float32
    found = []
    for side in (2048, 4096):
        left, right = (torch.randn((side, side)).to(place, dtype) for _ in range(2))

        def multiply(left: Tensor = left, right: Tensor = right) -> None:
            float((left @ right)[0, 0])  # waits for the GPU

        found.append(side**3 / _step_seconds(multiply, 20))
    return max(found)


def _step_seconds(step: Callable[[], None], count: int = 5) -> float:
    return statistics.median(_times(step, count))


def _times(step: Callable[[], None], count: int) -> list[float]:
    step()  # set-up
    found = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return found
