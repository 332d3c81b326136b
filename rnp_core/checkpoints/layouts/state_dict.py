"""State dicts, bare or inside the dictionaries that training scripts save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rnp_core.checkpoints.layouts.base import Context, Leaf, Match, count, is_leaf, text
from rnp_core.checkpoints.layouts.modules import is_module, module_state
from rnp_core.checkpoints.records import CallRecord, preview, printable
from rnp_core.checkpoints.result import CheckpointHints
from rnp_core.errors import CheckpointError

# In order of preference: the trained weights before their moving average.
_WEIGHT_KEYS = """
    state_dict model_state_dict model_state model net network net_state_dict netC params
    weights module ema ema_state_dict model_ema state_dict_ema ema_model
    """.split()  # noqa: SIM905
_OTHER_KEYS = frozenset(
    """
    optimizer optimizer_state_dict optim scheduler lr_scheduler scaler amp args config
    hyper_parameters callbacks loops
    """.split()  # noqa: SIM905
)
_NESTING = 6
_BREADTH = 1000


def match_state_dict(root: Any, context: Context) -> Match:
    """The network inside ``root``: a state dict, a pickled module, or a dictionary with one.

    Raises:
        CheckpointError: when there is none, or several and none has a usual name.
    """
    path, value = _Search().find(root, ())
    classes: tuple[str, ...] = ()
    if is_module(value):
        entries, classes = module_state(value, context.limits)
        name = ".".join((*path, "pickled module")) if path else "pickled module"
    else:
        entries = tensor_entries(value)
        name = ".".join(path) or "bare state dict"
    if not entries:
        raise CheckpointError("the network in the file has no tensors")
    hints = replace(_hints(root), module_classes=classes)
    return Match(name, entries, hints)


def tensor_entries(value: Any) -> dict[str, Leaf]:
    """The tensors of a flat mapping, by name; everything else in it is left out."""
    if not isinstance(value, Mapping):
        return {}
    return {key: leaf for key, leaf in value.items() if isinstance(key, str) and is_leaf(leaf)}


class _Search:
    """Finds the one network in a tree. Every object is looked at once, whatever shares it."""

    def __init__(self) -> None:
        self._answers: dict[int, bool] = {}

    def find(self, value: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        if is_module(value):
            return path, value
        if isinstance(value, (list, tuple)):
            value = {str(index): item for index, item in enumerate(value[:10])}
        if isinstance(value, Mapping) and len(path) < _NESTING:
            for key in _WEIGHT_KEYS:
                if key in value and self._holds_network(value[key], len(path)):
                    return self.find(value[key], (*path, key))
            if tensor_entries(value):
                return path, value
            keys = self._candidates(value, len(path))
            if len(keys) == 1:
                return self.find(value[keys[0]], (*path, printable(keys[0][:100])))
            if keys:
                shown = ", ".join(repr(printable(key[:50])) for key in keys[:10])
                raise CheckpointError(
                    f"the file holds several networks ({shown}); save the one to scan on its own"
                )
        raise CheckpointError(_nothing_found(value))

    def _candidates(self, value: Mapping[Any, Any], depth: int) -> list[str]:
        return [
            key
            for key in list(value)[:_BREADTH]
            if isinstance(key, str)
            and key not in _OTHER_KEYS
            and self._holds_network(value[key], depth)
        ]

    def _holds_network(self, value: Any, depth: int) -> bool:
        if is_module(value):
            return True
        if not isinstance(value, Mapping) or depth > _NESTING or "param_groups" in value:
            return False
        if id(value) not in self._answers:
            self._answers[id(value)] = False  # for cycles
            found = bool(tensor_entries(value)) or bool(self._candidates(value, depth + 1))
            self._answers[id(value)] = found
        return self._answers[id(value)]


def _hints(root: Any) -> CheckpointHints:
    if not isinstance(root, Mapping):
        return CheckpointHints()
    architecture = next(
        (found for key in ("arch", "model_name", "architecture") if (found := text(root.get(key)))),
        None,
    )
    classes = next(
        (size for key in ("num_classes", "n_classes") if (size := count(root.get(key)))), None
    )
    return CheckpointHints(architecture=architecture, num_classes=classes)


def _nothing_found(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ", ".join(preview(key, length=50) for key in list(value)[:10])
        found = f"a dictionary with the keys {keys or '(none)'}"
    elif isinstance(value, CallRecord):
        found = f"an object {preview(value, length=80, depth=1)}"
    else:
        found = "one tensor" if is_leaf(value) else type(value).__name__
    return f"expected the weights of a network, got {found}"
