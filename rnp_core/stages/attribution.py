"""Which pixels a decision rests on, and which pixels drive the pruned filters (captum)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from captum.attr import (
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NeuronIntegratedGradients,
    Occlusion,
)
from torch import Tensor, nn

from rnp_core.arithmetic import repeatable
from rnp_core.errors import ConfigError, DataError, ModelError, RnpError
from rnp_core.model import SuspectModel
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.stages.spatial_layer import SpatialLayer, find_spatial_layer, record_outputs

METHODS = ("integrated_gradients", "grad_cam", "occlusion")
STAGE = "attribute"

_PIXELS_PER_PASS = 128 * 32 * 32  # images per pass through the network: 128 of 32x32, 2 of 224x224
_NO_GRADIENT = "the network passes no gradient from its output back to the image"
_NO_GRID = "no layer with a grid of features, (N, C, h, w) or (N, T, D) with T or T - 1 a square"


@dataclass(frozen=True, eq=False)
class AttributionMaps:
    """One map per image.

    Attributes:
        method: one of ``METHODS``.
        target_labels: ``(N,)`` int64, the class whose logit is explained.
        maps: ``(N, H, W)`` float32, signed: positive pixels raise the logit, negative lower it.
        detail: the settings in words, e.g. the layer that Grad-CAM looked at.
    """

    method: str
    target_labels: Tensor
    maps: Tensor
    detail: str


@dataclass(frozen=True, eq=False)
class Attributions:
    """What :func:`attribute` found: ``by_method``, and ``skipped`` with a reason per method."""

    by_method: Mapping[str, AttributionMaps]
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FilterMaps:
    """What drives chosen filters.

    Attributes:
        filters: layer name to the filters whose activation is explained.
        maps: layer name to ``(N, H, W)`` float32; positive pixels raise the summed activation.
        skipped: layer name to the reason why there is no map.
    """

    filters: Mapping[str, tuple[int, ...]]
    maps: Mapping[str, Tensor]
    skipped: Mapping[str, str]


def attribute(
    model: SuspectModel,
    images: Tensor,
    target_label: int | Tensor,
    *,
    methods: Sequence[str] = METHODS,
    steps: int = 24,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> Attributions:
    """Maps of the pixels that raise or lower the logit of ``target_label``.

    * ``integrated_gradients``: Sundararajan et al. 2017 (arXiv:1703.01365), summed over channels.
      The baseline is a black image, so a map adds up to logit(image) - logit(black), and black
      pixels get 0: a black trigger shows in the other two methods only.
    * ``grad_cam``: Selvaraju et al. 2017 (arXiv:1610.02391) at the last layer with a grid of
      features, enlarged bilinearly. Differs from the paper: no ReLU, so negative values stay.
      For a vision transformer the grid is that of the patch tokens. Skipped without a grid (MLP).
    * ``occlusion``: Zeiler and Fergus 2014 (arXiv:1311.2901). The drop of the logit when a square
      of a sixth of the image's side is painted in the image's mean colour, moved by a tenth of
      the side, averaged over the squares that cover a pixel.

    Methods that need gradients are skipped, with the reason, when the network passes none.
    ``model``, its hooks, gradients and mode, and the global random state stay as they are.

    Args:
        model: copied first.
        images: ``(N, C, H, W)`` float32 in [0, 1].
        target_label: one class index, or ``(N,)`` int64, one for each image.
        methods: names from ``METHODS``, in the order wanted.
        steps: points of the path integral of Integrated Gradients (Gauss-Legendre), at least 2.
        seed: for networks that draw random numbers in their forward pass.
        on_progress: called after each group of images of each method.

    Raises:
        ConfigError: unknown method, target label outside the classes, too few steps.
        DataError: images or labels have the wrong shape or type.
        ModelError: the network raises, or a map has NaN or infinite values.
    """
    _check_images(model, images)
    labels = _labels(model, images, target_label)
    _check_steps(steps)
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise ConfigError(f"unknown attribution methods {unknown}, expected some of {METHODS}")

    with _working_copy(model, images, seed) as (subject, pixels):
        labels = labels.to(pixels.device)
        first = pixels[:2].detach().requires_grad_()
        skipped: dict[str, str] = {}
        runs: dict[str, tuple[_Explain, str]] = {}
        with _network_trouble("the network"):
            differentiable = subject(first).requires_grad
        for method in dict.fromkeys(methods):
            if method == "occlusion":
                runs[method] = _occlusion(subject)
            elif not differentiable:
                skipped[method] = _NO_GRADIENT
            elif method == "integrated_gradients":
                runs[method] = _integrated_gradients(subject, steps)
            else:
                with _network_trouble(method):
                    layer = find_spatial_layer(subject, first, labels[:2])
                if layer is None:
                    skipped[method] = _NO_GRID
                else:
                    runs[method] = _grad_cam(subject, layer)

        results = {}
        counter = _Counter(on_progress, total=len(runs) * len(_groups(pixels)))
        for method, (explain, detail) in runs.items():
            maps = _in_groups(explain, pixels, labels, method, counter)
            results[method] = AttributionMaps(method, labels.cpu(), maps, detail)
    return Attributions(results, skipped)


def attribute_filters(
    model: SuspectModel,
    images: Tensor,
    filters: Mapping[str, Sequence[int]],
    *,
    steps: int = 8,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> FilterMaps:
    """Maps of the pixels that drive chosen filters, for instance those that pruning removed.

    Integrated Gradients (arXiv:1703.01365) of the summed output of the filters instead of a logit
    (captum's ``NeuronIntegratedGradients``), from a black baseline: a map adds up to what the image
    adds to the filters' summed activation over that of a black image.

    Args:
        model: copied first.
        images: ``(N, C, H, W)`` float32 in [0, 1].
        filters: name of a layer, as in ``model.network.named_modules()`` (a convolution, a
            normalisation or a linear layer), to the indices of its output channels.
        steps: points of the path integral (Gauss-Legendre), at least 2.
        seed: for networks that draw random numbers in their forward pass.
        on_progress: called after each group of images of each layer.

    Raises:
        ConfigError: a layer that the network lacks, a filter outside the layer, too few steps.
        DataError: images have the wrong shape or type.
        ModelError: the network raises, or a map has NaN or infinite values.
    """
    _check_images(model, images)
    _check_steps(steps)
    modules = dict(model.network.named_modules())
    missing = sorted(set(filters) - set(modules))
    if missing:
        raise ConfigError(f"the network has no layers {missing}, see network.named_modules()")

    with _working_copy(model, images, seed) as (subject, pixels):
        with _network_trouble("the network"):
            first = pixels[:1].detach().requires_grad_()
            _, outputs = record_outputs(subject, first, list(filters))
        chosen = {name: tuple(int(index) for index in filters[name]) for name in filters}
        skipped: dict[str, str] = {}
        runs: dict[str, _Explain] = {}
        for name, indices in chosen.items():
            if not indices:
                skipped[name] = "no filters chosen"
            elif name not in outputs or outputs[name].ndim < 2:
                skipped[name] = "the layer does not run, or returns no tensor of features"
            elif not outputs[name].requires_grad:
                skipped[name] = "the layer passes no gradient back to the image"
            else:
                dimension = _channel_dimension(modules[name], outputs[name])
                _check_filters(name, indices, outputs[name].shape[dimension])
                runs[name] = _filter_gradients(subject, name, indices, dimension, steps)

        labels = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
        counter = _Counter(on_progress, total=len(runs) * len(_groups(pixels)))
        maps = {
            name: _in_groups(explain, pixels, labels, name, counter)
            for name, explain in runs.items()
        }
    return FilterMaps(chosen, maps, skipped)


_Explain = Callable[[Tensor, Tensor], Tensor]  # images (n, C, H, W), labels (n,) -> (n, H, W)


def _integrated_gradients(model: SuspectModel, steps: int) -> tuple[_Explain, str]:
    captum = IntegratedGradients(model)

    def explain(images: Tensor, labels: Tensor) -> Tensor:
        size = _images_per_pass(images)
        scores = captum.attribute(
            images, baselines=0.0, target=labels, n_steps=steps, internal_batch_size=size
        )
        return scores.sum(dim=1)

    return explain, f"{steps} steps from a black image"


def _grad_cam(model: SuspectModel, layer: SpatialLayer) -> tuple[_Explain, str]:
    module = model.network.get_submodule(layer.name)
    if layer.tokens:  # send the tokens through a stand-in layer that sees them as a grid
        stand_in = nn.Identity()
        module.register_forward_hook(
            lambda _module, _inputs, output: layer.to_tokens(
                output, stand_in(layer.to_grid(output))
            )
        )
        captum = LayerGradCam(model, stand_in)
    else:
        captum = LayerGradCam(model, module)

    def explain(images: Tensor, labels: Tensor) -> Tensor:
        scores = captum.attribute(images, target=labels)  # (n, 1, h, w)
        size = (images.shape[2], images.shape[3])
        return LayerAttribution.interpolate(scores, size, "bilinear").squeeze(1)

    return explain, f"layer {layer.name}, grid {layer.grid[0]} x {layer.grid[1]}"


def _occlusion(model: SuspectModel) -> tuple[_Explain, str]:
    channels, height, width = model.input_shape
    window = tuple(max(1, round(side / 6)) for side in (height, width))
    stride = tuple(max(1, round(side / 10)) for side in (height, width))
    captum = Occlusion(model)

    def explain(images: Tensor, labels: Tensor) -> Tensor:
        images = images.detach()
        scores = captum.attribute(
            images,
            sliding_window_shapes=(channels, *window),
            strides=(channels, *stride),
            baselines=images.mean(dim=(2, 3), keepdim=True).expand_as(images),
            target=labels,
            perturbations_per_eval=max(1, _images_per_pass(images) // len(images)),
        )
        return scores[:, 0]  # the window spans the channels, so they are all equal

    return explain, f"window {window[0]} x {window[1]}, stride {stride[0]} x {stride[1]} pixels"


def _filter_gradients(
    model: SuspectModel, name: str, indices: tuple[int, ...], dimension: int, steps: int
) -> _Explain:
    captum = NeuronIntegratedGradients(model, model.network.get_submodule(name))

    def select(output: Tensor) -> Tensor:
        wanted = torch.tensor(indices, device=output.device)
        return output.index_select(dimension, wanted).flatten(1).sum(dim=1)  # (n,)

    def explain(images: Tensor, labels: Tensor) -> Tensor:
        size = _images_per_pass(images)
        scores = captum.attribute(
            images, select, baselines=0.0, n_steps=steps, internal_batch_size=size
        )
        return scores.sum(dim=1)

    return explain


def _channel_dimension(module: nn.Module, output: Tensor) -> int:
    """1 for (N, C, ...), -1 for (N, ..., C); the layer's own size decides, then its kind."""
    weight = getattr(module, "weight", None)
    count = len(weight) if isinstance(weight, Tensor) and weight.ndim > 0 else output.shape[1]
    preferred = (-1, 1) if isinstance(module, (nn.Linear, nn.LayerNorm)) else (1, -1)
    return next((at for at in preferred if output.shape[at] == count), preferred[0])


class _Counter:
    """Counts finished groups of images and tells the callback."""

    def __init__(self, on_progress: OnProgress, *, total: int) -> None:
        self.on_progress = on_progress
        self.total = total
        self.done = 0

    def advance(self, message: str) -> None:
        self.done += 1
        self.on_progress(Progress(STAGE, self.done, self.total, message))


def _in_groups(
    explain: _Explain, images: Tensor, labels: Tensor, name: str, counter: _Counter
) -> Tensor:
    parts = []
    for group in _groups(images):
        with _network_trouble(name):
            scores = explain(images[group].requires_grad_(), labels[group])
        if not torch.isfinite(scores).all():
            raise ModelError(f"{name}: the network gives NaN or infinite values on these images")
        parts.append(scores.detach().float().cpu())
        counter.advance(name)
    return torch.cat(parts)


def _images_per_pass(images: Tensor) -> int:
    return max(1, _PIXELS_PER_PASS // (images.shape[2] * images.shape[3]), len(images))


def _groups(images: Tensor) -> list[slice]:
    size = max(1, min(32, _PIXELS_PER_PASS // (images.shape[2] * images.shape[3])))
    return [slice(start, start + size) for start in range(0, len(images), size)]


@contextmanager
def _working_copy(
    model: SuspectModel, images: Tensor, seed: int
) -> Iterator[tuple[SuspectModel, Tensor]]:
    """A copy to hook and run, and the images on its device; the random state is put back."""
    subject = model.copy()
    subject.mixed_precision = False  # sums over many small gradients
    module: Any
    for module in subject.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # captum keeps layer outputs, which must not be overwritten
    with repeatable(subject.device, seed), torch.enable_grad():
        yield subject, images.detach().to(subject.device)


@contextmanager
def _network_trouble(what: str) -> Iterator[None]:
    try:
        yield
    except RnpError:
        raise
    except Exception as error:
        raise ModelError(f"{what} raised {type(error).__name__}: {error}") from error


def _check_images(model: SuspectModel, images: Tensor) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(model.input_shape) or not len(images):
        raise DataError(
            f"expected at least one image of shape {tuple(model.input_shape)}, "
            f"got a tensor of shape {tuple(images.shape)}"
        )
    if images.dtype != torch.float32:
        raise DataError(f"expected float32 images, got {images.dtype}")


def _labels(model: SuspectModel, images: Tensor, target_label: int | Tensor) -> Tensor:
    if isinstance(target_label, Tensor):
        labels = target_label
        if labels.shape != (len(images),) or labels.dtype != torch.int64:
            raise DataError(
                f"expected int64 target labels of shape ({len(images)},), "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
    else:
        labels = torch.full((len(images),), target_label, dtype=torch.int64)
    if labels.min() < 0 or labels.max() >= model.num_classes:
        wrong = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise ConfigError(f"expected target labels from 0 to {model.num_classes - 1}, got {wrong}")
    return labels


def _check_steps(steps: int) -> None:
    if steps < 2:
        raise ConfigError(f"expected at least 2 steps, got {steps}")


def _check_filters(name: str, indices: tuple[int, ...], count: int) -> None:
    wrong = [index for index in indices if not 0 <= index < count]
    if wrong:
        raise ConfigError(f"expected filters of {name} from 0 to {count - 1}, got {wrong}")
