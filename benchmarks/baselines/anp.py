"""ANP: Wu and Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS 2021.

Checked against github.com/csdongxian/ANP_backdoor (optimize_mask_cifar.py, anp_batchnorm.py,
prune_neuron_cifar.py): per step the relative weights and biases of all BatchNorm channels start at
random within +-eps and take one signed gradient step of eps that raises the loss, then the masks
descend 0.2 x clean loss + 0.8 x perturbed loss and are clipped to [0, 1]; batches are drawn with
replacement, crops and flips, train mode. The published script sweeps the threshold and picks none.
Two rules pick here: ``anp`` prunes masks up to 0.2, the default of the paper, and ``anp-drop``
those up to the largest threshold that costs at most one point of accuracy on the clean images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.baselines.batch_norm import batch_norm_layers, count_channels, prune_channels
from benchmarks.baselines.contract import Defence, Outcome
from benchmarks.baselines.threshold_sweep import sweep_thresholds, threshold_by_drop
from benchmarks.baselines.training import crop_and_flip


@dataclass(frozen=True)
class AnpConfig:
    """Settings of :func:`anp`; the defaults are those of the published scripts."""

    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 0.2  # of the masks, SGD
    momentum: float = 0.9
    perturbation: float = 0.4  # eps, relative
    clean_weight: float = 0.2  # alpha
    prune_threshold: float = 0.2
    max_drop: float = 0.01  # of the accuracy on the clean images, for ``anp-drop``


def anp(defence: Defence, *, config: AnpConfig = AnpConfig()) -> dict[str, Outcome]:
    """Prune the channels whose masks fall under adversarial perturbation of the neurons.

    Raises:
        NotApplicable: when the network has no BatchNorm channels.
    """
    generator = torch.Generator().manual_seed(defence.seed)
    network = defence.model.copy().train()
    sizes = {name: len(layer.weight) for name, layer in batch_norm_layers(network).items()}
    parameters = dict(network.named_parameters())
    mask = {
        name: torch.ones(size, device=network.device, requires_grad=True)
        for name, size in sizes.items()
    }
    optimizer = torch.optim.SGD(mask.values(), lr=config.learning_rate, momentum=config.momentum)
    alpha, eps = config.clean_weight, config.perturbation

    def loss_of(images: Tensor, labels: Tensor, noise: dict[str, Tensor] | None) -> Tensor:
        changed = {}
        for name, values in mask.items():
            factor = values if noise is None else values + noise[f"{name}.weight"]
            changed[f"{name}.weight"] = parameters[f"{name}.weight"] * factor
            if noise is not None and f"{name}.bias" in parameters:
                changed[f"{name}.bias"] = parameters[f"{name}.bias"] * (1 + noise[f"{name}.bias"])
        logits = functional_call(network, {**parameters, **changed}, (images,))
        return F.cross_entropy(logits, labels.to(logits.device))

    for _ in range(config.steps):
        drawn = torch.randint(len(defence.clean), (config.batch_size,), generator=generator)
        images = crop_and_flip(defence.clean.images[drawn], generator, flips=defence.flips)
        labels = defence.clean.labels[drawn]
        noise = {
            f"{name}.{part}": (torch.rand(size, generator=generator) * 2 - 1).mul(eps)
            for name, size in sizes.items()
            for part in ("weight", "bias")
        }
        noise = {n: values.to(network.device).requires_grad_(True) for n, values in noise.items()}
        gradients = torch.autograd.grad(
            loss_of(images, labels, noise), list(noise.values()), allow_unused=True
        )
        worst = {
            name: values.detach() + (0 if slope is None else eps * slope.sign())
            for (name, values), slope in zip(noise.items(), gradients, strict=True)
        }
        loss = alpha * loss_of(images, labels, None) + (1 - alpha) * loss_of(images, labels, worst)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for values in mask.values():
                values.clamp_(0, 1)
    final = {name: values.detach() for name, values in mask.items()}
    sweep = sweep_thresholds(defence, final)
    chosen = {
        "anp": config.prune_threshold,
        "anp-drop": threshold_by_drop(sweep, config.max_drop),
    }
    return {
        name: Outcome(
            repaired=prune_channels(defence.model, final, threshold),
            pruned_filters=count_channels(final, threshold),
            notes={"threshold": threshold, "sweep": [list(candidate) for candidate in sweep]},
        )
        for name, threshold in chosen.items()
    }
