"""What a trigger can look like: each kind turns free parameters into a change of the image.

To add a kind, write a class with the members of :class:`TriggerKind` and list it in ``KINDS``.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TriggerKind(Protocol):
    """A family of triggers, batched over labels: L labels are inverted at once."""

    name: str
    learning_rate: float  # of Adam

    def initial_weight(self, shape: tuple[int, int, int]) -> float:
        """Weight of the size in the loss at first, for images of ``shape`` (C, H, W)."""

    def start(
        self, labels: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> list[Tensor]:
        """Free parameters, each of shape ``(L, ...)``, for images of ``shape`` (C, H, W)."""

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """Triggered images; ``images`` is ``(L, B, C, H, W)`` in [0, 1], and so is the result."""

    def size(self, parameters: list[Tensor]) -> Tensor:
        """How large each trigger is, ``(L,)``, differentiable; comparable between labels."""

    def picture(
        self, parameters: list[Tensor], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """For people: masks ``(L, 1, H, W)`` and patterns ``(L, C, H, W)``, both in [0, 1]."""


class PatchKind:
    """A mask and a pattern: ``(1 - mask) * image + mask * pattern`` (Neural Cleanse, Wang et al.,
    S&P 2019, equation 2). Size: L1 norm of the mask, in pixels.

    Differs from Neural Cleanse: the search starts from a mask that covers 60 % of every pixel and
    the size counts little at first, so that the few pixels that matter are found before the mask
    shrinks; from a small mask, a 3x3 trigger is missed at the same budget.
    """

    name = "patch"
    learning_rate = 0.5

    def initial_weight(self, shape: tuple[int, int, int]) -> float:
        """See :class:`TriggerKind`; less for large images, whose masks sum up to more."""
        return 0.003 * min(1.0, 32 * 32 / (shape[1] * shape[2]))

    def start(
        self, labels: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> list[Tensor]:
        """See :class:`TriggerKind`."""
        channels, height, width = shape
        mask = 0.5 + 0.1 * torch.randn((labels, 1, height, width), generator=generator)
        pattern = 0.1 * torch.randn((labels, channels, height, width), generator=generator)
        return [mask, pattern]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """See :class:`TriggerKind`."""
        mask, pattern = (p.sigmoid().unsqueeze(1) for p in parameters)
        return (1 - mask) * images + mask * pattern

    def size(self, parameters: list[Tensor]) -> Tensor:
        """See :class:`TriggerKind`."""
        return parameters[0].sigmoid().sum(dim=(1, 2, 3))

    def picture(
        self, parameters: list[Tensor], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """See :class:`TriggerKind`."""
        return parameters[0].sigmoid(), parameters[1].sigmoid()


class SourceSpecificKind(PatchKind):
    """A patch for images of a few classes only, which others may ignore, as TaCT leaves it (Tang
    et al., USENIX Security 2021). How it is searched: :mod:`rnp_core.stages.source_specific`.
    """

    name = "source-specific"


class AdditiveKind:
    """One image added to every input and clipped, ``clip(image + delta, 0, 1)``, as left by blended
    and additive triggers. Size: root mean square of delta over pixels and channels, in percent of
    the image range."""

    name = "additive"
    learning_rate = 0.01

    def initial_weight(self, shape: tuple[int, int, int]) -> float:
        """See :class:`TriggerKind`."""
        return 0.03

    def start(
        self, labels: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> list[Tensor]:
        """See :class:`TriggerKind`."""
        return [0.02 * torch.randn((labels, *shape), generator=generator)]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """See :class:`TriggerKind`."""
        return (images + parameters[0].unsqueeze(1)).clamp(0, 1)

    def size(self, parameters: list[Tensor]) -> Tensor:
        """See :class:`TriggerKind`."""
        return 100 * (parameters[0].flatten(1).square().mean(1) + 1e-10).sqrt()

    def picture(
        self, parameters: list[Tensor], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """See :class:`TriggerKind`; the pattern is the amplified change around mid grey."""
        delta = parameters[0]
        strength = delta.abs().amax(dim=1, keepdim=True)
        peak = strength.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6)
        return strength / peak, (0.5 + 0.5 * delta / peak).clamp(0, 1)


class WarpKind:
    """A smooth displacement field, the same for every image (WaNet, Nguyen and Tran, ICLR 2021,
    section 3.2): bicubic upsampling of a small control grid. Size: root mean square displacement,
    in percent of the image side."""

    name = "warp"
    learning_rate = 0.3
    control_points = 5

    def initial_weight(self, shape: tuple[int, int, int]) -> float:
        """See :class:`TriggerKind`."""
        return 0.03

    def start(
        self, labels: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> list[Tensor]:
        """See :class:`TriggerKind`; displacements in percent of the side."""
        size = (labels, 2, self.control_points, self.control_points)
        return [torch.randn(size, generator=generator)]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """See :class:`TriggerKind`."""
        labels, batch, channels, height, width = images.shape
        field = self._field(parameters, height, width)
        grid = _identity_grid(height, width).to(field.device) + 0.02 * field
        warped = F.grid_sample(
            images.reshape(-1, channels, height, width),
            grid.repeat_interleave(batch, dim=0),
            padding_mode="border",
            align_corners=True,
        )
        return warped.view_as(images).clamp(0, 1)

    def size(self, parameters: list[Tensor]) -> Tensor:
        """See :class:`TriggerKind`."""
        field = self._field(parameters, 16, 16)
        return (field.square().sum(-1).mean(dim=(1, 2)) + 1e-10).sqrt()

    def picture(
        self, parameters: list[Tensor], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """See :class:`TriggerKind`; the pattern is a warped grid of lines."""
        channels, height, width = shape
        strength = self._field(parameters, height, width).norm(dim=-1).unsqueeze(1)
        lines = torch.ones(1, 1, channels, height, width)
        lines[..., :: max(2, height // 8), :] = 0.2
        lines[..., :, :: max(2, width // 8)] = 0.2
        pattern = self.apply(parameters, lines.expand(len(strength), -1, -1, -1, -1))[:, 0]
        return strength / strength.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6), pattern

    def _field(self, parameters: list[Tensor], height: int, width: int) -> Tensor:
        """Displacement ``(L, H, W, 2)`` (x, y), in percent of the side."""
        field = F.interpolate(
            parameters[0], size=(height, width), mode="bicubic", align_corners=True
        )
        return field.permute(0, 2, 3, 1)


class SinusoidKind(AdditiveKind):
    """An additive trigger that is a plane wave, ``clip(image + a sin(2 pi (u x + v y) + p))``, as
    SIG adds (Barni, Kallas and Tondi, ICIP 2019).

    One parameter row is (v, u, p, a): cycles over the height and over the width, phase in radians,
    and the amplitude in units of :attr:`unit`. A search finds no other frequency than one close to
    where it starts, see :mod:`rnp_core.stages.sinusoids`.
    """

    name = "sinusoid"
    learning_rate = 0.05
    unit = 0.1
    """Amplitude that a 1 in the parameters stands for, so that one rate suits all of them."""

    def start(
        self, labels: int, shape: tuple[int, int, int], generator: torch.Generator
    ) -> list[Tensor]:
        """See :class:`TriggerKind`; up to five cycles either way."""
        cycles = 10 * torch.rand((labels, 2), generator=generator) - 5
        phase = 2 * math.pi * torch.rand((labels, 1), generator=generator)
        return [torch.cat([cycles, phase, torch.ones((labels, 1))], dim=1)]

    def apply(self, parameters: list[Tensor], images: Tensor) -> Tensor:
        """See :class:`TriggerKind`."""
        height, width = images.shape[-2:]
        return super().apply([self._wave(parameters, height, width)], images)

    def size(self, parameters: list[Tensor]) -> Tensor:
        """See :class:`TriggerKind`."""
        return super().size([self._wave(parameters, 32, 32)])

    def picture(
        self, parameters: list[Tensor], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """See :class:`TriggerKind`; the pattern is the amplified wave around mid grey."""
        channels, height, width = shape
        wave = self._wave(parameters, height, width)
        return super().picture([wave.expand(-1, channels, -1, -1)], shape)

    def _wave(self, parameters: list[Tensor], height: int, width: int) -> Tensor:
        """What is added, ``(L, 1, H, W)``."""
        down, across, phase, amplitude = parameters[0][:, :, None, None].unbind(1)
        rows = torch.arange(height, device=down.device).view(1, -1, 1) / height
        columns = torch.arange(width, device=down.device).view(1, 1, -1) / width
        wave = torch.sin(2 * math.pi * (down * rows + across * columns) + phase)
        return (self.unit * amplitude * wave).unsqueeze(1)


def _identity_grid(height: int, width: int) -> Tensor:
    """Sampling grid ``(H, W, 2)`` that leaves an image as it is."""
    xs, ys = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)


KINDS: dict[str, TriggerKind] = {
    kind.name: kind
    for kind in (PatchKind(), AdditiveKind(), WarpKind(), SinusoidKind(), SourceSpecificKind())
}
"""Every kind by name."""
