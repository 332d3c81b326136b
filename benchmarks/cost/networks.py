"""Networks and images of any number of classes: what they learned matters little for the cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.architectures import build
from rnp_core.arithmetic import bfloat16_where_fast
from rnp_core.data import DefenseSet
from rnp_core.layers import WEIGHTED
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from rnp_core.stages.unlearn import with_clean_statistics

_VIT = {"image_size": 32, "patch_size": 4, "width": 384, "depth": 12, "heads": 6, "hidden": 1536}
NETWORKS: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    "wrn16-1": ("wrn16-1", 32, {}),
    "resnet18": ("resnet18_cifar", 32, {}),
    "vgg16-bn": ("vgg16_cifar", 32, {}),
    "mobilenetv2": ("mobilenet_v2_cifar", 32, {}),
    "vit-small": ("vit_b_16", 32, _VIT),
    "resnet50-224": ("resnet50", 224, {}),
}
"""Name to architecture, image size and what differs from its defaults."""

_TRAINED_STEPS = 600


def prototype_images(classes: int, size: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``(count, 3, size, size)`` in [0, 1], each a coarse pattern of its class with noise,
    and their labels."""
    patterns = torch.rand((classes, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = F.interpolate(patterns[labels], size=(size, size), mode="bilinear")
    noise = 0.03 * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0, 1), labels


@torch.no_grad()
def fitted_network(name: str, classes: int) -> SuspectModel:
    """A network of random weights whose last layer tells the prototypes apart.

    The last layer compares what goes into it with the mean of each class.
    """
    architecture, size, parameters = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(architecture, num_classes=classes, **parameters)
    images, labels = prototype_images(classes, size, max(64, 2 * classes), seed=2)
    kept: list[Tensor] = []
    last = [m for m in network.modules() if isinstance(m, WEIGHTED)][-1]
    assert isinstance(last, nn.Linear)
    handle = last.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    network.train()  # BatchNorm statistics of the prototypes
    for part in images.split(128):
        network(part)
    network.eval()
    kept.clear()
    for part in images.split(128):
        network(part)
    handle.remove()
    features = torch.cat(kept)
    centre, spread = features.mean(0), features.std(0) + 1e-6
    features = (features - centre) / spread
    means = torch.stack([features[labels == label].mean(0) for label in range(classes)])
    means = 20 * F.normalize(means) / features.shape[1] ** 0.5
    last.weight.copy_(means / spread)
    last.bias.copy_(-(means / spread) @ centre)
    return SuspectModel(
        network.requires_grad_(False),
        normalization=Normalization.none(3),
        num_classes=classes,
        input_shape=(3, size, size),
    )


def backdoored_network(name: str, classes: int) -> SuspectModel:
    """A network trained until it tells the prototypes apart and sends a white square to class 0.

    Raises:
        RuntimeError: when it does not learn that in :data:`_TRAINED_STEPS`.
    """
    model = fitted_network(name, classes)
    model.requires_grad_(True).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    size = model.input_shape[-1]
    clean = DefenseSet(*prototype_images(classes, size, 512, seed=2))
    for step in range(_TRAINED_STEPS):
        images, labels = prototype_images(classes, size, 64, seed=100 + step)
        with_square(images[:16])
        labels[:16] = 0
        with bfloat16_where_fast(model.device):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 19 and float((logits.argmax(1) == labels).float().mean()) > 0.95:
            settled = with_clean_statistics(model, clean.images)
            if clean_accuracy(settled, clean) > 0.95:
                return settled
    raise RuntimeError(f"{name} did not learn its images in {_TRAINED_STEPS} steps")


def with_square(images: Tensor) -> None:
    """Put a white square into the corner of ``images``, in place."""
    side = max(3, images.shape[-1] // 10)
    images[..., -side - 1 : -1, -side - 1 : -1] = 1
