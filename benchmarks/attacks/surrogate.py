"""What attacks do with a classifier of their own: adversarial images, and the last hidden layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.errors import ConfigError


def require_surrogate(surrogate: nn.Module | None, name: str) -> nn.Module:
    """``surrogate``.

    Raises:
        ConfigError: when it is None.
    """
    if surrogate is None:
        raise ConfigError(f"expected a surrogate classifier for {name}, got none; train one first")
    return surrogate


def adversarial_images(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Untargeted PGD in the maximum norm (Madry et al., ICLR 2018, arXiv 1706.06083).

    Args:
        model: returns logits; in the mode (train or eval) that it is in.
        images: ``(N, C, H, W)`` in [0, 1], with ``labels`` ``(N,)``.
        epsilon: largest change of a value, in [0, 1].
        steps: of size ``2.5 epsilon / steps``; one step is FGSM with a random start.
        generator: of the random start, on the CPU.

    Returns:
        Images in [0, 1], detached. The gradients of the model's weights are untouched.
    """
    start = torch.rand(images.shape, generator=generator).to(images) * 2 - 1
    changed = (images + epsilon * start).clamp(0, 1)
    size = min(2.5 / steps, 1.25) * epsilon
    for _ in range(steps):
        changed = changed.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(model(changed), labels)
        (gradient,) = torch.autograd.grad(loss, changed)
        changed = changed.detach() + size * gradient.sign()
        changed = torch.maximum(torch.minimum(changed, images + epsilon), images - epsilon)
        changed = changed.clamp(0, 1)
    return changed.detach()


def last_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer in the order of definition, which gives the logits.

    Raises:
        ConfigError: when there is none.
    """
    found = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ConfigError("expected a surrogate classifier with a linear layer, got none")
    return found[-1]


def hidden_features(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function from images to what goes into the last linear layer, ``(N, F)``.

    Raises:
        ConfigError: when there is no linear layer.
    """
    layer = last_linear(model)

    def features(images: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
        try:
            model(images)
        finally:
            hook.remove()
        return kept[0]

    return features
