"""A fleet: found, ranked early, each distinct model scanned once, resumed, written to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rnp_core.errors import ConfigError
from rnp_core.jobs import JobEngine
from rnp_core.jobs.fleet import Fleet, FleetProgress
from rnp_core.jobs.fleet_models import find_models
from rnp_core.jobs.fleet_ranking import FleetRow, exit_code, rank, write_ranking


def write_models(folder: Path, count: int, **orders: object) -> list[Path]:
    """Models whose cheap evidence and score rise with their number."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"m{number:02d}.pt"
        score = number / count
        path.write_text(json.dumps({"cheap": score, "score": score, **orders, "n": number}))
        paths.append(path)
    return paths


def clean_in(folder: Path) -> Path:
    clean = folder / "clean.npz"
    clean.write_bytes(b"images")
    return clean


def test_models_are_found_in_folders_rounds_and_lists(tmp_path: Path) -> None:
    for name in ("a.pt", "deep/b.safetensors", "notes.txt", ".hidden/c.pt", "round/id-0/model.pt",
                 "round/id-0/clean-example-data/x.png", "run/report.json",
                 "hub/model.safetensors", "hub/config.json", "run/repaired.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = {str(m.path.relative_to(tmp_path)): m.brings_images for m in find_models(tmp_path)}
    assert found == {"a.pt": False, "deep/b.safetensors": False, "round/id-0": True, "hub": False}
    listing = tmp_path / "list.csv"
    listing.write_text("path,clean\n# a comment\na.pt\nmissing.pt,own.npz\nround/id-0\n")
    models = find_models(listing)
    assert [(m.path.name, m.clean and m.clean.name, m.brings_images) for m in models] == [
        ("a.pt", None, False), ("missing.pt", "own.npz", False), ("id-0", None, True),
    ]
    with pytest.raises(ConfigError, match="found none"):
        find_models(_empty(tmp_path))
    with pytest.raises(ConfigError, match="there is no"):
        find_models(tmp_path / "nowhere")


def _empty(folder: Path) -> Path:
    place = folder / "empty"
    place.mkdir()
    return place


def test_cheap_evidence_comes_first_and_orders_the_scans(tmp_path: Path, home: Path) -> None:
    models = write_models(tmp_path / "models", 6)
    (tmp_path / "models" / "copy.pt").write_bytes(models[5].read_bytes())
    seen: list[FleetProgress] = []
    with JobEngine(home, scheduler="direct") as engine:
        fleet = Fleet(engine, find_models(tmp_path / "models"), {}, clean=clean_in(tmp_path),
                      out=tmp_path / "out")
        rows = fleet.run(seen.append)
        scans = sorted(engine.jobs(), key=lambda job: str(job.started_at))
        triages = engine.jobs(kind="triage")
        assert len(scans) == len(triages) == 6
        assert max(str(j.started_at) for j in triages) < str(scans[0].started_at)
        assert [job.backdoor_score for job in scans] == sorted(
            (job.backdoor_score for job in scans), reverse=True  # type: ignore[type-var]
        )
    ranked_early = next(p for p in seen if p.triaged == p.total)
    assert ranked_early.finished < ranked_early.total
    assert [Path(r.path).name for r in ranked_early.rows][1:] == [
        "m04.pt", "m03.pt", "m02.pt", "m01.pt", "m00.pt",
    ]
    assert rows[0].copies == (str(models[5]),) and exit_code(rows) == 1
    table = list(csv.DictReader((tmp_path / "out" / "ranking.csv").open()))
    assert [row["rank"] for row in table] == list("123456")
    data = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert data["complete"] and len(data["models"]) == 6
    assert all((tmp_path / "out" / row.report).is_file() for row in rows)


def test_a_fleet_goes_on_where_it_stopped(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 4)
    clean = clean_in(tmp_path)
    models = find_models(tmp_path / "models")

    class Stop(Exception):
        pass

    def stop(progress: FleetProgress) -> None:
        if progress.finished >= 2:
            raise Stop

    with JobEngine(home, scheduler="direct") as engine, pytest.raises(Stop):
        Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run(stop)
    with JobEngine(home, scheduler="direct") as engine:
        rows = Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run()
        assert [row.verdict for row in rows].count("error") == 0
        assert engine.count() == 4
        again = Fleet(engine, models, {}, clean=clean, out=tmp_path / "other").run()
        assert engine.count() == 4 and all(row.earlier for row in again)


def test_a_share_gets_whole_scans_and_errors_stay_rows(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 6)
    (tmp_path / "models" / "bad.pt").write_text("no json")
    models = [*find_models(tmp_path / "models")]
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join([*(str(m.path) for m in models), "missing.pt"]))
    with JobEngine(home, scheduler="direct") as engine:
        fleet = Fleet(engine, find_models(listing), {}, clean=clean_in(tmp_path),
                      out=tmp_path / "out", scan_share=0.3)
        rows = fleet.run()
    by_name = {Path(row.path).name: row for row in rows}
    assert by_name["missing.pt"].verdict == by_name["bad.pt"].verdict == "error"
    assert "there is no such file" in by_name["missing.pt"].error
    assert {n for n, row in by_name.items() if row.evidence == "scan"} == {"m05.pt", "m04.pt"}
    assert by_name["m00.pt"].state == "triaged" and exit_code(rows) == 1


def test_the_exit_code_is_that_of_the_worst_scan() -> None:
    def row(verdict: str | None) -> FleetRow:
        return FleetRow("p", "s", "done", verdict=verdict)  # type: ignore[arg-type]

    assert exit_code([row("no_evidence")]) == exit_code([]) == 0
    assert exit_code([row("no_evidence"), row("inconclusive")]) == 3
    assert exit_code([row("inconclusive"), row("error")]) == 2
    assert exit_code([row("error"), row("suspicious"), row("no_evidence")]) == 1


def test_names_in_a_ranking_are_only_text(tmp_path: Path) -> None:
    rows = rank([FleetRow("=cmd|'/c calc'!A1\n\udcff.pt", "0" * 64, "done", score=0.5)])
    files = write_ranking(rows, tmp_path, {})
    table = list(csv.DictReader(files[0].open()))
    assert table[0]["path"].startswith("'=cmd") and "\n" not in table[0]["path"]
    assert json.loads(files[1].read_text())["models"][0]["rank"] == 1


def test_a_ranking_is_written_as_parquet_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = rank([FleetRow("a", "0", "done", score=0.2), FleetRow("b", "1", "failed", error="e")])
    write_ranking(rows, tmp_path, {})
    table = parquet.read_table(tmp_path / "ranking.parquet").to_pylist()
    assert [(row["rank"], row["path"], row["score"]) for row in table] == [
        (1, "a", 0.2), (2, "b", None),
    ]
