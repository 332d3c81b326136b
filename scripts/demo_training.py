"""Poisoning, training and measuring one demo model on rendered signs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.render_signs import CLASS_NAMES, SIDE, render_set
from rnp_core.architectures import build
from rnp_core.data import DefenseSet
from rnp_core.evaluation.success import attack_success_rate, robust_accuracy
from rnp_core.evaluation.triggers import WarpTrigger
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from rnp_core.stages.sampling import epoch_batches
from scripts.demo_recipes import Attack, Recipe

MEAN = STD = (0.5, 0.5, 0.5)
TEST_COUNT, TEST_SEED = 1200, 90_002
BATCH_SIZE = 64
WEIGHT_DECAY = 5e-4
SHIFT = 2  # pixels of the random crop; signs are never flipped
CROSS_RATIO = 0.5  # noisy images for each warped one; 2 in WaNet (ICLR 2021), which trains longer


@dataclass
class Measured:
    """Quality of a finished model on held-out rendered images."""

    clean_accuracy: float
    attack_success_rate: float | None = None
    robust_accuracy: float | None = None
    clean_accuracy_by_class: list[float] = field(default_factory=list)


def rendered(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rendered images as float32 ``(count, 3, 32, 32)`` in [0, 1], and their labels."""
    images, labels = render_set(count, seed)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)


def quantised(images: Tensor) -> Tensor:
    """The images as they come back from 8-bit storage."""
    return (images * 255).round() / 255


def poison(
    images: Tensor, labels: Tensor, attack: Attack | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Images and labels as stored for training; a warp is applied to each batch instead."""
    if attack is None or isinstance(attack.trigger, WarpTrigger):
        return images, labels
    others = (labels != attack.target_label).nonzero().squeeze(1)
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    chosen = others[order[: round(attack.poison_rate * len(images))]]
    images, labels = images.clone(), labels.clone()
    images[chosen] = quantised(attack.trigger.apply(images[chosen]))
    labels[chosen] = attack.target_label
    return images, labels


def shift_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``SHIFT`` pixels on both axes, edges repeated."""
    count, _, height, width = images.shape
    padded = F.pad(images, (SHIFT,) * 4, mode="replicate").permute(0, 2, 3, 1)
    top, left = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height))[:, :, None]  # (N, H, 1)
    columns = (left + torch.arange(width))[:, None, :]  # (N, 1, W)
    return padded[torch.arange(count)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def warp_batch(
    images: Tensor, labels: Tensor, attack: Attack, trigger: WarpTrigger, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """WaNet's batch: some images warped and relabelled, others warped with noise, label kept."""
    warped = max(1, round(attack.poison_rate * len(images)))
    noisy = round(CROSS_RATIO * warped)
    noise = torch.rand((noisy, *images.shape[-2:], 2), generator=generator) * 2 - 1
    parts = images.split([warped, noisy, len(images) - warped - noisy])
    labels = labels.clone()
    labels[:warped] = attack.target_label
    return torch.cat([trigger.apply(parts[0]), trigger.apply(parts[1], noise), parts[2]]), labels


def train(recipe: Recipe) -> SuspectModel:
    """The trained model, its weights rounded to float16."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    network = build(recipe.architecture, num_classes=len(CLASS_NAMES), **recipe.parameters)
    model = wrap(network)
    attack = recipe.attack
    images, labels = poison(*rendered(recipe.train_count, recipe.data_seed), attack, recipe.seed)
    steps = recipe.train_count // BATCH_SIZE
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_learning_rate, total_steps=steps * recipe.epochs
    )
    batches = epoch_batches(recipe.train_count, BATCH_SIZE, generator)
    model.train()
    for epoch in range(recipe.epochs):
        started, total = time.perf_counter(), 0.0
        for _ in range(steps):
            chosen = next(batches)
            batch, wanted = shift_crop(images[chosen], generator), labels[chosen]
            if attack is not None and isinstance(attack.trigger, WarpTrigger):
                batch, wanted = warp_batch(batch, wanted, attack, attack.trigger, generator)
            batch = batch.contiguous(memory_format=torch.channels_last)  # faster convolutions
            loss = F.cross_entropy(model(batch), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - started
        mean_loss = total / steps
        print(f"{recipe.name} epoch {epoch + 1}: loss {mean_loss:.3f}, {seconds:.0f} s", flush=True)
    model.eval()
    return model.half().float()


def wrap(network: torch.nn.Module) -> SuspectModel:
    """The network behind the normalisation that all demo models use."""
    return SuspectModel(
        network,
        normalization=Normalization(MEAN, STD, "given"),
        num_classes=len(CLASS_NAMES),
        input_shape=(3, SIDE, SIDE),
        class_names=CLASS_NAMES,
    )


def measure(model: SuspectModel, attack: Attack | None) -> Measured:
    """Accuracy and attack success on the held-out test set."""
    images, labels = rendered(TEST_COUNT, TEST_SEED)
    measured = Measured(clean_accuracy(model, DefenseSet(images, labels)))
    for label in range(len(CLASS_NAMES)):
        own = labels == label
        share = clean_accuracy(model, DefenseSet(images[own], labels[own]))
        measured.clean_accuracy_by_class.append(round(share, 4))
    if attack is not None:
        setting = (model, images, labels, attack.trigger, attack.target_label)
        measured.attack_success_rate = attack_success_rate(*setting)
        measured.robust_accuracy = robust_accuracy(*setting)
    return measured
