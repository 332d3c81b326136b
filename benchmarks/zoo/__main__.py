"""Train the models of the benchmark.

    python -m benchmarks.zoo list  --part small
    python -m benchmarks.zoo train --part small --out assets/zoo
    python -m benchmarks.zoo train --part cifar10 --data cifar-10-batches-py --out runs/zoo-cifar10

Finished models are kept: a second start goes on where the first one ended, and a recipe that has
changed is trained again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.zoo.architectures import WIDTHS
from benchmarks.zoo.few import few_recipes
from benchmarks.zoo.fresh import fresh_recipes
from benchmarks.zoo.grid import cifar10_recipes, gtsrb_recipes
from benchmarks.zoo.production import train_all
from benchmarks.zoo.recipes import CLASSES, FEW, Part, Recipe
from benchmarks.zoo.small import SMALL
from benchmarks.zoo.training import Machine
from rnp_core.errors import ConfigError, RnpError


def recipes_of(part: Part, width: str) -> tuple[Recipe, ...]:
    """All recipes of a part; the small one has a width of its own."""
    if part == "small":
        return SMALL
    if part in FEW:
        return few_recipes(part)
    return cifar10_recipes(width) if part == "cifar10" else gtsrb_recipes(width)


def select(recipes: tuple[Recipe, ...], only: list[str]) -> tuple[Recipe, ...]:
    """The recipes called ``only``, or all of them when that is empty.

    Raises:
        ConfigError: for an unknown name.
    """
    names = [recipe.name for recipe in recipes]
    if unknown := [name for name in only if name not in names]:
        raise ConfigError(f"expected names among {', '.join(names)}, got {', '.join(unknown)}")
    return tuple(recipe for recipe in recipes if not only or recipe.name in only)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zoo", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("action", choices=("list", "train"))
    parser.add_argument("--part", choices=CLASSES, default="small")
    parser.add_argument("--data", type=Path, help="folder with the images; see zoo/datasets.py")
    parser.add_argument("--out", type=Path, help="folder that gets one sub-folder a model")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these models only")
    parser.add_argument(
        "--fresh", type=int, metavar="SEED",
        help="the same recipes with other seeds and targets, to report on what nobody looked at",
    )
    parser.add_argument("--width", choices=WIDTHS, help="default: full with an accelerator")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: all")
    parser.add_argument("--jobs", type=int, default=1, help="models trained at the same time")
    options = parser.parse_args()
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads:
        torch.set_num_threads(options.threads)
    width = options.width or ("full" if name == "cuda" else "narrow")
    try:
        known = recipes_of(options.part, width)
        if options.fresh is not None:
            known = fresh_recipes(known, options.fresh)
        recipes = select(known, options.only)
        if options.action == "list":
            print("\n".join(f"{recipe.name}  {recipe.split}" for recipe in recipes))
            return 0
        if options.out is None:
            parser.error("expected --out with the folder for the models")
        machine = Machine(torch.device(name), options.bfloat16)
        train_all(recipes, options.data, options.out, machine, jobs=options.jobs)
    except RnpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
