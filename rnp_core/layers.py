"""How a network runs its layers: their order, and which BatchNorm takes which layer's output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnp_core.model import SuspectModel

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTED = (*CONVOLUTIONS, nn.Linear)


@dataclass(frozen=True)
class LayerTrace:
    """One run of a network, by module names as in ``network.named_modules()``.

    Attributes:
        calls: how often each weighted or normalising layer ran, in the order of their first runs.
        norm_of: weighted layer to the BatchNorm that takes its output as it is.
        logits_layer: the layer whose output is the network's, or None.
    """

    calls: dict[str, int]
    norm_of: dict[str, str]
    logits_layer: str | None


@torch.no_grad()
def trace_layers(model: SuspectModel, images: Tensor) -> LayerTrace:
    """Run ``model`` once on a copy and record its layers.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], two are enough.
    """
    duplicate = model.copy()
    outputs: list[tuple[Tensor, int, str]] = []  # kept alive, so that each stays itself
    calls: Counter[str] = Counter()
    norm_of: dict[str, str] = {}

    def source_of(value: object) -> str | None:
        """The layer that last gave ``value``, unless an in-place operation changed it since."""
        found = (o for o in reversed(outputs) if o[0] is value)
        return next((name for tensor, version, name in found if version == _version(tensor)), None)

    def record(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module,
            inputs: tuple[object, ...],
            named_inputs: dict[str, object],
            output: object,
        ) -> None:
            source = source_of(inputs[0] if inputs else named_inputs.get("input"))
            if isinstance(module, BATCH_NORMS) and source is not None:
                norm_of[source] = name
            if isinstance(output, Tensor):
                outputs.append((output, _version(output), name))
            calls[name] += 1

        return hook

    for name, module in duplicate.network.named_modules():
        if isinstance(module, (*BATCH_NORMS, *WEIGHTED, nn.LayerNorm)):
            module.register_forward_hook(record(name), with_kwargs=True)
    logits = duplicate.network_output(images)
    return LayerTrace(dict(calls), norm_of, source_of(logits))


def _version(tensor: Tensor) -> int:
    """How often the tensor was changed in place."""
    return 0 if tensor.is_inference() else tensor._version
