"""Reading a plain CNN or MLP from tensor names and shapes, with every open choice as a variant."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rnp_core.architectures.base import Family, Guess, Reading, Shapes, square_side
from rnp_core.architectures.plain import ACTIVATIONS, POOLS, PRESETS, Layer, image_shape, plain

MAX_READINGS = 24
"""Readings of one image size."""

_LEAVES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
_SIZES = {1: (28, 32, 64), 3: (32, 224, 64, 28, 48, 96, 128)}  # most usual first
_MAX_HALVINGS = 6  # from images of an unusual size to the linear layers
_GEOMETRIES = 3  # of one image size
_MAX_FREE = 6  # up to so many convolutions, every subset of them may be followed by a pool
_MAX_RUNS = 20  # up to so many, also the first or the last ones of them


@dataclass(frozen=True)
class _Geometry:
    """A choice of pools, strides and padding under which the images reach the linear layers."""

    layers: tuple[Layer, ...]
    input_size: int
    pool_size: int | None
    description: str
    cost: float


def _infer(shapes: Shapes) -> Guess | None:
    found = _collect(shapes)
    ordered = next((order for order in _orders(found, shapes) if _is_chain(order)), None)
    if ordered is None:
        return None
    layers, fixed, free, possible = _place_steps(ordered)
    classes = layers[-1].shape[0]
    if layers[0].kind == "linear":
        image = image_shape(layers[0].shape[1])
        if image is None:
            return None
        readings = tuple(Reading(name, {"activation": name}) for name in ACTIVATIONS)
        parameters = {"layers": layers, "num_classes": classes, "in_channels": image[0]}
        return Guess("mlp", parameters, *image, readings if len(layers) > 1 else ())
    channels = layers[0].shape[1]
    best = _geometries(layers, fixed, free) or _geometries(layers, [], possible)
    if not best:
        return None
    chosen = best[0]
    parameters = {
        "layers": chosen.layers,
        "num_classes": classes,
        "in_channels": channels,
        "pool_size": chosen.pool_size,
    }
    kernels = {layer.shape[2] for layer in layers if layer.kind == "conv"}
    name = "lenet" if kernels == {5} else "plain_cnn"
    return Guess(name, parameters, channels, chosen.input_size, _readings(best))


def _collect(shapes: Shapes) -> list[Layer]:
    """The layers in the order of the state dict; empty when a tensor fits no plain layer."""
    tensors: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        path, _, leaf = key.rpartition(".")
        # A name inside a numbered module, such as layer1.0.conv1, is a block: not a plain network.
        if leaf not in _LEAVES or not path or re.search(r"\.\d+\..*[^\d.]", f".{path}"):
            return []
        tensors.setdefault(path, {})[leaf] = shape
    layers = []
    for path, leaves in tensors.items():
        weight = leaves.get("weight", ())
        bias = "bias" in leaves
        if "running_mean" in leaves:
            layers.append(Layer(path, "norm", leaves["running_mean"], bias))
        elif len(weight) == 4:
            layers.append(Layer(path, "conv", weight, bias))
        elif len(weight) == 2:
            layers.append(Layer(path, "linear", weight, bias))
        else:
            return []
    return layers


def _orders(layers: list[Layer], shapes: Shapes) -> Iterator[list[Layer]]:
    """Orders to try: that of the state dict, unless it is sorted by name (then it says nothing)."""
    if list(shapes) != sorted(shapes):
        yield layers
    yield sorted(layers, key=_natural_key)
    yield layers


def _natural_key(layer: Layer) -> tuple[object, ...]:
    words = re.sub(r"conv|bn|norm|batch", "", layer.name.lower())
    parts = [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", words)
        if part not in ("", ".", "_")
    ]
    return (layer.kind == "linear", parts, layer.kind == "norm")


def _is_chain(layers: Sequence[Layer]) -> bool:
    """Whether the output of each layer fits the next one; the last one must be linear."""
    if not layers or layers[-1].kind != "linear" or layers[0].kind == "norm":
        return False
    channels = layers[0].shape[1]
    if layers[0].kind == "conv" and channels not in (1, 3):
        return False
    flat = layers[0].kind == "linear"
    for layer in layers:
        if 0 in layer.shape:
            return False
        if layer.kind == "norm":
            fits = layer.shape == (channels,)
        elif layer.kind == "conv":
            fits = not flat and channels % layer.shape[1] == 0 and layer.shape[2] == layer.shape[3]
        elif flat:
            fits = layer.shape[1] == channels
        else:
            fits, flat = square_side(layer.shape[1], channels) is not None, True
        if not fits:
            return False
        channels = layer.shape[0]
    return True


def _place_steps(
    layers: Sequence[Layer],
) -> tuple[tuple[Layer, ...], list[int], list[int], list[int]]:
    """Activations, and after which layers a pool must (first list) or may (second list) follow, and
    after which one could if these do not lead to the linear layers (third list).

    Inside a ``Sequential`` the free indices between two layers tell: the first one after a
    weight is its activation, the next one a pool, any other is dropout. Before a linear layer one
    more flattens, and a pool there may also be the average over the whole map.
    """
    placed: list[Layer] = []
    fixed: list[int] = []
    free: list[int] = []
    possible: list[int] = []
    activated, spatial = False, True
    for position, layer in enumerate(layers):
        following = layers[position + 1] if position + 1 < len(layers) else None
        if layer.kind != "norm":
            activated = False
        gap = _gap(layer.name, following.name) if following else None
        before_norm = following is not None and following.kind == "norm"
        activate = not activated and (not before_norm if gap is None else gap > 0)
        activated = activated or activate
        placed.append(replace(layer, activate=activate and following is not None))
        spatial = spatial and layer.kind != "linear"
        if not spatial:
            continue
        flattened = following is not None and following.kind == "linear"
        if gap is None and not before_norm:
            free.append(position)
        elif gap is not None and gap - activate - flattened >= 1:
            (free if flattened else fixed).append(position)
        if not before_norm:
            possible.append(position)
    return tuple(placed), fixed, free, possible


def _gap(name: str, following: str) -> int | None:
    """Free indices between two members of the same ``Sequential``; None for other names."""
    parent, _, index = name.rpartition(".")
    other, _, next_index = following.rpartition(".")
    if parent != other or not (index.isdigit() and next_index.isdigit()):
        return None
    gap = int(next_index) - int(index) - 1
    return gap if gap >= 0 else None


def _geometries(
    layers: tuple[Layer, ...], fixed: Sequence[int], free: Sequence[int]
) -> list[_Geometry]:
    """The cheapest ways in which square images reach the first linear layer, for every size of
    images from which there is one; where global pooling hides the size, for the likeliest.
    """
    first_linear = next(layer for layer in layers if layer.kind == "linear")
    convs = [layer for layer in layers if layer.kind == "conv"]
    side = square_side(first_linear.shape[1], convs[-1].shape[0]) or 1
    found: list[_Geometry] = []
    usual = _SIZES[layers[0].shape[1]]
    halved = (side << count for count in range(_MAX_HALVINGS + 1) if side > 1)
    sizes = (*usual, *(size for size in halved if size not in usual))
    choices = itertools.product(enumerate(sizes), _subsets(layers, free), _PADDINGS, (False, True))
    for (rank, size), (subset, irregular), (padding, padding_cost), strided in choices:
        if strided and not subset:
            continue
        candidate = _with_geometry(layers, fixed, subset, padding, strided)
        reached = _trace(candidate, size)
        if reached is None or (reached != side and side != 1):
            continue
        pools = [
            str(sum(item.kind == "conv" for item in layers[: index + 1]))
            for index in sorted([*fixed, *subset])
        ]
        words = "stride 2 in" if strided else "pool after"
        text = f"{padding} padding, {words} convolution {', '.join(pools) or 'none'}"
        cost = 10 * rank + irregular + padding_cost + 2 * strided
        if reached > side and subset and subset[-1] == free[-1]:
            cost += 0.5  # the global pool usually follows the last convolution directly
        pool_size = 1 if side == 1 else None
        found.append(_Geometry(candidate, size, pool_size, f"{text}, {size}x{size} images", cost))
    found.sort(key=lambda geometry: geometry.cost)
    if side == 1:
        return found[:_GEOMETRIES]
    sized = ([g for g in found if g.input_size == size] for size in sizes)
    best = [geometries[:_GEOMETRIES] for geometries in sized if geometries]
    best.sort(key=lambda geometries: geometries[0].cost)
    return list(itertools.chain.from_iterable(best))


_PADDINGS = (("same", 0.0), ("no", 0.5), ("same, then no", 1.0))


def _with_geometry(
    layers: tuple[Layer, ...],
    fixed: Sequence[int],
    subset: Sequence[int],
    padding: str,
    strided: bool,
) -> tuple[Layer, ...]:
    result = list(layers)
    chosen, pooled, last_conv = set(subset), {*fixed} if strided else {*fixed, *subset}, 0
    for index, layer in enumerate(layers):
        if layer.kind == "conv":
            last_conv = index
            padded = padding == "same" or (padding == "same, then no" and index == 0)
            result[index] = replace(layer, padding=layer.shape[2] // 2 if padded else 0)
        if index in chosen and strided:
            result[last_conv] = replace(result[last_conv], stride=2)
        elif index in pooled:
            result[index] = replace(result[index], pool=True)
    return tuple(result)


def _subsets(layers: tuple[Layer, ...], free: Sequence[int]) -> list[tuple[tuple[int, ...], float]]:
    """Subsets of the layers that a pool may follow, each with a cost: regular ones are cheap."""
    widths = [layers[index].shape[0] for index in free]
    run_ends = tuple(
        index
        for place, index in enumerate(free)
        if place + 1 == len(free) or widths[place + 1] != widths[place]
    )
    regular = [tuple(free), run_ends, run_ends[:-1], tuple(free[1::2]), ()]
    costs = {subset: 0.1 * rank for rank, subset in reversed(list(enumerate(regular)))}
    for count in range(len(free) + 1 if len(free) <= _MAX_RUNS else 0):
        costs.setdefault(tuple(free[:count]), 2.0)
        costs.setdefault(tuple(free[len(free) - count :]), 2.0)
    if len(free) <= _MAX_FREE:
        for count in range(len(free) + 1):
            for subset in itertools.combinations(free, count):
                costs.setdefault(subset, 3.0)
    return list(costs.items())


def _trace(layers: Sequence[Layer], size: int) -> int | None:
    """Side of the map that reaches the first linear layer, or None when it shrinks to nothing."""
    for layer in layers:
        if layer.kind == "linear":
            break
        if layer.kind == "conv":
            size = (size + 2 * layer.padding - layer.shape[2]) // layer.stride + 1
        if layer.pool:
            size //= 2
        if size < 1:
            return None
    return size


def _readings(geometries: Sequence[_Geometry]) -> tuple[Reading, ...]:
    """Readings of each image size, those of the likeliest size first."""
    sizes = itertools.groupby(geometries, key=lambda geometry: geometry.input_size)
    return tuple(reading for _, group in sizes for reading in _readings_of_one_size(list(group)))


def _readings_of_one_size(geometries: Sequence[_Geometry]) -> list[Reading]:
    ranked = []
    choices = itertools.product(enumerate(geometries), enumerate(ACTIVATIONS), enumerate(POOLS))
    for (first, geometry), (second, activation), (third, pool) in choices:
        if third and not any(layer.pool for layer in geometry.layers):
            continue
        description = f"{activation}, {pool} pool, {geometry.description}"
        parameters = {
            "layers": geometry.layers,
            "pool_size": geometry.pool_size,
            "activation": activation,
            "pool": pool,
        }
        reading = Reading(description, parameters, geometry.input_size)
        ranked.append((2 * first + second + third, reading))
    ranked.sort(key=lambda item: item[0])
    return [reading for _, reading in ranked[:MAX_READINGS]]


FAMILY = Family("plain", plain, _infer, PRESETS)
