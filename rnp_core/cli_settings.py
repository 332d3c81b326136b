"""Options that every command with scans takes, and the fields of a scan request they stand for."""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path
from typing import Any

from rnp_core.errors import ConfigError, reason_of
from rnp_core.request import DEVICES, PRECISIONS, PRESETS


def path_argument(text: str) -> Path:
    """The path that an option names; ``type`` of an argument."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    command.add_argument(
        "--arch", help="architecture name or FILE.py:CALLABLE (code that you trust)"
    )
    command.add_argument("--num-classes", type=int, help="expected number of classes")
    command.add_argument(
        "--class-names", type=path_argument, help="text file, one class name a line, in order"
    )
    command.add_argument(
        "--normalization",
        default="auto",
        help="auto (default: the one of the least loss), none, cifar10, imagenet, half "
        "or mnist",
    )
    command.add_argument(
        "--preset",
        choices=PRESETS,
        default="standard",
        help="how long to look; times are of a demo model on two cores, default standard. "
        + " ".join(f"{name}: {promise}" for name, promise in PRESETS.items()),
    )
    command.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto: a GPU where there is one"
    )
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto: bfloat16 where the hardware is fast at it and the model answers the same",
    )
    command.add_argument("--threads", type=int, help="CPU threads of each scan (default: all)")
    add_reading_limits(command)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--no-repair", action="store_true", help="prune only, never fine-tune")


def add_reading_limits(command: argparse.ArgumentParser) -> None:
    """Add ``--limit`` to the parser of a command."""
    command.add_argument(
        "--limit",
        action="append",
        metavar="NAME=NUMBER",
        help="bound on reading, e.g. checkpoint.file_bytes=20e9 or images.image_pixels=50e6; a "
        "wrong name lists all; may be repeated",
    )


def read_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as fields of :class:`rnp_core.request.ScanRequest`.

    Raises:
        ConfigError: when the class names cannot be read.
    """
    return {
        "arch": options.arch,
        "num_classes": options.num_classes,
        "class_names": _class_names(options.class_names),
        "normalization": options.normalization,
        "preset": options.preset,
        "seed": options.seed,
        "repair": not options.no_repair,
        "device": options.device,
        "precision": options.precision,
        "threads": options.threads,
        "limits": tuple(options.limit) if options.limit else None,
    }


def _class_names(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected class names in {path}, it is no UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read class names from {path}: {reason_of(error)}") from error
    names = tuple(line.strip() for line in text.rstrip().split("\n"))
    if names == ("",):
        raise ConfigError(f"expected class names in {path}, it is empty")
    for number, name in enumerate(names, start=1):
        if not name:
            raise ConfigError(
                f"expected a class name on every line of {path}, line {number} is empty"
            )
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise ConfigError(
                f"expected class names of text in {path}, line {number} holds control characters"
            )
    return names
