"""A network from a file of the caller's own: code that the caller trusts."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from rnp_core.errors import ArchitectureError, reason_of


def load_callable(reference: str, num_classes: int) -> nn.Module:
    """Import a file, call a function or class of it, and return the network.

    The file's code runs with the rights of this process: name only code that you trust. Its own
    folder is first on the import path while it is imported, and not afterwards.

    Args:
        reference: ``"FILE.py:CALLABLE"``. The callable gets ``num_classes=...`` if it takes that
            name (or ``**kwargs``), else no arguments.
        num_classes: outputs that the network should have.

    Raises:
        ArchitectureError: when the reference is malformed, the file cannot be read, the name does
            not exist, the code raises, or the result is not a ``torch.nn.Module``.
    """
    path_text, _, name = reference.rpartition(":")
    path = Path(path_text)
    if not name or path.suffix != ".py":
        raise ArchitectureError(f"expected FILE.py:CALLABLE, got {reference!r}")
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ArchitectureError(
            f"cannot read the Python file {path}: {reason_of(error)}"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise ArchitectureError(f"expected a Python file, got {path}, which is none")
    module = _import_file(path.resolve())
    function = getattr(module, name, None)
    if not callable(function):
        found = "nothing of that name" if function is None else type(function).__name__
        raise ArchitectureError(f"expected a function or class {name} in {path}, got {found}")
    arguments = {"num_classes": num_classes} if _takes(function, "num_classes") else {}
    try:
        network = function(**arguments)
    except (Exception, SystemExit) as error:  # the caller's code may raise anything
        raise ArchitectureError(f"{reference} raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ArchitectureError(
            f"expected {reference} to return a torch.nn.Module, got {type(network).__name__}"
        )
    return network


def _import_file(path: Path) -> object:
    name = f"rnp_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArchitectureError(f"cannot import {path} as Python")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the caller's code may raise anything
        del sys.modules[name]
        raise ArchitectureError(
            f"importing {path} raised {type(error).__name__}: {error}"
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # the code may have removed it itself
            sys.path.remove(folder)
    return module


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some callables written in C have no signature
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
