"""The short benchmark: what ``rnp benchmark --quick`` runs in under ten minutes on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.metrics import REPAIRED
from benchmarks.runner import Grid
from benchmarks.subjects import NO_ATTACK, BenchmarkSubject
from benchmarks.tasks import TaskLimits

BACKDOORED, CLEAN = 4, 3
"""Models of each kind, of the reporting half."""

QUICK_GRID = Grid(
    part="small",
    methods=("ours", "clp", "fine-tuning", "strip"),
    budget="short",
    time_limit=600.0,
    limits=TaskLimits(test_images=1200, samples=200, measured=600, oracle=200),
)
"""Our scan by its default preset, and the baselines that take seconds: one for each kind of task
but trigger recovery, whose baseline takes minutes."""


def quick_subjects(subjects: Sequence[BenchmarkSubject]) -> list[BenchmarkSubject]:
    """A few models of the reporting half: different attacks and controls, in the order of names."""
    reported = [subject for subject in subjects if subject.split == "report"]
    backdoored = [subject for subject in reported if subject.attack != NO_ATTACK]
    clean = [s for s in reported if s.attack == NO_ATTACK and s.control != REPAIRED]
    chosen = [
        *_different(backdoored, lambda subject: subject.attack, BACKDOORED),
        *_different(clean, lambda subject: subject.control, CLEAN),
    ]
    return sorted(chosen, key=lambda subject: subject.name)


def _different(
    subjects: Sequence[BenchmarkSubject], kind: Callable[[BenchmarkSubject], str], count: int
) -> list[BenchmarkSubject]:
    """The first ``count`` subjects when every kind takes one turn after the other."""
    turns: dict[str, int] = {}
    order = []
    for place, subject in enumerate(subjects):
        turn = turns.get(kind(subject), 0)
        turns[kind(subject)] = turn + 1
        order.append((turn, place))
    return [subjects[place] for _, place in sorted(order)[:count]]
