"""What a family of architectures offers: a builder, and a guess of its arguments from shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor of a state dict by name, in the order of the state dict."""

MAX_STAGES = 8  # no network has more; bounds the work on hostile names


@dataclass(frozen=True)
class Reading:
    """One way to read tensors that fit several networks (activation, pooling, padding).

    Attributes:
        description: what is assumed, in words.
        parameters: keyword arguments of the family's builder that differ from those of the guess.
        input_size: height and width of the images under this reading, in pixels; None when the
            guess's size holds.
    """

    description: str
    parameters: Mapping[str, Any]
    input_size: int | None = None


@dataclass(frozen=True)
class Guess:
    """The arguments with which a family could hold the tensors of a checkpoint.

    Attributes:
        name: the usual name of this member of the family, for example ``"resnet18"``.
        parameters: keyword arguments of the family's builder, ``num_classes`` among them.
        in_channels: channels of the input images.
        input_size: height and width that the tensors imply or that is usual, in pixels.
        readings: the networks that share these tensors, most likely first. Empty when the tensors
            leave nothing open.
    """

    name: str
    parameters: Mapping[str, Any]
    in_channels: int
    input_size: int
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Family:
    """A family of networks with one scheme of tensor names.

    Attributes:
        name: shown in errors, for example ``"resnet"``.
        build: ``build(num_classes=..., **parameters)`` returns the network.
        infer: returns a guess, or None when the names do not look like this family at all. It may
            guess wrongly: the network is compared with the tensors afterwards.
        presets: keyword arguments of ``build`` of each usual name, for example ``"resnet18"``.
    """

    name: str
    build: Callable[..., nn.Module]
    infer: Callable[[Shapes], Guess | None]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def count_indices(shapes: Shapes, prefix: str) -> int:
    """How many children ``prefix0``, ``prefix1``, ... are there, up to the first gap."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)(?:\.|$)")
    found = {int(match[1]) for name in shapes if (match := pattern.match(name))}
    count = 0
    while count in found:
        count += 1
    return count


def stage_depths(shapes: Shapes, template: str) -> tuple[int, ...]:
    """How many children each stage ``template.format(1)``, ``template.format(2)``, ... has."""
    depths: list[int] = []
    while len(depths) < MAX_STAGES:
        depth = count_indices(shapes, template.format(len(depths) + 1))
        if not depth:
            break
        depths.append(depth)
    return tuple(depths)


def square_side(area: int, part: int) -> int | None:
    """The k with ``part * k * k == area``, or None when there is none."""
    if part <= 0 or area % part:
        return None
    side = round((area // part) ** 0.5)
    return side if side * side * part == area and side > 0 else None
