"""The two small networks that draw an input-aware trigger."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SHARPNESS = 4.0  # of the mask's sigmoid; pushes its values to 0 and 1


class TriggerNetwork(nn.Module):
    """A convolutional encoder and decoder ``(N, C, H, W) -> (N, outputs, H, W)`` in [0, 1].

    GroupNorm in place of the paper's BatchNorm: the trigger of an image does not depend on the
    other images of its batch.

    Args:
        in_channels: of the images.
        outputs: channels of the result.
        width: channels of the first stage; the next two have twice and four times as many.
        sharpness: factor before the sigmoid.
    """

    def __init__(self, in_channels: int, outputs: int, width: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.layers = nn.Sequential(
            *_block(in_channels, width),
            nn.MaxPool2d(2),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 4 * width),
            nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
            *_block(4 * width, 2 * width),
            nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
            *_block(2 * width, width),
            nn.Conv2d(width, outputs, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Values in [0, 1]; height and width must be multiples of 4."""
        return torch.sigmoid(self.sharpness * self.layers(images * 2 - 1))


def pattern_network(channels: int, width: int) -> TriggerNetwork:
    """Draws the colours of a trigger."""
    return TriggerNetwork(channels, channels, width)


def mask_network(channels: int, width: int) -> TriggerNetwork:
    """Draws where the trigger lies."""
    return TriggerNetwork(channels, 1, width, _SHARPNESS)


def _block(before: int, after: int) -> tuple[nn.Module, ...]:
    return (nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(min(4, after), after), nn.ReLU())
