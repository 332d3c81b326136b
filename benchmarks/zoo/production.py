"""Train what is missing of a list of recipes, one after the other or several at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

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
        jobs: models that are trained at the same time, each in a process of its own that reads the
            images itself and shares the threads of the processor with the others.

    Raises:
        RnpError: when the images cannot be used.
        ConfigError: when a process failed; the models of the others are there.
    """
    waiting = [recipe for recipe in recipes if not is_done(recipe, out)]
    print(f"{len(recipes) - len(waiting)} of {len(recipes)} models are there already", flush=True)
    if jobs == 1:
        _train(waiting, data, out, machine, torch.get_num_threads())
        return
    threads = max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        codes = list(
            pool.map(lambda one: _in_process([one], data, out, machine, threads), waiting)
        )
    if failed := [r.name for r, code in zip(waiting, codes, strict=True) if code]:
        raise ConfigError(f"failed: {', '.join(failed)}; start again to train these")


def _in_process(
    recipes: list[Recipe], data: Path | None, out: Path, machine: Machine, threads: int
) -> int | None:
    """The exit code of a new process that trains ``recipes``."""
    process = multiprocessing.get_context("spawn").Process(
        target=_train, args=(recipes, data, out, machine, threads)
    )
    process.start()
    process.join()
    return process.exitcode


def _train(
    recipes: Sequence[Recipe], data: Path | None, out: Path, machine: Machine, threads: int
) -> None:
    if not recipes:
        return
    torch.set_num_threads(threads)
    images = load_data(recipes[0].part, data, out)
    for recipe in recipes:
        trained = train(recipe, images, machine=machine, log=partial(_show, recipe.name))
        card = write_model(recipe, trained, images, machine, out)
        success = card.get("attack_success_rate", "none")
        _show(
            recipe.name,
            f"accuracy {card['clean_accuracy']}, attack success {success}, "
            f"{card['size_bytes'] // 1000} kB, {card['training_cpu_seconds']} s of processor time",
        )


def _show(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)
