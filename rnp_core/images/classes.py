"""From names of class folders to class indices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rnp_core.checkpoints.records import printable
from rnp_core.errors import DataError


@dataclass(frozen=True)
class ClassMap:
    """Class indices of folders.

    Attributes:
        indices: class index by folder name.
        names: name of each class index, or empty when the folders are numbers.
        warnings: what was assumed.
    """

    indices: dict[str, int]
    names: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def match_class_folders(
    folders: Sequence[str], *, class_names: Sequence[str] | None, num_classes: int | None
) -> ClassMap:
    """Give every folder a class index.

    1. With ``class_names``, a folder belongs to the class of its name; case, spaces, ``_`` and
       ``-`` make no difference. Classes may lack a folder. Two classes may share a name (as
       "crane" in ImageNet) unless a folder has it.
    2. Else, when all names are whole numbers (``00000``, ``00001``, ... as in GTSRB), the number is
       the class index, counted from 0; classes may lack a folder. Numbers beyond the last index
       are taken in numerical order instead when there is one for each class, as in 1 to 10 for 10.
    3. Else, folders are numbered in sorted order, and there must be one for each class (an empty
       folder counts).

    Raises:
        DataError: for folders that fit no class, or two that fit one; the message names them.
    """
    if class_names is not None:
        _refuse_ambiguous(folders, class_names)
        matched, unknown = _by_name(folders, class_names)
        if matched and unknown:
            raise DataError(
                f"expected class folders named after the classes, got {_listed(unknown)} besides "
                f"{len(matched)} that fit; class names are {_listed(class_names)}"
            )
        if matched:
            return ClassMap(matched, tuple(class_names))
    expected = num_classes if class_names is None else len(class_names)
    if folders and all(re.fullmatch(r"[0-9]{1,9}", name) for name in folders):
        indices = {name: int(name) for name in folders}
        _refuse_shared(indices)
        if expected == len(folders) and max(indices.values()) >= expected:
            ordered = sorted(folders, key=int)
            warning = (
                f"folder numbers {ordered[0]} to {ordered[-1]} are not indices of {expected} "
                "classes; they were taken in numerical order"
            )
            ranks = {name: rank for rank, name in enumerate(ordered)}
            return ClassMap(ranks, tuple(class_names or ()), (warning,))
        return ClassMap(_by_number(indices, expected), tuple(class_names or ()))
    if expected is not None and len(folders) != expected:
        raise DataError(
            f"expected {expected} class folders, got {len(folders)}: {_listed(folders)}; "
            "give one folder per class, or class names that match the folders"
        )
    indices = {name: index for index, name in enumerate(sorted(folders))}
    if class_names is None:
        return ClassMap(indices, tuple(printable(name) for name in sorted(folders)))
    warning = (
        f"no class folder carries a class name; the folders were taken in sorted order as "
        f"{', '.join(f'{printable(name)} = {class_names[i]}' for name, i in _few(indices))}"
    )
    return ClassMap(indices, tuple(class_names), (warning,))


def _by_name(
    folders: Sequence[str], class_names: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    exact = {name: index for index, name in enumerate(class_names)}
    loose: dict[str, int] = {}
    for index, name in enumerate(class_names):
        key = _loose(name)
        loose[key] = -1 if key in loose else index  # -1: two names differ only in their spelling
    matched: dict[str, int] = {}
    unknown = []
    for folder in folders:
        index = exact.get(folder, loose.get(_loose(folder), -1))
        if index < 0:
            unknown.append(folder)
        else:
            matched[folder] = index
    _refuse_shared(matched)
    return matched, unknown


def _refuse_ambiguous(folders: Sequence[str], class_names: Sequence[str]) -> None:
    repeated = _repeated(class_names)
    for folder in folders:
        if folder in repeated:
            owners = [str(index) for index, name in enumerate(class_names) if name == folder]
            raise DataError(
                f"the folder {printable(folder[:60])!r} fits the classes {', '.join(owners[:12])}, "
                "which share that name; give every class a name of its own"
            )


def repeated_names(names: Sequence[str]) -> list[str]:
    """One sentence about names that several classes share, or none."""
    repeated = sorted(_repeated(names))
    if not repeated:
        return []
    return [f"class names that stand for several classes each: {_listed(repeated)}"]


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _by_number(indices: dict[str, int], expected: int | None) -> dict[str, int]:
    outside = [
        name for name, index in indices.items() if expected is not None and index >= expected
    ]
    if outside:
        raise DataError(
            f"expected folders numbered 0 to {(expected or 0) - 1} for {expected} classes, got "
            f"{_listed(outside)}; folder numbers are class indices counted from 0"
        )
    return dict(sorted(indices.items(), key=lambda item: item[1]))


def _refuse_shared(indices: dict[str, int]) -> None:
    owner: dict[int, str] = {}
    for name, index in indices.items():
        if index in owner:
            raise DataError(
                f"expected one folder per class, got {printable(owner[index])!r} and "
                f"{printable(name)!r} for class {index}"
            )
        owner[index] = name


def _loose(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _few(indices: dict[str, int], limit: int = 12) -> list[tuple[str, int]]:
    return list(indices.items())[:limit]


def _listed(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(printable(name[:60]) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "") or "none"
