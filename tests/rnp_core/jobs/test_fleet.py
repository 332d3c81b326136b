"""A fleet: found, ranked early, each distinct model scanned once, resumed, written to files."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnp_core.errors import ConfigError, JobError
from rnp_core.jobs import EngineLimits, JobEngine
from rnp_core.jobs.fleet import Fleet, FleetProgress, fleet_tag
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
        scans, triages = engine.jobs(), engine.jobs(kind="triage")
    assert len(scans) == len(triages) == 6
    assert max(str(job.started_at) for job in triages) <= min(str(job.started_at) for job in scans)
    scores = {job.priority: job.backdoor_score for job in scans}  # the queue takes the largest
    assert [scores[p] for p in sorted(scores)] == sorted(scores.values())  # type: ignore[type-var]
    assert max(scores) < min(job.priority for job in triages) < 0  # people's scans have 0
    ranked_early = next(p for p in seen if p.triaged == p.total)
    assert ranked_early.finished < ranked_early.total == 6
    assert [Path(row.path).name for row in ranked_early.rows] == [
        "copy.pt", "m04.pt", "m03.pt", "m02.pt", "m01.pt", "m00.pt",
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

    with JobEngine(home, scheduler="direct") as engine:
        with pytest.raises(Stop):
            Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run(stop)
        assert engine.count(state="queued", kind=None) == 0  # nobody waits for it any more
    data = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert not data["complete"] and len(data["models"]) == 4
    with JobEngine(home, scheduler="direct") as engine:
        rows = Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run()
        assert [row.verdict for row in rows].count("error") == 0
        assert engine.count() == 4
        again = Fleet(engine, models, {}, clean=clean, out=tmp_path / "other").run()
        assert engine.count() == 4 and all(row.earlier for row in again)
        assert engine.count(tag="fleet") == engine.count(tag=fleet_tag(tmp_path / "other")) == 4


def test_two_fleets_at_once_scan_each_model_once(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 5)
    models, clean = find_models(tmp_path / "models"), clean_in(tmp_path)

    def run(name: str) -> list[FleetRow]:
        with JobEngine(home, scheduler="direct") as engine:
            return Fleet(engine, models, {}, clean=clean, out=tmp_path / name).run()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = list(pool.map(run, ("one", "two")))
    assert all(len(rows) == 5 and all(r.evidence == "scan" for r in rows) for rows in both)
    with JobEngine(home, run_jobs=False) as engine:
        assert engine.count() == engine.count(kind="triage") == 5
        assert all(engine.count(tag=fleet_tag(tmp_path / name)) == 5 for name in ("one", "two"))


def test_a_stopped_fleet_takes_nothing_from_another(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 3)
    models, clean = find_models(tmp_path / "models"), clean_in(tmp_path)

    def stop(progress: FleetProgress) -> None:
        shared = progress.rows[0].job
        engine.add_tags(shared, ["fleet:other"])
        kept.append(shared)
        raise KeyboardInterrupt

    kept: list[str] = []
    with JobEngine(home, run_jobs=False) as engine:
        with pytest.raises(KeyboardInterrupt):
            Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run(stop)
        assert [job.id for job in engine.jobs(state="queued")] == kept
        assert engine.count(state="cancelled") == 2


def test_what_failed_is_run_again_on_demand(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 2)
    models, clean = find_models(tmp_path / "models"), clean_in(tmp_path)

    def run(limits: EngineLimits, **options: bool) -> list[str | None]:
        with JobEngine(home, scheduler="direct", limits=limits) as engine:
            fleet = Fleet(engine, models, {}, clean=clean, out=tmp_path / "out", **options)
            return [row.verdict for row in fleet.run()]

    short, long = EngineLimits(job_seconds=0.001), EngineLimits()
    assert run(short) == run(long) == ["error", "error"]
    assert run(long, retry_failed=True) == ["no_evidence", "no_evidence"]


def test_trojai_rounds_bring_their_own_images(tmp_path: Path, home: Path) -> None:
    """The layout of the image rounds: METADATA.csv, and models/id-*/ with images and settings."""
    names = ("clean-example-data", "clean_example_data", "example_data")  # of different rounds
    for number, name in enumerate(names):
        folder = tmp_path / "round" / "models" / f"id-{number:08}"
        (folder / name).mkdir(parents=True)
        (folder / "poisoned-example-data").mkdir()
        for label in range(3):
            (folder / name / f"class_{label}_example_0.png").write_bytes(b"image")
        (folder / "model.pt").write_text(json.dumps({"score": number / 3}))
        (folder / "config.json").write_text('{"number_classes": 3}')
        (folder / "ground_truth.csv").write_text("1\n")
    (tmp_path / "round" / "METADATA.csv").write_text("model_name,poisoned\nid-00000000,1\n")
    models = find_models(tmp_path / "round")
    assert [model.path.name for model in models] == [f"id-{n:08}" for n in range(3)]
    assert all(model.brings_images and model.clean is None for model in models)
    with JobEngine(home, scheduler="direct") as engine:
        rows = Fleet(engine, models, {}, clean=None, out=tmp_path / "out").run()
        assert all(job.request.clean is None for job in engine.jobs())
    assert [row.evidence for row in rows] == ["scan"] * 3
    assert {Path(row.path).name for row in rows} == {model.path.name for model in models}


def test_a_full_queue_makes_a_fleet_wait(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 4)
    models, clean = find_models(tmp_path / "models"), clean_in(tmp_path)
    seen: list[FleetProgress] = []
    with JobEngine(home, scheduler="direct", limits=EngineLimits(queue_length=1)) as engine:
        rows = Fleet(engine, models, {}, clean=clean, out=tmp_path / "out").run(seen.append)
    assert {row.evidence for row in rows} == {"scan"}
    assert any("the queue is full" in progress.problem for progress in seen)
    with JobEngine(tmp_path / "full", run_jobs=False,
                   limits=EngineLimits(free_bytes=1 << 60)) as engine:
        fleet = Fleet(engine, models, {}, clean=clean, out=tmp_path / "other")
        with pytest.raises(JobError, match="nearly full"):  # nothing will ever make room
            fleet.run()


def test_what_vanishes_becomes_a_row(tmp_path: Path, home: Path) -> None:
    paths = write_models(tmp_path / "models", 3)
    models = find_models(tmp_path / "models")
    removed: list[str] = []

    def remove(progress: FleetProgress) -> None:
        """Somebody deletes a model, and another one's job."""
        paths[0].unlink(missing_ok=True)
        waiting = [row for row in progress.rows if Path(row.path) == paths[1]]
        if not removed and waiting:
            removed.append(waiting[0].job)
            engine.cancel(waiting[0].job)
            while engine.job(waiting[0].job).state == "running":
                time.sleep(0.02)
            engine.delete(waiting[0].job)

    with JobEngine(home, scheduler="direct") as engine:
        fleet = Fleet(engine, models, {}, clean=clean_in(tmp_path), out=tmp_path / "out",
                      triage_from=1)
        rows = {Path(row.path).name: row for row in fleet.run(remove)}
    assert "there is no such file" in rows["m00.pt"].error or "No such file" in rows["m00.pt"].error
    assert "was deleted" in rows["m01.pt"].error and rows["m02.pt"].evidence == "scan"


def test_scans_begin_while_others_are_still_hashed(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnp_core.jobs.fleet._LOOK_SECONDS", 0.0)
    monkeypatch.setattr("rnp_core.jobs.fleet.POLL_SECONDS", 0.0)
    write_models(tmp_path / "models", 6)
    seen: list[tuple[int, int, int]] = []
    with JobEngine(home, scheduler="direct") as engine:
        fleet = Fleet(engine, find_models(tmp_path / "models"), {}, clean=clean_in(tmp_path),
                      out=tmp_path / "out")
        with pytest.raises(ZeroDivisionError):
            fleet.run(lambda p: seen.append((len(p.rows), p.total, engine.count(kind="triage")))
                      or (len(seen) < 4 or 1 // 0))  # type: ignore[func-returns-value]
    assert seen == [(1, 6, 1), (2, 6, 2), (3, 6, 3), (4, 6, 4)]


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


def test_what_a_file_would_do_stays_in_the_ranking(tmp_path: Path, home: Path) -> None:
    write_models(tmp_path / "models", 5)
    findings = [{"severity": "low"}, {"severity": "critical"}]
    for name, order in (("code.pt", "done"), ("malware.pt", "error")):
        (tmp_path / "models" / name).write_text(
            json.dumps({"cheap": 0.95, "score": 0.01, "findings": findings, "end": order})
        )
    with JobEngine(home, scheduler="direct") as engine:
        rows = Fleet(engine, find_models(tmp_path / "models"), {}, clean=clean_in(tmp_path),
                     out=tmp_path / "out").run()
    shown = {Path(row.path).name: (row.verdict, row.file_severity) for row in rows}
    assert shown["code.pt"] == ("no_evidence", "critical")
    assert shown["malware.pt"] == ("error", "critical") and shown["m00.pt"][1] == ""
    assert {Path(row.path).name for row in rows if row.is_found} == {
        "code.pt", "malware.pt", "m03.pt", "m04.pt",
    }
    assert [row.is_found for row in rows] == [True] * 4 + [False] * 3


def test_a_folder_that_cannot_be_read_is_one_row(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_models(tmp_path / "models", 1)
    (tmp_path / "models" / "closed").mkdir()
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    models = find_models(tmp_path / "models")
    with JobEngine(home, scheduler="direct") as engine:
        rows = Fleet(engine, models, {}, clean=clean_in(tmp_path), out=tmp_path / "out").run()
    assert [row.evidence for row in rows] == ["scan", "none"]
    assert "Permission denied" in rows[1].error


def test_what_a_whole_scan_found_comes_before_cheap_evidence() -> None:
    rows = rank([
        FleetRow("cheap", "1", "triaged", "triage", score=0.97),
        FleetRow("found", "2", "done", "scan", "suspicious", score=0.6),
        FleetRow("broken", "3", "failed", verdict="error", error="no"),
        FleetRow("innocent", "4", "done", "scan", "no_evidence", score=0.04),
        FleetRow("malware", "5", "failed", "triage", "error", 0.95, file_severity="critical"),
        FleetRow("code", "6", "done", "scan", "no_evidence", 0.05, file_severity="critical"),
    ])
    assert [row.path for row in rows] == [
        "malware", "found", "code", "cheap", "innocent", "broken",
    ]


def test_wrong_settings_are_refused_before_anything_runs(tmp_path: Path, home: Path) -> None:
    with JobEngine(home, run_jobs=False) as engine:
        for options in ({"settings": {"preset": "slow"}}, {"settings": {}, "scan_share": 0.0}):
            with pytest.raises(ConfigError):
                Fleet(engine, [], clean=None, out=tmp_path, **options)  # type: ignore[arg-type]


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
