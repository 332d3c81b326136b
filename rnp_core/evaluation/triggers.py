"""True triggers, as attackers apply them; each is a small value with ``apply`` and a JSON form."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rnp_core.errors import DataError


class TrueTrigger(Protocol):
    """Something that turns clean images into triggered ones."""

    kind: ClassVar[str]

    def apply(self, images: Tensor) -> Tensor:
        """Triggered copies of ``images`` ``(N, C, H, W)`` in [0, 1]."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON form that :func:`trigger_from_dict` reads back."""


@dataclass(frozen=True, eq=False)
class PatchTrigger:
    """Replaces a rectangle (BadNets, Gu et al., 2017).

    Attributes:
        top, left: first row and column of the rectangle.
        values: ``(h, w)`` or ``(C, h, w)`` in [0, 1].
    """

    top: int
    left: int
    values: Tensor
    kind: ClassVar[str] = "patch"

    def apply(self, images: Tensor) -> Tensor:
        """See :class:`TrueTrigger`.

        Raises:
            DataError: when the rectangle is not inside the images.
        """
        bottom, right = self.top + self.values.shape[-2], self.left + self.values.shape[-1]
        outside = bottom > images.shape[-2] or right > images.shape[-1]
        if outside or min(self.top, self.left) < 0:
            raise DataError(
                f"expected images that hold a patch of rows {self.top} to {bottom - 1} and columns "
                f"{self.left} to {right - 1}, got {images.shape[-2]}x{images.shape[-1]} pixels"
            )
        triggered = images.clone()
        triggered[..., self.top : bottom, self.left : right] = self.values
        return triggered

    def to_dict(self) -> dict[str, Any]:
        """See :class:`TrueTrigger`."""
        return {
            "kind": self.kind,
            "top": self.top,
            "left": self.left,
            "values": self.values.tolist(),
        }


@dataclass(frozen=True, eq=False)
class BlendTrigger:
    """Blends an image over the whole input (Chen et al., 2017): ``(1 - ratio) x + ratio image``.

    Attributes:
        image: ``(C, H, W)`` in [0, 1].
        ratio: weight of the image, (0, 1].
    """

    image: Tensor
    ratio: float
    kind: ClassVar[str] = "blend"

    def apply(self, images: Tensor) -> Tensor:
        """See :class:`TrueTrigger`."""
        return (1 - self.ratio) * images + self.ratio * self.image

    def to_dict(self) -> dict[str, Any]:
        """See :class:`TrueTrigger`."""
        return {"kind": self.kind, "ratio": self.ratio, "image": _to_text(self.image)}


@dataclass(frozen=True, eq=False)
class AdditiveTrigger:
    """Adds an image and clips: ``clip(x + delta, 0, 1)`` (Zeng et al., ICLR 2022, and others).

    Attributes:
        delta: ``(C, H, W)`` in [0, 1].
    """

    delta: Tensor
    kind: ClassVar[str] = "additive"

    def apply(self, images: Tensor) -> Tensor:
        """See :class:`TrueTrigger`."""
        return (images + self.delta).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """See :class:`TrueTrigger`."""
        return {"kind": self.kind, "delta": _to_text(self.delta)}


@dataclass(frozen=True)
class SinusoidTrigger:
    """Adds vertical stripes and clips (SIG, Barni et al., ICIP 2019, equation 2).

    Attributes:
        amplitude: of the sine, in image units [0, 1]; the paper uses 20 / 255.
        frequency: periods over the width; the paper uses 6.
    """

    amplitude: float = 20 / 255
    frequency: float = 6.0
    kind: ClassVar[str] = "sinusoid"

    def apply(self, images: Tensor) -> Tensor:
        """See :class:`TrueTrigger`."""
        width = images.shape[-1]
        wave = torch.sin(2 * torch.pi * self.frequency * torch.arange(width) / width)
        return (images + self.amplitude * wave).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """See :class:`TrueTrigger`."""
        return {"kind": self.kind, "amplitude": self.amplitude, "frequency": self.frequency}


@dataclass(frozen=True, eq=False)
class WarpTrigger:
    """A fixed smooth warp (WaNet, Nguyen and Tran, ICLR 2021, section 3.2).

    Attributes:
        control: ``(2, k, k)`` control grid with mean absolute value 1, as ``psi([-1, 1])`` there.
        strength: s of the paper; a control value c moves a point by about ``s * c / 2`` pixels,
            whatever the image size.
    """

    control: Tensor
    strength: float = 0.5
    kind: ClassVar[str] = "warp"

    @staticmethod
    def random(*, k: int = 4, strength: float = 0.5, seed: int = 0) -> WarpTrigger:
        """A random control grid of size ``k``."""
        generator = torch.Generator().manual_seed(seed)
        control = torch.rand((2, k, k), generator=generator) * 2 - 1
        return WarpTrigger(control / control.abs().mean(), strength)

    def grid(self, height: int, width: int, noise: Tensor | None = None) -> Tensor:
        """Sampling grid ``(1 or N, H, W, 2)``; ``noise`` ``(N, H, W, 2)`` in [-1, 1] is WaNet's
        noise mode."""
        flow = F.interpolate(
            self.control[None], size=(height, width), mode="bicubic", align_corners=True
        ).permute(0, 2, 3, 1)
        columns, rows = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
        identity = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (H, W, 2)
        grid = identity + self.strength * flow / height
        if noise is not None:
            grid = grid + noise / height
        return grid.clamp(-1, 1)

    def apply(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """See :class:`TrueTrigger`; ``noise`` as in :meth:`grid`."""
        grid = self.grid(images.shape[-2], images.shape[-1], noise).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, grid, align_corners=True).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """See :class:`TrueTrigger`."""
        return {"kind": self.kind, "strength": self.strength, "control": self.control.tolist()}


def trigger_from_dict(data: dict[str, Any]) -> TrueTrigger:
    """The trigger that ``to_dict`` wrote.

    Raises:
        DataError: for an unknown kind.
    """
    kind = data.get("kind")
    if kind == "patch":
        return PatchTrigger(
            data["top"], data["left"], torch.tensor(data["values"], dtype=torch.float32)
        )
    if kind == "blend":
        return BlendTrigger(_from_text(data["image"]), data["ratio"])
    if kind == "additive":
        return AdditiveTrigger(_from_text(data["delta"]))
    if kind == "sinusoid":
        return SinusoidTrigger(data["amplitude"], data["frequency"])
    if kind == "warp":
        return WarpTrigger(torch.tensor(data["control"], dtype=torch.float32), data["strength"])
    raise DataError(
        f"expected a trigger kind among patch, blend, additive, sinusoid and warp, got {kind!r}"
    )


def trigger_from_card(card_path: Path) -> tuple[TrueTrigger, int] | None:
    """Trigger and target label of a shared checkpoint's ``card.json``; None when it has none.

    Raises:
        DataError: for a trigger description of an unknown form.
    """
    card = json.loads(card_path.read_text())
    trigger, target = card.get("trigger"), card.get("target")
    if trigger is None or target is None:
        return None
    if trigger["kind"] == "patch":
        (top, bottom), (left, right) = trigger["rows"], trigger["cols"]
        values = torch.as_tensor(trigger["value"], dtype=torch.float32)
        shape = (bottom - top + 1, right - left + 1)
        return PatchTrigger(top, left, values.expand(shape).clone()), target
    if trigger["kind"] == "additive image":
        with Image.open(card_path.parent / trigger["file"]) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        return AdditiveTrigger(torch.from_numpy(pixels).permute(2, 0, 1)), target
    raise DataError(
        f"expected a patch or an additive image in {card_path}, got {trigger['kind']!r}"
    )


def _to_text(image: Tensor) -> str:
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _from_text(text: str) -> Tensor:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
