"""The model under suspicion: one wrapper with normalisation inside and logits out."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnp_core.arithmetic import bfloat16_where_fast
from rnp_core.errors import ConfigError, ModelError


@dataclass(frozen=True)
class Normalization:
    """Channel mean and standard deviation that the network expects, on images in [0, 1].

    Raises:
        ConfigError: when a value is not finite or a standard deviation is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str  # "given", "config", or the name of the preset that was found

    def __post_init__(self) -> None:
        finite = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if not finite or any(value <= 0 for value in self.std):
            raise ConfigError(
                "expected a normalisation of finite means and standard deviations above 0, got "
                f"mean {self.mean} and std {self.std} ({self.source})"
            )

    @staticmethod
    def none(channels: int) -> Normalization:
        return Normalization((0.0,) * channels, (1.0,) * channels, "none")


class SuspectModel(nn.Module):
    """An image classifier that takes images in [0, 1] and returns logits.

    Wraps ``network`` without changing it: normalises the input, takes the logits out of a tuple,
    list or dict, and turns probabilities (a network that ends in softmax) back into logits, since
    ``softmax(log p) = p``.

    Args:
        network: any classifier; called with one ``(N, C, H, W)`` float tensor.
        normalization: applied to the images first.
        num_classes: size of the last dimension of the output.
        input_shape: ``(C, H, W)`` of one image.
        class_names: names by index, or empty.
        returns_probabilities: True when the outputs of ``network`` are probabilities.

    Attributes:
        memory_format: layout in which the network gets its images.
        mixed_precision: whether it computes in bfloat16 where that is fast, see
            :func:`rnp_core.arithmetic.bfloat16_where_fast`.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        normalization: Normalization,
        num_classes: int,
        input_shape: tuple[int, int, int],
        class_names: tuple[str, ...] = (),
        returns_probabilities: bool = False,
    ) -> None:
        super().__init__()
        channels = input_shape[0]
        if len(normalization.mean) != channels or len(normalization.std) != channels:
            raise ModelError(
                f"expected normalisation values for {channels} channel(s), "
                f"got mean of {len(normalization.mean)} and std of {len(normalization.std)}"
            )
        self.network = network
        self.normalization = normalization
        self.num_classes = num_classes
        self.input_shape = input_shape
        self.class_names = class_names
        self.returns_probabilities = returns_probabilities
        self.memory_format = torch.contiguous_format
        self.mixed_precision = False
        mean = torch.tensor(normalization.mean).view(1, -1, 1, 1)
        std = torch.tensor(normalization.std).view(1, -1, 1, 1)
        self.register_buffer("_mean", mean, persistent=False)
        self.register_buffer("_std", std, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it computes; images of any device are brought there."""
        return self._mean.device

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of ``images`` ``(N, C, H, W)`` in [0, 1]."""
        output = self.network_output(images)
        if self.returns_probabilities:
            output = output.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return output.float() if self.mixed_precision else output

    def network_output(self, images: Tensor) -> Tensor:
        """What the bare network returns for ``images``, ``(N, num_classes)``: normalised, in
        :attr:`memory_format`, and out of its container.
        """
        images = images.to(self.device).contiguous(memory_format=self.memory_format)
        normalized = (images - self._mean) / self._std
        with bfloat16_where_fast(self.device) if self.mixed_precision else nullcontext():
            return take_logits(self.network(normalized), self.num_classes)

    def copy(self) -> SuspectModel:
        """A deep copy in eval mode with gradients off; the way every stage starts.

        Weights that a hook computes (``torch.nn.utils.prune``, ``weight_norm``) are plain
        attributes with a history, which ``deepcopy`` refuses; the hook computes those of the copy.
        """
        computed = (value for module in self.modules() for value in vars(module).values()
                    if isinstance(value, Tensor) and not value.is_leaf)  # fmt: skip
        duplicate = copy.deepcopy(self, {id(value): value.detach().clone() for value in computed})
        duplicate.eval()
        duplicate.requires_grad_(False)
        duplicate.zero_grad(set_to_none=True)
        return duplicate

    def class_name(self, label: int) -> str:
        """Name of a class, or its index as text when names are unknown."""
        return self.class_names[label] if label < len(self.class_names) else str(label)


def device_of(model: object) -> torch.device:
    """Where the parameters of a module are; the CPU for one without, and for anything else."""
    tensors = model.parameters() if isinstance(model, nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def take_logits(output: object, num_classes: int | None = None) -> Tensor:
    """The logits inside what a network returns: a tensor, or one in a tuple, list or dict.

    In a container, "logits" counts first, then the first tensor ``(N, num_classes)``, then whatever
    comes first.

    Args:
        num_classes: where it is known; features that are returned too have another width.

    Raises:
        ModelError: when there is no ``(N, K)`` tensor in it.
    """
    if isinstance(output, Tensor):
        if output.ndim != 2:
            raise ModelError(f"expected an output of shape (N, classes), got {tuple(output.shape)}")
        return output
    if isinstance(output, dict) and "logits" in output:
        return take_logits(output["logits"], num_classes)
    parts = list(output.values()) if isinstance(output, dict) else output
    if isinstance(parts, (tuple, list)) and parts:
        fitting = (
            part
            for part in parts
            if isinstance(part, Tensor) and part.ndim == 2 and part.shape[1] == num_classes
        )
        return take_logits(next(fitting, parts[0]), num_classes)
    raise ModelError(
        f"expected the network to return a tensor of logits, got {type(output).__name__}"
    )
