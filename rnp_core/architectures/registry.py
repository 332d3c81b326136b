"""The families, and building a network by name."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from rnp_core.architectures import (
    convnext,
    densenet,
    densenet_cifar,
    efficientnet,
    mobilenet,
    mobilenet_cifar,
    plain_guess,
    preact_resnet,
    resnet,
    vgg,
    vit,
    wide_resnet,
)
from rnp_core.architectures.base import Family
from rnp_core.errors import ArchitectureError

FAMILIES: tuple[Family, ...] = (
    resnet.FAMILY,
    preact_resnet.FAMILY,
    wide_resnet.FAMILY,
    vgg.FAMILY,
    mobilenet.FAMILY,
    mobilenet_cifar.FAMILY,
    densenet.FAMILY,
    densenet_cifar.FAMILY,
    efficientnet.FAMILY,
    convnext.FAMILY,
    vit.FAMILY,
    plain_guess.FAMILY,  # the most general one, so it comes last
)


def list_architectures() -> tuple[str, ...]:
    """Every name that :func:`build` knows, sorted, without those of torchvision and timm."""
    return tuple(sorted(name for family in FAMILIES for name in family.presets))


def build(name: str, *, num_classes: int, **parameters: Any) -> nn.Module:
    """A network with random weights.

    Args:
        name: one of :func:`list_architectures`, ``"torchvision:NAME"`` or ``"timm:NAME"``; the
            last two need that library.
        num_classes: outputs of the last layer.
        parameters: further arguments of the family's builder, such as ``in_channels``.

    Raises:
        ArchitectureError: when the name is unknown, its library is missing, or the arguments do
            not fit.
    """
    library, _, model = name.partition(":")
    if model:
        return _build_from_library(library, model, num_classes, parameters)
    for family in FAMILIES:
        if name in family.presets:
            arguments = {**family.presets[name], "num_classes": num_classes, **parameters}
            try:
                return family.build(**arguments)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ArchitectureError(f"cannot build {name}: {error}") from error
    known = ", ".join(list_architectures())
    raise ArchitectureError(
        f"expected the name of an architecture, got {name!r}. Known: {known}; also "
        "torchvision:NAME and timm:NAME where these libraries are installed"
    )


def _build_from_library(
    library: str, model: str, num_classes: int, parameters: dict[str, Any]
) -> nn.Module:
    if library not in ("torchvision", "timm"):
        raise ArchitectureError(f"expected torchvision:NAME or timm:NAME, got {library}:{model}")
    try:
        module = importlib.import_module("timm" if library == "timm" else "torchvision.models")
    except Exception as error:  # a build that does not fit torch raises RuntimeError
        raise ArchitectureError(
            f"{library}:{model} needs {library}, which cannot be imported ({error}); install it"
        ) from error
    try:
        if library == "timm":
            return module.create_model(
                model, pretrained=False, num_classes=num_classes, **parameters
            )
        return module.get_model(model, weights=None, num_classes=num_classes, **parameters)
    except Exception as error:  # whatever the library raises for a wrong name or argument
        raise ArchitectureError(f"{library} cannot build {model}: {error}") from error
