"""The calls of a pickle that rebuild tensors and plain containers, done by our own code.

Every other call stays a :class:`~rnp_core.checkpoints.records.CallRecord`. Nothing is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rnp_core.checkpoints.records import (
    CallRecord,
    GlobalName,
    StorageRef,
    TensorRef,
    plain_key,
)
from rnp_core.errors import CheckpointError

_MAX_DIMENSIONS = 32
_MAX_INTEGER = (1 << 62) - 1

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_DTYPES = {
    "torch.float16": torch.float16,
    "torch.bfloat16": torch.bfloat16,
    "torch.float32": torch.float32,
    "torch.float64": torch.float64,
    "torch.int8": torch.int8,
    "torch.int16": torch.int16,
    "torch.int32": torch.int32,
    "torch.int64": torch.int64,
    "torch.uint8": torch.uint8,
    "torch.bool": torch.bool,
    "torch.float8_e4m3fn": torch.float8_e4m3fn,
    "torch.float8_e5m2": torch.float8_e5m2,
}
STORAGE_MODULES = ("torch", "torch.storage", "torch.cuda")
DTYPE_NAMES = frozenset(_DTYPES)

Charge = Callable[[int], None]


def storage_dtype(value: Any) -> torch.dtype:
    """Element type of a storage class such as ``torch.FloatStorage``.

    Raises:
        CheckpointError: for quantised storages and for anything that is not a storage class.
    """
    if isinstance(value, GlobalName) and value.module in STORAGE_MODULES:
        if value.name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[value.name]
        if value.name.startswith(("Q", "Float8")):
            raise CheckpointError(
                f"the file holds quantised tensors ({value.name}), which are not supported; "
                "give the float checkpoint it was made from"
            )
    raise ValueError("a storage of unknown type")


def integer(value: Any) -> int:
    """``value`` when it is an integer in [0, 2**62).

    Raises:
        ValueError: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
        raise ValueError("a size, stride or offset that is not a small enough integer")
    return value


def rebuild(function: Any, arguments: tuple[Any, ...], *, charge: Charge) -> Any:
    """What calling ``function`` would give, for the known names; else a record of the call.

    Args:
        function: the callee on the pickle's stack.
        arguments: its arguments.
        charge: called with the number of elements before anything is copied.
    """
    known = _KNOWN.get(function.dotted) if isinstance(function, GlobalName) else None
    if known is None:
        return CallRecord(function, arguments)
    return known(arguments, charge)


def _ordered_dict(arguments: tuple[Any, ...], charge: Charge) -> Any:
    if not arguments:
        return {}
    pairs = arguments[0]
    if not isinstance(pairs, (list, tuple)):
        return CallRecord(GlobalName("collections", "OrderedDict"), arguments)
    charge(len(pairs))
    result = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("an ordered dictionary made of something else than pairs")
        result[plain_key(pair[0])] = pair[1]
    return result


def _default_dict(arguments: tuple[Any, ...], charge: Charge) -> Any:
    return {}


def _size(arguments: tuple[Any, ...], charge: Charge) -> Any:
    return _sizes(arguments[0]) if arguments else ()


def _tensor(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """``_rebuild_tensor(storage, offset, size, stride)`` and ``_rebuild_tensor_v2(..., flags)``."""
    storage = arguments[0]
    if not isinstance(storage, StorageRef):
        raise ValueError("a tensor without a storage")
    return _tensor_ref(storage, arguments, storage.dtype)


def _tensor_v3(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """``_rebuild_tensor_v3(storage, offset, size, stride, grad, hooks, dtype)``."""
    storage, dtype = arguments[0], arguments[6]
    if not isinstance(storage, StorageRef) or not isinstance(dtype, GlobalName):
        raise ValueError("a tensor without a storage or type")
    if dtype.dotted not in _DTYPES:
        raise CheckpointError(f"tensors of type {dtype.dotted[:50]!r} are not supported")
    return _tensor_ref(storage, arguments, _DTYPES[dtype.dotted])


def _tensor_ref(storage: StorageRef, arguments: tuple[Any, ...], dtype: torch.dtype) -> TensorRef:
    shape, stride = _sizes(arguments[2]), _sizes(arguments[3])
    if len(shape) != len(stride):
        raise ValueError("a tensor with a different number of sizes and strides")
    return TensorRef(storage, integer(arguments[1]), shape, stride, dtype)


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor shape that is not a tuple of up to {_MAX_DIMENSIONS} integers")
    return tuple(integer(size) for size in value)


def _parameter(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """``_rebuild_parameter(data, requires_grad, hooks)`` and ``Parameter(data, ...)``."""
    if arguments and isinstance(arguments[0], TensorRef):
        return arguments[0]
    raise ValueError("a parameter without a tensor")


def _from_type(arguments: tuple[Any, ...], charge: Charge) -> Any:
    """``_rebuild_from_type_v2(function, type, arguments, state)``: a tensor with attributes."""
    function, _, inner = arguments[:3]
    if not isinstance(inner, tuple):
        raise ValueError("a tensor subclass without arguments")
    if isinstance(function, GlobalName) and function.dotted in _TENSOR_FUNCTIONS:
        return rebuild(function, inner, charge=charge)
    return CallRecord(GlobalName("torch._tensor", "_rebuild_from_type_v2"), arguments)


_TENSOR_FUNCTIONS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}
_KNOWN: dict[str, Callable[[tuple[Any, ...], Charge], Any]] = {
    **_TENSOR_FUNCTIONS,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
}
PLAIN_NAMES = frozenset(_KNOWN) - {"collections.defaultdict"}
