"""The grid, its processes, the file of rows and the command line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pkgutil
from pathlib import Path

import pytest
from torch import Tensor

from benchmarks import runner
from benchmarks.__main__ import main
from benchmarks.baselines.neural_cleanse import NeuralCleanseConfig
from benchmarks.environment import ENVIRONMENT_NAME, SETTINGS_NAME, read_records, record
from benchmarks.methods import (
    BASELINES,
    TITLES,
    ablation_names,
    find_methods,
    method_settings,
)
from benchmarks.ours import ABLATIONS
from benchmarks.quick import BACKDOORED, CLEAN, QUICK_GRID, quick_subjects
from benchmarks.rows import Row, append_row, read_rows
from benchmarks.runner import Grid, plan_cells, run_cell, run_grid
from benchmarks.tasks import TaskLimits
from rnp_core.config import preset_config
from rnp_core.errors import ConfigError
from tests.benchmarks.tiny import CornerAttack, tiny_subject

ROW = Row("s", "clp", 500, 0, "paper", "small", "report", "badnets", "", "mlp", [1])
TINY = TaskLimits(test_images=80, samples=10, measured=40, oracle=10)


def test_a_row_survives_its_file_and_undefined_numbers_become_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = dataclasses.replace(ROW, score=math.inf, notes={"curve": [1.0, math.nan]})
    append_row(path, row)
    (found,) = read_rows([path])
    assert found == dataclasses.replace(row, score=None, notes={"curve": [1.0, None]})


def test_a_line_that_was_cut_off_is_left_out_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROW.to_json() + "\n" + ROW.to_json()[:40])
    append_row(path, dataclasses.replace(ROW, subject="t"))
    assert [row.subject for row in read_rows([path])] == ["s", "t"]
    assert len(path.read_text().splitlines()) == 3


def test_a_later_row_of_the_same_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, dataclasses.replace(ROW, status="failed", error="x"))
    append_row(path, ROW)
    (found,) = read_rows([path, tmp_path / "missing.jsonl"])
    assert found.status == "done"


def test_rows_of_other_versions_and_other_files_are_read_as_far_as_possible(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    known = json.loads(ROW.to_json())
    path.write_text(
        "\n".join(["[1]", '{"name": "of another program"}', json.dumps({**known, "later": 1})])
    )
    assert read_rows([path]) == [ROW]


def test_methods_by_name_and_group() -> None:
    def names(*given: str) -> list[str]:
        found = find_methods(given, budget="paper", preset="standard", seed=0)
        return [method.name for method in found]

    assert names("all") == ["ours", *BASELINES]
    assert names("ablations") == list(ablation_names())
    assert names("clp", "baselines") == ["clp", *(name for name in BASELINES if name != "clp")]
    assert {row for m in find_methods(["all"], budget="short", preset="quick", seed=0)
            for row in m.rows} == set(TITLES)
    with pytest.raises(ConfigError, match="expected methods among ours, rnp, .*got nonsense"):
        names("ours", "nonsense")
    with pytest.raises(ConfigError, match="expected a budget among paper, short, got 'huge'"):
        find_methods(["ours"], budget="huge", preset="standard", seed=0)


def test_budgets_decide_only_where_they_change_something() -> None:
    for name, budget in {"ours": "quick", "nc-same-budget": "quick", "clp": "paper",
                         "rnp": "paper", "nc": "short", "anp": "short"}.items():
        (method,) = find_methods([name], budget="short", preset="quick", seed=0)
        assert method.budget == budget


def test_neural_cleanse_on_the_same_budget_sees_as_many_images_as_our_patch_inversion() -> None:
    (method,) = find_methods(["nc-same-budget"], budget="paper", preset="standard", seed=0)
    settings = NeuralCleanseConfig(**method_settings(method))
    ours = preset_config("standard").invert_stage
    seen = settings.rounds * (settings.batches_per_round or 0) * settings.batch_size
    assert seen == ours.steps * ours.batch_size


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_undoes_one_choice(name: str) -> None:
    (method,) = find_methods([f"ours-{name}"], budget="paper", preset="standard", seed=0)
    changed = method_settings(method) != preset_config("standard").to_dict()
    replaced = ABLATIONS[name].replaced
    assert changed != bool(replaced)
    for target, value in replaced.items():
        assert pkgutil.resolve_name(target) != value


def test_records_keep_facts_once(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    first = record(path, {"a": 1}, date="2020-01-01")
    assert record(path, {"a": 1}, date="2021-01-01") == first != record(path, {"a": 2})
    assert read_records(path)[first] == {"a": 1, "date": "2020-01-01"}
    assert len(read_records(path)) == 2


def test_the_grid_runs_isolated_goes_on_and_tries_failures_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PRELOADED", ["benchmarks.tasks"])  # no optimiser here
    subject = tiny_subject(tmp_path)
    broken = dataclasses.replace(subject, name="broken", checkpoint=tmp_path / "missing.pt")
    grid = Grid("small", ("strip", "clp"), counts=(40,), budget="short", threads=1, limits=TINY)
    out = tmp_path / "out"
    started: list[str] = []

    def note(cell: runner.Cell, index: int, count: int) -> None:
        started.append(f"{cell.method} {cell.subject.name}")

    rows = run_grid(grid, [subject, broken], out, limit=2, on_cell=note)
    assert started == ["strip tiny", "strip broken"]
    found = {row.subject: row for row in rows}
    assert found["tiny"].status == "done" and found["broken"].status == "failed"
    assert found["tiny"].suspects == [10, 10] and found["tiny"].peak_mib
    assert "missing.pt" in found["broken"].error

    started.clear()
    fixed = dataclasses.replace(broken, checkpoint=subject.checkpoint)
    rows = run_grid(grid, [fixed], out, on_cell=note)
    assert started == ["strip broken", "clp broken"]
    assert [row.status for row in rows] == ["done", "done", "not applicable"]
    assert {row.environment for row in rows} == set(read_records(out / ENVIRONMENT_NAME))
    assert {row.settings for row in rows} == set(read_records(out / SETTINGS_NAME))


def test_rows_of_other_code_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid("small", ("ours", "strip"), counts=(40,), threads=1, limits=TINY)
    subject = tiny_subject(tmp_path)

    def settings() -> list[str]:
        return [cell.blank.settings for cell in plan_cells(grid, [subject], tmp_path, "e")]

    before = settings()
    assert before == settings()
    (tmp_path / "rnp_core").mkdir()
    (tmp_path / "rnp_core" / "changed.py").write_text("")
    monkeypatch.setattr(runner, "_ROOT", tmp_path)
    assert all(old != new for old, new in zip(before, settings(), strict=True))


def test_a_run_beyond_its_time_is_ended_and_becomes_a_row(tmp_path: Path) -> None:
    grid = Grid("small", methods=("strip",), counts=(40,), time_limit=0.0, threads=1, limits=TINY)
    (cell,) = plan_cells(grid, [tiny_subject(tmp_path)], tmp_path, "e")
    (row,) = run_cell(cell)
    assert row.status == "failed" and "longer than 0 s" in row.error


class Deadly(CornerAttack):
    """Ends the process that asks for triggered images."""

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        os._exit(3)


def test_a_process_that_dies_becomes_a_row(tmp_path: Path) -> None:
    subject = dataclasses.replace(tiny_subject(tmp_path), truth=Deadly())
    grid = Grid("small", methods=("strip",), counts=(40,), threads=1, limits=TINY)
    (cell,) = plan_cells(grid, [subject], tmp_path, "e")
    (row,) = run_cell(cell)
    assert row.status == "failed" and row.error == "its process ended with exit code 3"


def test_the_quick_benchmark_takes_different_attacks_of_the_reporting_half(tmp_path: Path) -> None:
    attacks = ["badnets", "badnets", "badnets", "blend", "sig", "wanet", "trojan"]
    subjects = [tiny_subject(tmp_path, name=f"b{i}", attack=a) for i, a in enumerate(attacks)]
    for index, control in enumerate(["seed", "seed", "noise", "repaired"]):
        clean = tiny_subject(tmp_path, name=f"c{index}", attack="none", targets=())
        subjects.append(dataclasses.replace(clean, control=control))
    subjects.append(dataclasses.replace(subjects[3], name="tuned", split="tune"))
    chosen = [subject.name for subject in quick_subjects(subjects)]
    assert chosen == ["b0", "b3", "b4", "b5", "c0", "c1", "c2"]
    assert (BACKDOORED, CLEAN) == (4, 3) and QUICK_GRID.preset == "standard"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "cifar10"], "expected --zoo"),
        (["--quick", "--part", "shared"], "leave --part and --zoo out"),
        (["run", "--part", "shared", "--shared", "nowhere"], "nowhere"),
        (["table", "nowhere", "--out", "x"], "expected rows.jsonl in nowhere"),
    ],
)
def test_wrong_arguments_give_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("rnp benchmark: ") and error.count("\n") == 1


def test_the_command_line_selects_runs_and_prints_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects = (tiny_subject(tmp_path, name="one"), tiny_subject(tmp_path, name="two"))
    monkeypatch.setattr("benchmarks.__main__.read_zoo", lambda folder: subjects)
    monkeypatch.setattr(
        runner, "run_cell", lambda cell: [dataclasses.replace(cell.blank, verdict="backdoored")]
    )
    out = tmp_path / "out"
    given = ["--only", "t*", "--methods", "ours", "--counts", "100,50", "--out", str(out)]
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert "[2/2] ours on two, 50 clean images, seed 0" in shown and "on one" not in shown
    assert "| model verdict |" in shown
    assert json.loads((out / "tables.json").read_text())["clean_images"] == 100
    assert main(["table", str(out), "--out", str(tmp_path / "again")]) == 0
    assert main(["--split", "tune", "--out", str(out)]) == 2
    assert "expected at least one model" in capsys.readouterr().err
    assert main(["--only", "nobody", "--out", str(out)]) == 2
    assert "expected models among one, two" in capsys.readouterr().err
