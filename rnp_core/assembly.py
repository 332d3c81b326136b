"""From tensors to a working model: the network, its variant and its normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rnp_core.architectures import Recognised, build, load_callable, recognise
from rnp_core.architectures.plain import image_shape
from rnp_core.architectures.recognise import compare
from rnp_core.data import DefenseSet
from rnp_core.errors import ArchitectureError, ConfigError, DataError, ModelError
from rnp_core.metrics import above_chance, clean_accuracy, clean_loss
from rnp_core.model import Normalization, SuspectModel, device_of
from rnp_core.parts import Parts

NORMALIZATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "mnist": ((0.1307,), (0.3081,)),
}
"""Usual normalisations by name, as (mean, std) of images in [0, 1]."""

_GLANCED = 24  # images for the first look at every variant and normalisation
_SHORTLISTED, _SCREENED = 16, 96  # the best of these, and the images for a second look
_FINALISTS, _BEHIND = 3, 0.1  # so many see every image, unless by then they lose so much more
_DOUBTFUL = 0.2  # share of the way from chance to 1 below which labels and model do not agree
_LISTED_MOVES = 50  # of a class order, in a message
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)

_Tried = tuple[float, int, SuspectModel]
"""Loss on clean images, the number of the trial, and the model."""


@dataclass(frozen=True)
class NetworkPlan:
    """Networks that can hold a checkpoint's tensors, before any image is read.

    Attributes:
        architecture: name for the report.
        num_classes: outputs.
        in_channels: 1 or 3.
        input_size: side of the images in pixels, None when only the images tell.
        variants: (description, builder) of each network that fits.
    """

    architecture: str
    num_classes: int
    in_channels: int
    input_size: int | None
    variants: tuple[tuple[str, Callable[[], nn.Module]], ...]


def plan_network(
    state: Mapping[str, Tensor], *, arch: str | None = None, num_classes: int | None = None
) -> NetworkPlan:
    """Find the networks that fit ``state``.

    Args:
        arch: architecture name, ``torchvision:NAME`` or ``timm:NAME`` where that library is
            installed, or ``FILE.py:CALLABLE`` that the caller trusts; None recognises it.
        num_classes: expected outputs; None takes what the tensors say.

    Raises:
        ArchitectureError: when nothing fits, or the class count differs.
    """
    if arch is not None and ".py:" in arch:
        return _plan_given(state, arch, num_classes, partial(load_callable, arch))
    if arch is not None and ":" in arch:
        return _plan_given(
            state, arch, num_classes, lambda classes: build(arch, num_classes=classes)
        )
    found: Recognised = recognise(state, hint=arch)
    if num_classes is not None and found.num_classes != num_classes:
        raise ArchitectureError(
            f"expected a checkpoint for {num_classes} classes, its last layer has "
            f"{found.num_classes}; set --num-classes {found.num_classes} or leave it out"
        )
    return NetworkPlan(
        architecture=found.name,
        num_classes=found.num_classes,
        in_channels=found.in_channels,
        input_size=found.input_size,
        variants=tuple((v.description, v.build) for v in found.variants),
    )


def _plan_given(
    state: Mapping[str, Tensor],
    arch: str,
    num_classes: int | None,
    make: Callable[[int], nn.Module],
) -> NetworkPlan:
    """The network that ``make`` builds for a number of classes, if it holds ``state``.

    The order of tensors in a file may be alphabetical, so the first and the last layer are those of
    the network.
    """
    weights = [tensor for tensor in state.values() if tensor.ndim in (2, 4)]
    if not weights:
        raise ArchitectureError("expected convolution or linear weights in the checkpoint")
    guess = num_classes or int(weights[-1].shape[0])
    network = make(guess)
    layers = {name: t for name, t in network.state_dict().items() if t.ndim in (2, 4)}
    last = next(reversed(layers), "")
    classes = num_classes or int(state[last].shape[0] if last in state else guess)
    if classes != guess:
        network = make(classes)
    mismatch = compare(state, network)
    if len(mismatch):
        listing = "; ".join(mismatch.lines())
        raise ArchitectureError(f"{arch} does not fit the checkpoint: {listing}")
    variants = (("as given", lambda: network),)
    return NetworkPlan(arch, classes, _image_channels(list(layers.values())), None, variants)


def _image_channels(weights: Sequence[Tensor]) -> int:
    """Channels of the images that a network takes, by its first convolution, or linear layer where
    there is none; 3 where these do not tell.
    """
    convolution = next((weight for weight in weights if weight.ndim == 4), None)
    if convolution is not None:
        return 1 if convolution.shape[1] == 1 else 3
    image = image_shape(int(weights[0].shape[1])) if weights else None
    return image[0] if image else 3


def assemble(
    plan: NetworkPlan,
    state: Mapping[str, Tensor],
    defense_set: DefenseSet,
    *,
    normalization: str | Normalization = "auto",
    class_names: Sequence[str] = (),
) -> SuspectModel:
    """Build the network, load ``state`` strictly, and choose what the tensors leave open.

    Variants (activation, pooling) and, with ``"auto"``, normalisations are tried on the clean
    images; that of the least loss is taken (:func:`rnp_core.metrics.clean_loss`), the earlier one
    in a tie. Accuracies tie often, and with few images a wrong normalisation wins by them.

    Raises:
        ConfigError: for an unknown normalisation name.
        ModelError: when no variant runs on these images, or the outputs are not one per class.
    """
    shape = tuple(defense_set.images.shape[1:])
    choices = _normalizations(normalization, shape[0])
    glance = _screen(defense_set, _GLANCED)
    tried: list[_Tried] = []
    problem = ""
    for _, build_variant in plan.variants:
        if len(plan.variants) > 1 and (trouble := _meta_trouble(build_variant, shape)):
            problem = trouble
            continue
        network = build_variant()
        _load(network, state)
        network.eval()
        for choice in choices:
            model = SuspectModel(
                network,
                normalization=choice,
                num_classes=plan.num_classes,
                input_shape=shape,  # type: ignore[arg-type]
                class_names=tuple(class_names),
            )
            try:
                model.returns_probabilities = _gives_probabilities(model, glance.images[:16])
                tried.append((clean_loss(model, glance), len(tried), model))
            except _FAILURES as error:
                problem = _first_line(error)
    if not tried:
        raise ModelError(
            f"expected {plan.architecture} to run on {shape[0]}x{shape[1]}x{shape[2]} images, "
            f"it fails: {problem}"
        )
    ranked = _ranked(tried)[:_SHORTLISTED]
    if len(ranked) > 1:
        ranked = _ranked(_tried_on(_screen(defense_set), ranked))[:_FINALISTS]
        ranked = [entry for entry in ranked if entry[0] <= ranked[0][0] + _BEHIND]
    if len(ranked) > 1:
        ranked = _ranked(_tried_on(defense_set, ranked))
    best = ranked[0][2]
    with torch.no_grad():
        outputs = best(glance.images[:1]).shape[1]
    if outputs != plan.num_classes:
        raise ModelError(
            f"expected {plan.num_classes} outputs of {plan.architecture}, it gives {outputs}; "
            f"set --num-classes {outputs} if that is right"
        )
    return best.copy()


def _ranked(tried: list[_Tried]) -> list[_Tried]:
    """The least loss first; of equals the one that was tried first."""
    return sorted(tried, key=lambda entry: entry[:2])


def _tried_on(images: DefenseSet, tried: list[_Tried]) -> list[_Tried]:
    return [(clean_loss(model, images), place, model) for _, place, model in tried]


def as_suspect_model(
    model: nn.Module, defense_set: DefenseSet, *, class_names: Sequence[str] = ()
) -> SuspectModel:
    """Wrap any classifier that takes images in [0, 1]; a SuspectModel is copied.

    The copy computes in float32, where the model does.

    Raises:
        DataError: when the images are not of the model's shape.
        ModelError: when the model cannot be copied, does not run on the images, or has fewer than
            two outputs or another number of them than it says.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected a model that is a torch.nn.Module, got {type(model).__name__}")
    shape = tuple(defense_set.images.shape[1:])
    given = isinstance(model, SuspectModel)
    wrapped = model if isinstance(model, SuspectModel) else SuspectModel(
        model,
        normalization=Normalization.none(shape[0]),
        num_classes=2,
        input_shape=shape,  # type: ignore[arg-type]
        class_names=tuple(class_names),
    )
    check_shape(wrapped, defense_set.images, "clean")
    if any(isinstance(module, torch.jit.ScriptModule) for module in wrapped.modules()):
        raise ModelError(
            "expected a network of Python modules, got TorchScript, whose weights a scan cannot "
            "replace; give the module that it was made from"
        )
    try:
        probe = wrapped.copy().float().to(device_of(model))  # the normalisation too
        if not given:
            probe.num_classes = _class_count(probe, defense_set)
        with torch.no_grad():
            outputs = probe(defense_set.images[:8])
    except _FAILURES as error:
        problem = _first_line(error)
        raise ModelError(f"the model fails on the clean images: {problem}") from error
    if outputs.shape[1] < 2:
        raise ModelError(f"expected a classifier of at least 2 classes, got {outputs.shape[1]}")
    if given and outputs.shape[1] != probe.num_classes:
        raise ModelError(
            f"expected {probe.num_classes} outputs, the number of classes of the SuspectModel, "
            f"got {outputs.shape[1]}"
        )
    if not given:
        probe.num_classes = outputs.shape[1]
        probe.returns_probabilities = _gives_probabilities(probe, defense_set.images[:16])
    return probe


def _screen(defense_set: DefenseSet, count: int = _SCREENED) -> DefenseSet:
    """An evenly spaced part of the images, ``count`` to twice as many at most."""
    step = max(1, len(defense_set) // count)
    return defense_set.subset(torch.arange(0, len(defense_set), step))


@torch.no_grad()
def _class_count(model: SuspectModel, defense_set: DefenseSet) -> int:
    """How many classes a network has that nothing else tells about.

    Where it returns several tensors ``(N, K)``, features or a second head beside the logits, the
    labels decide: the count is that of the tensor which agrees with most of them.
    """
    duplicate, outputs = model.copy(), []
    handle = duplicate.network.register_forward_hook(lambda *call: outputs.append(call[-1]))
    with suppress(ModelError):  # of the guess that comes with the model
        duplicate(defense_set.images[:2])
    handle.remove()
    counts = _output_widths(outputs[0])
    screen, best, best_accuracy = _screen(defense_set), model.num_classes, -1.0
    for duplicate.num_classes in counts:
        accuracy = clean_accuracy(duplicate, screen) if len(counts) > 1 else 1.0
        if accuracy > best_accuracy:
            best, best_accuracy = duplicate.num_classes, accuracy
    return best


def _output_widths(output: object) -> list[int]:
    """The K of every tensor ``(N, K)`` of at least two columns among which logits may be."""
    if isinstance(output, Tensor):
        return [output.shape[1]] if output.ndim == 2 and output.shape[1] > 1 else []
    if isinstance(output, dict) and "logits" in output:
        return _output_widths(output["logits"])
    parts = list(output.values()) if isinstance(output, dict) else output
    if not isinstance(parts, (tuple, list)) or not parts:
        return []
    widths = [width for part in parts if isinstance(part, Tensor) for width in _output_widths(part)]
    return list(dict.fromkeys(widths)) or _output_widths(parts[0])


def check_shape(model: SuspectModel, images: Tensor, which: str) -> None:
    """See that ``images`` ``(N, C, H, W)`` have the shape that ``model`` takes.

    Args:
        which: what they are, for the message: "clean" or "suspect".

    Raises:
        DataError: when they have another one.
    """
    wanted, got = tuple(model.input_shape), tuple(images.shape[1:])
    if got != wanted:
        raise DataError(f"expected {which} images of shape {wanted}, that of the model, got {got}")


def check_labels(
    model: SuspectModel, defense_set: DefenseSet, predicted: Tensor
) -> str | None:
    """A sentence when the labels do not fit the model, else None.

    Args:
        predicted: ``(N,)`` classes that ``model`` gives the clean images.

    Raises:
        DataError: when a label is outside the classes.
        ModelError: when the outputs are not finite.
    """
    largest = int(defense_set.labels.max())
    if largest >= model.num_classes:
        raise DataError(
            f"expected labels below {model.num_classes}, the number of classes of the model, "
            f"got {largest}"
        )
    some = defense_set.images[:64]
    with torch.no_grad():
        finite = Parts(len(some)).run(lambda part: model(some[part]).isfinite().all(), len(some))
        if not all(finite):
            raise ModelError("the model gives NaN or infinite outputs on the clean images")
    accuracy = float((predicted == defense_set.labels).float().mean())
    if accuracy >= above_chance(_DOUBTFUL, model.num_classes):
        return None
    fitting = _fitting_share(predicted, defense_set.labels)
    hint = "check the normalisation and the class order"
    if fitting >= 0.5 and fitting > 2 * accuracy:
        order = _best_order(predicted, defense_set.labels).items()
        moved = [f"{label}->{index}" for label, index in sorted(order) if label != index]
        rest = f" and {len(moved) - _LISTED_MOVES} more" if len(moved) > _LISTED_MOVES else ""
        hint = (
            f"the class order looks different: {fitting:.0%} fit after relabelling "
            f"{', '.join(moved[:_LISTED_MOVES])}{rest}"
        )
    return (
        f"The model gets {accuracy:.0%} of the clean images right, near chance "
        f"({1 / model.num_classes:.0%}); {hint}."
    )


def _normalizations(wanted: str | Normalization, channels: int) -> list[Normalization]:
    if isinstance(wanted, Normalization):
        return [wanted]
    if wanted != "auto" and wanted not in NORMALIZATIONS:
        raise ConfigError(
            f"expected a normalisation among auto, {', '.join(NORMALIZATIONS)}, got {wanted!r}"
        )
    names = list(NORMALIZATIONS) if wanted == "auto" else [wanted]
    found = []
    for name in names:
        mean, std = NORMALIZATIONS[name]
        if wanted == "auto" and len(mean) != channels and len(set(mean)) > 1:
            continue  # colour statistics say nothing about grey images
        if wanted == "auto" and channels == 3 and len(mean) == 1:
            continue
        found.append(Normalization(_fit(mean, channels), _fit(std, channels), name))
    return found


def _fit(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Values for ``channels``: repeated from one, or averaged to one."""
    if len(values) == channels:
        return values
    return (sum(values) / len(values),) * channels


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    missing, unexpected = network.load_state_dict(dict(state), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ArchitectureError(
            f"the checkpoint does not fit: missing {sorted(missing)}, "
            f"unexpected {sorted(unexpected)}"
        )


@torch.no_grad()
def _meta_trouble(build_variant: Callable[[], nn.Module], shape: tuple[int, ...]) -> str:
    """Why a network does not run on images of a shape, found without memory or work; else empty."""
    try:
        with torch.device("meta"):
            build_variant().eval()(torch.empty(2, *shape))
    except _FAILURES as error:
        return _first_line(error)
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@torch.no_grad()
def _gives_probabilities(model: SuspectModel, images: Tensor) -> bool:
    """Whether the bare network returns rows in [0, 1] that sum to 1."""
    outputs = model.network_output(images).float()
    in_range = bool(((outputs >= 0) & (outputs <= 1)).all())
    return in_range and bool(torch.allclose(outputs.sum(1), torch.ones(len(outputs)), atol=1e-3))


def _fitting_share(predicted: Tensor, labels: Tensor) -> float:
    """The accuracy after the best relabelling, found on every other image of each label and
    measured on those between them, and the other way round: chance alone fits no order.
    """
    by_label = labels.argsort(stable=True)
    halves, hits = (by_label[0::2], by_label[1::2]), 0
    for half, other in (halves, halves[::-1]):
        order = _best_order(predicted[half], labels[half])
        pairs = zip(labels[other].tolist(), predicted[other].tolist(), strict=True)
        hits += sum(order.get(label) == index for label, index in pairs)
    return hits / len(labels)


def _best_order(predicted: Tensor, labels: Tensor) -> dict[int, int]:
    """Label to the output that fits it, no output twice; the commonest pairs choose first."""
    pairs, counts = torch.stack((labels, predicted), 1).unique(dim=0, return_counts=True)
    order: dict[int, int] = {}
    for label, index in pairs[counts.argsort(descending=True, stable=True)].tolist():
        if label not in order and index not in order.values():
            order[label] = index
    return order
