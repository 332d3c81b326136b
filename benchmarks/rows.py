"""One measured cell of the benchmark as a value, and the file of lines that keeps them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

Status = Literal["done", "failed", "not applicable"]

ROWS_NAME = "rows.jsonl"


class RowKey(NamedTuple):
    """What a row measured; a later row of the same key replaces an earlier one."""

    part: str
    subject: str
    method: str
    clean_count: int
    seed: int
    budget: str


@dataclass(frozen=True)
class Row:
    """One method on one subject with so many clean images and one seed; None where not measured.

    Attributes:
        subject, method, clean_count, seed, budget: the key.
        part: "shared", or one of :data:`benchmarks.zoo.recipes.CLASSES`.
        split: "tune", "report", "fresh", "few" or "shared".
        attack: name of the attack, "none" for a clean control.
        control: what kind of clean control it is, or empty.
        architecture: of the network.
        targets: true target labels; empty for clean models and all-to-all attacks.
        status, error: how it ended.
        verdict, score, labels: what the method said, as in :class:`Outcome`.
        first_label_right: whether the first suspected label is a target.
        targets_found: whether every target is among the suspected labels.
        accuracy_before, accuracy_after: on ``test_images`` clean test images, [0, 1].
        asr_before, asr_after: success of the true trigger on ``triggered_images``, [0, 1].
        asr_reactivated, asr_reactivated_by_one: the same after a short fine-tuning with ten
            poisoned images and with one; of a trigger that is new to it, for a model without a
            backdoor.
        pruned_filters: silenced by removal.
        trigger_flip_rate: share of clean test images of other (source) classes that the trigger
            recovered for the true target sends there, mean over targets; 0 where there is none.
        trigger_overlap: intersection over union with the true patch, for patches.
        sample_auroc, sample_tpr: of triage, the latter at a false-positive rate of 1 %.
        flagged_triggered, flagged_clean: shares flagged at the method's own threshold.
        suspects: clean and triggered images that were triaged.
        seconds: wall-clock time of the method without reading files and measuring.
        peak_mib: largest resident memory of its process up to then.
        environment, settings: ids in ``environment.json`` and ``settings.json``.
        notes: plain values that only this method has.
    """

    subject: str
    method: str
    clean_count: int
    seed: int
    budget: str
    part: str
    split: str
    attack: str
    control: str
    architecture: str
    targets: list[int]
    status: Status = "done"
    error: str = ""
    verdict: str | None = None
    score: float | None = None
    labels: list[int] | None = None
    first_label_right: bool | None = None
    targets_found: bool | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    test_images: int | None = None
    asr_before: float | None = None
    asr_after: float | None = None
    asr_reactivated: float | None = None
    asr_reactivated_by_one: float | None = None
    triggered_images: int | None = None
    pruned_filters: int | None = None
    trigger_flip_rate: float | None = None
    trigger_overlap: float | None = None
    sample_auroc: float | None = None
    sample_tpr: float | None = None
    flagged_triggered: float | None = None
    flagged_clean: float | None = None
    suspects: list[int] | None = None
    seconds: float | None = None
    peak_mib: float | None = None
    environment: str = ""
    settings: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> RowKey:
        """What the row measured."""
        return RowKey(
            self.part, self.subject, self.method, self.clean_count, self.seed, self.budget
        )

    def to_json(self) -> str:
        """One line without a line break; NaN and infinity become null."""
        return json.dumps(_plain(dataclasses.asdict(self)), allow_nan=False)

    @staticmethod
    def from_json(line: str) -> Row:
        """The row that :meth:`to_json` wrote; fields that this version does not know are left out.

        Raises:
            ValueError: when the line is no row.
        """
        values = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError(f"expected a row of the benchmark, got {line[:80]!r}")
        known = {item.name for item in dataclasses.fields(Row)}
        try:
            return Row(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ValueError(f"expected a row of the benchmark: {error}") from None


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """The rows of all files, the last one of each key, in the order of first appearance.

    A line that was cut off by an interruption is left out.
    """
    found: dict[RowKey, Row] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                row = Row.from_json(line)
                found[row.key] = row
    return list(found.values())


def append_row(path: Path, row: Row) -> None:
    """Add one line to ``path``; a line that was cut off before is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        end = file.seek(0, 2)
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
        else:
            torn = False
        file.write((b"\n" if torn else b"") + row.to_json().encode() + b"\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
