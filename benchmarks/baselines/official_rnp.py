"""RNP as published: Li et al., "Reconstructive Neuron Pruning for Backdoor Defense", ICML 2023.

Checked against github.com/bboylyg/RNP (main.py): optimisers, schedule, epochs, stopping rule, the
train mode of the network, the factor 0.2 on the recovery loss, masks on BatchNorm weights alone,
rounded to four digits, and thresholds from 0 to 0.9 in steps of 0.05. Its gradient clipping is left
out, because it runs before the backward pass and so clips nothing.

The published code sweeps the threshold and picks none. Three rules that are in use pick here:

* ``rnp-oracle``: the lowest success rate of the *true trigger* among thresholds that keep 90 % of
  the test accuracy (``acc_ratio`` 0.1 of BackdoorBench's defense/rnp.py). A defender cannot do it.
* ``rnp-0.70``: the fixed threshold whose model BackdoorBench reports.
* ``rnp-drop``: the largest threshold that costs at most one point of accuracy on the clean images.

Differs from the official code: where unlearning does not reach its stop, that code loads whatever
file an earlier run left; here the model of the last epoch is used, and ``collapsed`` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from benchmarks.baselines.batch_norm import batch_norm_layers, count_channels, prune_channels
from benchmarks.baselines.contract import Defence, Outcome
from benchmarks.baselines.threshold_sweep import Candidate, sweep_thresholds, threshold_by_drop
from benchmarks.baselines.training import crop_and_flip, shuffled_batches
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel

FIXED_THRESHOLD = 0.70


@dataclass(frozen=True)
class OfficialRnpConfig:
    """Settings of :func:`official_rnp`; the defaults are those of main.py."""

    batch_size: int = 128
    unlearn_epochs: int = 21  # main.py counts from 0 to 20
    unlearn_learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, int] = (10, 20)  # epochs after which the rate falls to a tenth
    stop_accuracy: float = 0.20  # of an epoch, in train mode
    recover_epochs: int = 20
    recover_learning_rate: float = 0.2
    loss_weight: float = 0.2
    oracle_accuracy_ratio: float = 0.1  # BackdoorBench: relative loss of accuracy that is allowed
    max_drop: float = 0.01  # of the accuracy on the clean images, for ``rnp-drop``


def official_rnp(
    defence: Defence, *, config: OfficialRnpConfig = OfficialRnpConfig()
) -> dict[str, Outcome]:
    """Unlearn, recover, and prune by each of the three rules.

    ``labels`` is the label read-out of the paper's section 4.4: the class that the unlearned model
    predicts most on the clean images. It always names one; ``score`` is that class's share.

    Raises:
        NotApplicable: when the network has no BatchNorm channels.
    """
    batch_norm_layers(defence.model)
    generator = torch.Generator().manual_seed(defence.seed)
    unlearned, epochs, collapsed = _unlearn(defence, config, generator)
    mask = _recover(defence, unlearned, config, generator)
    shares = _class_shares(unlearned, defence)
    sweep = sweep_thresholds(defence, mask)
    notes = {
        "collapsed": collapsed,
        "unlearn_epochs": epochs,
        "unlearned_shares": [round(share, 4) for share in shares.tolist()],
        "sweep": [list(candidate) for candidate in sweep],
    }
    chosen = {
        "rnp-oracle": _by_oracle(sweep, config),
        "rnp-0.70": FIXED_THRESHOLD,
        "rnp-drop": threshold_by_drop(sweep, config.max_drop),
    }
    outcomes = {}
    for name, threshold in chosen.items():
        if threshold is None:
            continue
        outcomes[name] = Outcome(
            score=float(shares.max()),
            labels=(int(shares.argmax()),),
            repaired=prune_channels(defence.model, mask, threshold),
            pruned_filters=count_channels(mask, threshold),
            notes={**notes, "threshold": threshold},
        )
    return outcomes


def _unlearn(
    defence: Defence, config: OfficialRnpConfig, generator: torch.Generator
) -> tuple[SuspectModel, int, bool]:
    """The unlearned model in train mode, the epochs that it took, and whether it collapsed."""
    model = defence.model.copy().train()
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.unlearn_learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, config.milestones, gamma=0.1)
    count = len(defence.clean)
    for epoch in range(config.unlearn_epochs):
        correct = 0
        for indices in shuffled_batches(count, config.batch_size, generator):
            images = crop_and_flip(defence.clean.images[indices], generator, flips=defence.flips)
            labels = defence.clean.labels[indices].to(model.device)
            logits = model(images)
            correct += int((logits.argmax(1) == labels).sum())
            optimizer.zero_grad()
            (-F.cross_entropy(logits, labels)).backward()
            optimizer.step()
        schedule.step()
        if correct / count <= config.stop_accuracy:
            return model.requires_grad_(False), epoch + 1, True
    return model.requires_grad_(False), config.unlearn_epochs, False


def _recover(
    defence: Defence, unlearned: SuspectModel, config: OfficialRnpConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Mask values of the unlearned model's BatchNorm channels."""
    network = unlearned.copy().train()
    parameters = dict(network.named_parameters())
    mask = {
        name: torch.ones_like(layer.weight).requires_grad_(True)
        for name, layer in batch_norm_layers(network).items()
    }
    optimizer = torch.optim.SGD(
        mask.values(), lr=config.recover_learning_rate, momentum=config.momentum
    )
    for _ in range(config.recover_epochs):
        for indices in shuffled_batches(len(defence.clean), config.batch_size, generator):
            images = crop_and_flip(defence.clean.images[indices], generator, flips=defence.flips)
            masked = {
                f"{name}.weight": parameters[f"{name}.weight"] * values
                for name, values in mask.items()
            }
            logits = functional_call(network, {**parameters, **masked}, (images,))
            labels = defence.clean.labels[indices].to(network.device)
            loss = config.loss_weight * F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for values in mask.values():
                    values.clamp_(0, 1)
    return {name: values.detach().round(decimals=4) for name, values in mask.items()}


def _class_shares(unlearned: SuspectModel, defence: Defence) -> Tensor:
    """Share of the clean images that the unlearned model, in eval mode, predicts as each class."""
    predicted = predict(unlearned.copy(), defence.clean.images)
    return torch.bincount(predicted, minlength=unlearned.num_classes) / len(predicted)


def _by_oracle(sweep: Sequence[Candidate], config: OfficialRnpConfig) -> float | None:
    """The threshold of ``rnp-oracle``, None without a true trigger."""
    before, lowest = sweep[0].test_accuracy, sweep[0].attack_success_rate
    if before is None or lowest is None:
        return None
    best = sweep[0].threshold
    for threshold, _, _, accuracy, success in sweep[1:]:
        assert accuracy is not None and success is not None
        if abs(accuracy - before) < config.oracle_accuracy_ratio * before and success < lowest:
            best, lowest = threshold, success
    return best
