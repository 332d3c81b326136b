"""Vision Transformer (Dosovitskiy et al., ICLR 2021) with torchvision's tensor names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnp_core.architectures.base import Family, Guess, Reading, Shapes

_EPS = 1e-6


class SelfAttention(nn.MultiheadAttention):
    """Attention of tokens ``(N, T, width)`` to each other, with the tensors of
    ``nn.MultiheadAttention``, whose own way backwards copies its weights for every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value)  # (N, heads, T, width / heads)
        found = found.transpose(1, 2).flatten(2)
        return F.linear(found, self.out_proj.weight, self.out_proj.bias)


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each after a LayerNorm and added."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=_EPS)
        self.self_attention = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Position embedding, blocks, LayerNorm."""

    def __init__(self, tokens: int, depth: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        self.layers = nn.Sequential()
        for index in range(depth):
            block = EncoderBlock(width, heads, hidden)
            self.layers.add_module(f"encoder_layer_{index}", block)
        self.ln = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    """Transformer over image patches; see :func:`vit` for the arguments."""

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        depth: int,
        width: int,
        heads: int,
        hidden: int,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        tokens = (image_size // patch_size) ** 2 + 1
        self.conv_proj = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(tokens, depth, width, heads, hidden)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)  # (N, tokens - 1, width)
        token = self.class_token.expand(len(x), -1, -1)
        return self.heads(self.encoder(torch.cat((token, patches), 1))[:, 0])


def vit(
    *,
    image_size: int = 224,
    patch_size: int = 16,
    depth: int = 12,
    width: int = 768,
    heads: int = 12,
    hidden: int = 3072,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> VisionTransformer:
    """A Vision Transformer for images ``(N, in_channels, image_size, image_size)``.

    Args:
        image_size: height and width of the images, in pixels.
        patch_size: height and width of a patch, in pixels.
        depth: encoder blocks.
        width: length of a token.
        heads: attention heads; divides ``width``.
        hidden: width of the perceptron inside a block.
        num_classes: outputs of the last layer.
        in_channels: 1 or 3.
    """
    return VisionTransformer(
        image_size, patch_size, depth, width, heads, hidden, num_classes, in_channels
    )


def _infer(shapes: Shapes) -> Guess | None:
    if "conv_proj.weight" not in shapes or "encoder.pos_embedding" not in shapes:
        return None
    width, in_channels, patch_size, _ = shapes["conv_proj.weight"]
    image_size = round((shapes["encoder.pos_embedding"][1] - 1) ** 0.5) * patch_size
    depth = 0
    while f"encoder.layers.encoder_layer_{depth}.mlp.0.weight" in shapes:
        depth += 1
    usual = _HEADS.get(width, max(1, width // 64))
    options = (usual, *(heads for heads in (12, 8, 6, 4, 3, 16, 2, 1) if heads != usual))
    options = tuple(heads for heads in options if width % heads == 0)
    parameters: dict[str, Any] = {
        "image_size": image_size,
        "patch_size": patch_size,
        "depth": depth,
        "width": width,
        "heads": options[0],
        "hidden": shapes["encoder.layers.encoder_layer_0.mlp.0.weight"][0],
        "num_classes": shapes["heads.head.weight"][0],
        "in_channels": in_channels,
    }
    readings = tuple(Reading(f"{heads} attention heads", {"heads": heads}) for heads in options)
    name = _NAMES.get((width, depth), "vit")
    if name != "vit":
        name = f"{name}_{patch_size}"
    return Guess(name, parameters, in_channels, image_size, readings)


_HEADS = {1280: 16}  # ViT-H/14 has 80 channels a head, the others 64
_NAMES = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
_PRESETS: dict[str, dict[str, Any]] = {
    "vit_b_16": {},
    "vit_b_32": {"patch_size": 32},
    "vit_l_16": {"depth": 24, "width": 1024, "heads": 16, "hidden": 4096},
}

FAMILY = Family("vit", vit, _infer, _PRESETS)
