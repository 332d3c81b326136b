"""The state dict of a pickled network, taken out of its records without building it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnp_core.checkpoints.layouts.base import Leaf, is_leaf, text
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.records import CallRecord
from rnp_core.errors import CheckpointError

_CLASSES_KEPT = 1000


def is_module(value: Any) -> bool:
    """Whether ``value`` is the record of an ``nn.Module``: its state has a map of parameters."""
    attributes = module_attributes(value)
    return isinstance(attributes.get("_parameters"), Mapping) and "_modules" in attributes


def module_attributes(value: Any) -> Mapping[Any, Any]:
    """The instance dictionary of a record, or an empty map."""
    if not isinstance(value, CallRecord):
        return {}
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:
        state = state[0]  # (dictionary, slots)
    return state if isinstance(state, Mapping) else {}


def module_state(root: CallRecord, limits: ReadLimits) -> tuple[dict[str, Leaf], tuple[str, ...]]:
    """Parameters and persistent buffers of a pickled module, as ``state_dict()`` orders them.

    Returns:
        The leaves by name, and the class names of all modules in order of appearance.

    Raises:
        CheckpointError: when modules contain themselves or are nested deeper than the limits.
    """
    entries: dict[str, Leaf] = {}
    classes: dict[str, None] = {}
    visits = 0

    def visit(record: Any, prefix: str, depth: int) -> None:
        nonlocal visits
        visits += 1
        if depth > limits.depth or visits > limits.tensors:
            raise CheckpointError("the modules of the pickled network are nested without end")
        attributes = module_attributes(record)
        if len(classes) < _CLASSES_KEPT and (name := text(record.class_name)):
            classes.setdefault(name)
        collect(attributes.get("_parameters"), prefix, ())
        transient = _transient(attributes.get("_non_persistent_buffers_set"))
        collect(attributes.get("_buffers"), prefix, transient)
        children = attributes.get("_modules")
        for name, child in children.items() if isinstance(children, Mapping) else ():
            if isinstance(child, CallRecord) and isinstance(name, str):
                visit(child, f"{longer(prefix, name)}.", depth + 1)

    def collect(mapping: Any, prefix: str, skipped: tuple[Any, ...]) -> None:
        for name, value in mapping.items() if isinstance(mapping, Mapping) else ():
            if isinstance(name, str) and name not in skipped and is_leaf(value):
                entries[longer(prefix, name)] = value

    def longer(prefix: str, name: str) -> str:
        """Checked before it is made: one long text may be shared by many modules."""
        if len(prefix) + len(name) > limits.name_length:
            raise CheckpointError(
                f"expected tensor names of at most {limits.name_length} characters, got more"
            )
        return prefix + name

    visit(root, "", 0)
    return entries, tuple(classes)


def _transient(value: Any) -> tuple[Any, ...]:
    """Names of the buffers that are not saved; a set is a list, or a call of ``set`` on one."""
    if isinstance(value, CallRecord) and value.args:
        value = value.args[0]
    return tuple(value) if isinstance(value, (list, tuple)) and len(value) < 1000 else ()
