"""A subject so small that a benchmark of it takes seconds, and the inputs of a defence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.baselines.contract import Defence, Measured
from benchmarks.subjects import BenchmarkSubject
from rnp_core.metrics import clean_accuracy, predict
from rnp_core.model import SuspectModel
from tests.helpers.models import CORNER_TRIGGER, TARGET, planted_model
from tests.helpers.sets import quadrant_set
from tests.helpers.tiny_files import write_clean, write_model


class CornerAttack:
    """Stamps the corner trigger; leads to a given target, or to the next label."""

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        return CORNER_TRIGGER.apply(images)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        if target is None:
            return (labels + 1) % 4
        return torch.full_like(labels, target)


def tiny_subject(
    folder: Path,
    *,
    name: str = "tiny",
    attack: str = "badnets",
    targets: tuple[int, ...] = (TARGET,),
    sources: tuple[int, ...] = (),
    card: Mapping[str, Any] | None = None,
) -> BenchmarkSubject:
    """A small MLP and images of its four classes on disk."""
    return BenchmarkSubject(
        name=name,
        checkpoint=write_model(folder / f"{name}.pt"),
        clean=write_clean(folder / "clean.npz"),
        test=write_clean(folder / "test.npz", count=20),
        attack=attack,
        control="" if attack != "none" else "seed",
        targets=targets,
        sources=sources,
        architecture="mlp",
        card=card or {"dataset": "quadrants"},
        split="report",
        truth=None if attack == "none" else CornerAttack(),
    )


def planted_defence(*, norm: bool = True, oracle: bool = False, seed: int = 0) -> Defence:
    """The model with the planted backdoor and clean images; its suspects are 20 clean images and
    20 triggered ones."""
    test = quadrant_set(10, seed=1)
    others = test.images[test.labels != TARGET]

    def measure(model: SuspectModel) -> Measured:
        hits = predict(model, CORNER_TRIGGER.apply(others)) == TARGET
        return Measured(clean_accuracy(model, test), float(hits.float().mean()))

    return Defence(
        model=planted_model(norm=norm),
        clean=quadrant_set(12),
        suspects=torch.cat([test.images[:20], CORNER_TRIGGER.apply(others[:20])]),
        seed=seed,
        oracle=measure if oracle else None,
    )
