"""Training one model of the zoo from its recipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.attacks import Attack, Setting, make_attack
from benchmarks.attacks.surrogate import adversarial_images
from benchmarks.zoo import augmentation
from benchmarks.zoo.architectures import build_network
from benchmarks.zoo.datasets import TrainingData
from benchmarks.zoo.recipes import Recipe, Style
from rnp_core.acceleration import in_fast_layout
from rnp_core.data import DefenseSet
from rnp_core.model import Normalization, SuspectModel
from rnp_core.stages.sampling import epoch_batches

Log = Callable[[str], None]

FINE_TUNE_FACTOR = 0.2  # of the peak learning rate, once the network was trained before
SURROGATE_SHARE = 0.4  # of the recipe's epochs
ATTACK_LEARNING_RATE = 0.01  # Adam, for networks of the attacker
_SHORTEST = 8  # steps of a schedule


@dataclass(frozen=True)
class Machine:
    """Where and how training runs.

    Attributes:
        device: of the networks.
        bfloat16: mixed precision; for accelerators.
    """

    device: torch.device
    bfloat16: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished model.

    Attributes:
        model: on the CPU in eval mode, its weights rounded to float16.
        attack: as it ended up, on the CPU; None for a clean model.
        train_count: training images.
        poisoned, cover: how many of them the attacker changed; for an attack that poisons batches,
            the mean share of a batch times ``train_count``.
        seconds: wall time, everything included.
        cpu_seconds: time of the process on all cores.
    """

    model: SuspectModel
    attack: Attack | None
    train_count: int
    poisoned: int
    cover: int
    seconds: float
    cpu_seconds: float


def train(recipe: Recipe, data: TrainingData, *, machine: Machine, log: Log) -> Trained:
    """Train the model of ``recipe``; everything random follows from its seed.

    Args:
        log: gets a line of text for each epoch.

    Raises:
        ConfigError: when the recipe's values do not fit each other or the data.
    """
    started = time.perf_counter(), time.process_time()
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        classes = len(data.class_names)
        images = data.train.subset(_chosen(data.train.labels, recipe.style, classes, generator))
        trainer = _Trainer(recipe, data, machine, generator, log)
        attack, poisoned, cover = None, 0, 0
        if recipe.attack is not None:
            attack = trainer.prepared_attack(images)
            if attack.online:
                poisoned = round(attack.poison_rate * len(images))
                cover = round(attack.cover_rate * len(images))
            else:
                changed = attack.poison(images.images, images.labels, generator)
                images = DefenseSet(changed.images, changed.labels)
                poisoned, cover = int(changed.poisoned.sum()), int(changed.cover.sum())
        model = trainer.classifier(images, attack if attack and attack.online else None)
        if attack is not None:
            for network in attack.networks:
                network.cpu().requires_grad_(False)
    model.cpu().eval()
    return Trained(
        model=model.half().float().requires_grad_(False),
        attack=attack,
        train_count=len(images),
        poisoned=poisoned,
        cover=cover,
        seconds=time.perf_counter() - started[0],
        cpu_seconds=time.process_time() - started[1],
    )


def wrap(network: nn.Module, data: TrainingData, classes: int) -> SuspectModel:
    """The network behind the normalisation of the data."""
    mean, std = data.mean_std
    shape = data.train.images.shape
    return SuspectModel(
        network,
        normalization=Normalization(mean, std, "given"),
        num_classes=classes,
        input_shape=(shape[1], shape[2], shape[3]),
    )


@dataclass(frozen=True, eq=False)
class _Trainer:
    recipe: Recipe
    data: TrainingData
    machine: Machine
    generator: torch.Generator
    log: Log

    def prepared_attack(self, images: DefenseSet) -> Attack:
        """The recipe's attack, after it did what it does before poisoning."""
        recipe, shape = self.recipe, images.images.shape
        assert recipe.attack is not None
        setting = Setting(
            (shape[1], shape[2], shape[3]), len(self.data.class_names), seed=recipe.seed
        )
        attack = make_attack(recipe.attack, setting, recipe.parameters)
        for network in attack.networks:
            network.to(self.machine.device)
        surrogate = None
        if attack.needs_surrogate:
            self.log("surrogate")
            epochs = max(1, round(SURROGATE_SHARE * recipe.style.epochs))
            surrogate = self._model(len(self.data.class_names))
            self.fit(surrogate, images, epochs=epochs)
            surrogate.eval().requires_grad_(False)
        return attack.fitted(images.images, images.labels, surrogate, self.generator)

    def classifier(self, images: DefenseSet, attack: Attack | None) -> SuspectModel:
        """The trained model; ``attack`` poisons its batches."""
        style, classes = self.recipe.style, len(self.data.class_names)
        model = self._model(classes)
        if style.pretrain_epochs:
            half = classes // 2
            first = self._model(half)
            rows = torch.nonzero(images.labels < half).flatten()
            self.log("on half of the classes")
            self.fit(first, images.subset(rows), epochs=style.pretrain_epochs)
            own = model.network.state_dict()
            earlier = first.network.state_dict()
            same = {k: v for k, v in earlier.items() if v.shape == own[k].shape}
            model.network.load_state_dict({**own, **same})
        factor = FINE_TUNE_FACTOR if style.pretrain_epochs else 1.0
        self.fit(model, images, epochs=style.epochs, attack=attack, factor=factor)
        return model

    def fit(
        self,
        model: SuspectModel,
        images: DefenseSet,
        *,
        epochs: int,
        attack: Attack | None = None,
        factor: float = 1.0,
    ) -> None:
        """Train ``model`` in place for ``epochs`` passes over ``images``."""
        style = self.recipe.style
        steps = max(1, len(images) // style.batch_size)
        optimizer = _optimizer(model.network, style, factor)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            factor * style.peak_learning_rate,
            total_steps=max(steps * epochs, _SHORTEST),
            pct_start=0.25,
        )
        networks = attack.networks if attack else ()
        weights = [p for network in networks for p in network.parameters() if p.requires_grad]
        attacker = torch.optim.Adam(weights, lr=ATTACK_LEARNING_RATE) if weights else None
        batches = epoch_batches(len(images), style.batch_size, self.generator)
        model.train()
        device = self.machine.device
        pixels, labels = images.images.to(device), images.labels.to(device)
        for epoch in range(epochs):
            total = torch.zeros((), device=device)
            for _ in range(steps):
                rows = next(batches)
                rows = rows.to(device)
                loss = self._loss(model, pixels[rows], labels[rows], attack)
                optimizer.zero_grad()
                if attacker:
                    attacker.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if attacker:
                    attacker.step()
                total += loss.detach()
            self.log(f"epoch {epoch + 1} of {epochs}: loss {float(total) / steps:.3f}")

    def _loss(
        self, model: SuspectModel, images: Tensor, labels: Tensor, attack: Attack | None
    ) -> Tensor:
        style, generator = self.recipe.style, self.generator
        change = augmentation.strong if style.augmentation == "strong" else augmentation.light
        batch = change(images, generator, shift=self.data.shift, flips=self.data.flips)
        if style.robust == "noise":
            batch = augmentation.noisy(batch, style.robust_size, generator)
        own_loss = batch.new_zeros(())
        if attack is not None:
            own_loss = attack.own_loss(batch)
            changed = attack.poison(batch, labels, generator)
            batch, labels = changed.images, changed.labels
        if style.robust == "adversarial":
            batch = adversarial_images(
                model,
                batch,
                labels,
                epsilon=style.robust_size,
                steps=style.robust_steps,
                generator=generator,
            )
        return F.cross_entropy(model(batch), labels) + own_loss

    def _model(self, classes: int) -> SuspectModel:
        network = build_network(self.recipe.architecture, self.recipe.width, num_classes=classes)
        model = in_fast_layout(wrap(network, self.data, classes).to(self.machine.device))
        model.mixed_precision = self.machine.bfloat16
        return model


def _optimizer(network: nn.Module, style: Style, factor: float) -> torch.optim.Optimizer:
    rate = factor * style.peak_learning_rate
    if style.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=style.weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=style.weight_decay
    )


def _chosen(
    labels: Tensor, style: Style, classes: int, generator: torch.Generator
) -> Tensor:
    """Which training images are used, in random order.

    With an imbalance of r, class i of K keeps a share of ``r ** (-rank / (K - 1))`` of its images;
    the ranks are drawn at random (Cui et al., CVPR 2019).
    """
    order = torch.randperm(len(labels), generator=generator)
    if style.imbalance > 1:
        ranks = torch.randperm(classes, generator=generator)
        shares = style.imbalance ** (-ranks / (classes - 1))
        kept = torch.rand(len(labels), generator=generator) < shares[labels[order]]
        order = order[kept]
    return order[: style.train_count]
