"""What a trigger can look like: each kind turns free parameters into a change of the image."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TriggerKind(Protocol):
    """A family of triggers, batched over labels: L labels are inverted at once."""

    name: str
    initial_weight: float
    learning_rate: float

    def start(self, labels: int, shape: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
        """Free parameters, each of shape ``(L, ...)``, for images of ``shape`` (C, H, W)."""

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """Triggered images; ``images`` is ``(L, B, C, H, W)`` in [0, 1], and so is the result."""

    def size(self, parameters: list[Tensor]) -> Tensor:
        """How large each trigger is, ``(L,)``, differentiable; comparable between labels."""


class PatchKind:
    """A mask and a pattern: ``(1 - mask) * image + mask * pattern`` (Neural Cleanse, Wang et al.,
    S&P 2019, equation 1). Size: L1 norm of the mask, in pixels."""

    name = "patch"
    initial_weight = 0.003
    learning_rate = 0.5

    def start(self, labels: int, shape: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
        channels, height, width = shape
        mask = torch.full((labels, 1, height, width), 0.5)
        mask += 0.1 * torch.randn(mask.shape, generator=generator)
        pattern = 0.1 * torch.randn((labels, channels, height, width), generator=generator)
        return [mask, pattern]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        mask, pattern = (p.sigmoid().unsqueeze(1) for p in parameters)
        return (1 - mask) * images + mask * pattern

    def size(self, parameters: list[Tensor]) -> Tensor:
        return parameters[0].sigmoid().sum(dim=(1, 2, 3))


class AdditiveKind:
    """One image added to every input and clipped: ``clip(image + delta, 0, 1)``, as left by blended
    and additive triggers. Size: L2 norm of delta times ten over the square root of its length, so
    that 10 means a root mean square change of 1."""

    name = "additive"
    initial_weight = 0.05
    learning_rate = 0.01

    def start(self, labels: int, shape: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
        return [0.02 * torch.randn((labels, *shape), generator=generator)]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        return (images + parameters[0].unsqueeze(1)).clamp(0, 1)

    def size(self, parameters: list[Tensor]) -> Tensor:
        delta = parameters[0].flatten(1)
        return 10 * (delta.square().mean(1) + 1e-8).sqrt()


class WarpKind:
    """A smooth displacement field, the same for every image (WaNet, Nguyen and Tran, ICLR 2021,
    section 3.2): bicubic upsampling of a small control grid. Size: root mean square displacement
    in pixels."""

    name = "warp"
    initial_weight = 0.2
    learning_rate = 0.02
    grid = 6

    def start(self, labels: int, shape: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
        flow = 0.05 * torch.randn((labels, 2, self.grid, self.grid), generator=generator)
        self._shape = shape
        return [flow]

    def field(self, parameters: list[Tensor], height: int, width: int) -> Tensor:
        """Displacement ``(L, H, W, 2)`` in pixels (x, y)."""
        flow = F.interpolate(parameters[0] * 10, size=(height, width), mode="bicubic", align_corners=True)
        return flow.permute(0, 2, 3, 1)

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        labels, batch, channels, height, width = images.shape
        flow = self.field(parameters, height, width)
        ys = torch.linspace(-1, 1, height)
        xs = torch.linspace(-1, 1, width)
        identity = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
        scale = torch.tensor([2 / (width - 1), 2 / (height - 1)])
        grid = (identity + flow * scale).clamp(-1, 1).repeat_interleave(batch, dim=0)
        warped = F.grid_sample(images.reshape(-1, channels, height, width), grid, align_corners=True)
        return warped.view_as(images)

    def size(self, parameters: list[Tensor]) -> Tensor:
        flow = self.field(parameters, 16, 16)
        return (flow.square().sum(-1).mean(dim=(1, 2)) + 1e-8).sqrt()
