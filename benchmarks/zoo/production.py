"""Train what is missing of a list of recipes, one after the other or several at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.zoo.datasets import load_data
from benchmarks.zoo.models import is_done, write_model
from benchmarks.zoo.recipes import Recipe
from benchmarks.zoo.training import Machine, train
from rnp_core.errors import ConfigError


def train_all(
    recipes: Sequence[Recipe], data: Path | None, out: Path, machine: Machine, *, jobs: int = 1
) -> None:
    """Train every recipe that ``out`` does not hold yet.

    Args:
        jobs: models that are trained at the same time, each in a process of its own.

    Raises:
        RnpError: when the images cannot be used.
    """
    waiting = [recipe for recipe in recipes if not is_done(recipe, out)]
    print(f"{len(recipes) - len(waiting)} of {len(recipes)} models are there already", flush=True)
    if not waiting:
        return
    images = load_data(waiting[0].part, data, out)
    if jobs > 1:
        _train_at_once(waiting, data, out, machine, jobs)
        return
    for recipe in waiting:
        trained = train(recipe, images, machine=machine, log=partial(_show, recipe.name))
        card = write_model(recipe, trained, images, machine, out)
        success = card.get("attack_success_rate", "none")
        _show(
            recipe.name,
            f"accuracy {card['clean_accuracy']}, attack success {success}, "
            f"{card['size_bytes'] // 1000} kB, {card['training_cpu_seconds']} s of processor time",
        )


def _train_at_once(
    recipes: Sequence[Recipe], data: Path | None, out: Path, machine: Machine, jobs: int
) -> None:
    """Deal ``recipes`` out to processes; each reads the images itself, and a failure stays its own.

    Raises:
        ConfigError: when a process failed; the models of the others are there.
    """
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=train_all, args=(recipes[start::jobs], data, out, machine))
        for start in range(min(jobs, len(recipes)))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if failed := sum(process.exitcode != 0 for process in processes):
        raise ConfigError(f"{failed} of {len(processes)} processes failed; start again to go on")


def _show(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)
