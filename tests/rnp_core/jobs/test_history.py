"""Looking back: same checkpoint, filters, decisions, many clients, homes that cannot be used."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import JobEngine, JobFilter
from rnp_core.jobs.recorded import recorded_scan
from rnp_core.request import ScanRequest
from tests.rnp_core.jobs.conftest import MakeRequest, ScanAtOnce, ended


def test_a_checkpoint_that_was_scanned_before_is_known(
    engine: JobEngine, make_request: MakeRequest, finished: str
) -> None:
    job = engine.job(finished)
    again = ScanRequest(job.request.checkpoint, job.request.clean, "run", threads=1)
    other = ScanRequest(job.request.checkpoint, job.request.clean, "run", preset="quick")
    assert [j.id for j in engine.find_scans(job.checkpoint_sha256)] == [finished]
    assert [j.id for j in engine.find_same(engine.identify(again))] == [finished]
    assert engine.find_same(engine.identify(other)) == []
    Path(str(job.request.clean)).write_bytes(b"other images")
    assert engine.find_same(engine.identify(again)) == []


def test_filters(
    engine: JobEngine, make_request: MakeRequest, scan_at_once: ScanAtOnce, finished: str
) -> None:
    clean = scan_at_once(engine, make_request(), title="other", tags=["y", "z"])

    def ids(**options: object) -> list[str]:
        found = [job.id for job in engine.jobs(**options)]  # type: ignore[arg-type]
        assert engine.count(**options) == len(found)  # type: ignore[arg-type]
        return found

    assert ids() == [clean, finished]
    assert [j.id for j in engine.jobs(limit=1, offset=1)] == [finished]
    assert ids(tag="y") == ids(verdict="no_evidence") == ids(text="oth z") == [clean]
    assert ids(text="100%") == ids(tag="x") == ids(text="<b>") == [finished]
    assert ids(text="%") == [finished] and ids(text="_") == [] and ids(state="failed") == []
    sha256 = engine.job(clean).checkpoint_sha256
    assert ids(sha256=sha256[:10].upper()) == ids(text=sha256[:10]) == [clean]
    engine.set_tags(clean, [" new ", "", "new"])
    assert engine.job(clean).tags == ("new",)
    engine.set_disposition(clean, "escalate", reviewer="Ada")
    engine.set_disposition(clean, "false_alarm", reviewer="Bob")
    assert ids(disposition="false_alarm") == [clean] and ids(disposition="escalate") == []
    which = JobFilter(tag="x", kind=None)
    assert [j.id for j in engine.jobs(which)] == [finished] and engine.count(which, text="z") == 0
    with pytest.raises(TypeError):
        engine.jobs(colour="red")


def test_what_could_not_be_deleted_whole_can_be_deleted_again(
    engine: JobEngine, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rnp_core.jobs.history.shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            engine.delete(finished)
    assert engine.job(finished).state == "done"
    engine.delete(finished)
    assert engine.count() == 0


def test_decisions_are_kept_with_name_note_and_time(engine: JobEngine, finished: str) -> None:
    engine.set_disposition(finished, "escalate", reviewer="Ada", note="look again")
    engine.set_disposition(finished, "confirmed", reviewer="Bob")
    assert [(d.disposition, d.reviewer, d.note) for d in engine.dispositions(finished)] == [
        ("escalate", "Ada", "look again"), ("confirmed", "Bob", ""),
    ]
    latest = engine.job(finished).disposition
    assert latest is not None and latest.reviewer == "Bob" and latest.time.endswith("+00:00")
    with pytest.raises(JobError, match="expected a decision"):
        engine.set_disposition(finished, "maybe", reviewer="Ada")  # type: ignore[arg-type]
    with pytest.raises(JobError, match="reviewer's name"):
        engine.set_disposition(finished, "confirmed", reviewer=" ")


def test_ten_clients_submit_and_cancel_at_once(home: Path, make_request: MakeRequest) -> None:
    requests = [make_request() for _ in range(40)]

    def client(number: int) -> list[str]:
        with JobEngine(home, run_jobs=False) as engine:
            ids = [engine.submit(request) for request in requests[4 * number : 4 * number + 4]]
            for job_id in ids[1:]:
                engine.cancel(job_id)
            return ids

    with JobEngine(home, scheduler="direct") as engine:  # runs some of them meanwhile
        with concurrent.futures.ThreadPoolExecutor(10) as clients:
            ids = [job_id for found in clients.map(client, range(10)) for job_id in found]
        assert engine.count() == len(set(ids)) == 40
        states = {job_id: ended(engine, job_id).state for job_id in ids}
        assert all(states[job_id] == "done" for job_id in ids[::4])
        assert set(states.values()) <= {"done", "cancelled"}
        assert list(states.values()).count("cancelled") >= 20
        for job_id, state in states.items():
            changes = [e.message for e in engine.events(job_id) if e.stage == "job"]
            assert changes in (["queued", "running", state], ["queued", "cancelled"])
            assert (home / "runs" / job_id).exists() == (state == "done")


def test_a_home_that_cannot_be_used_stops_no_scan(
    tmp_path: Path, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    request = make_request()
    seen: list[ScanRequest] = []

    def plain(request: ScanRequest, **options: object) -> str:
        seen.append(request)
        return "report"

    monkeypatch.setattr("rnp_core.jobs.recorded.isolated_scan", plain)
    warnings: list[str] = []
    target = ScanRequest(request.checkpoint, request.clean, str(tmp_path / "out"))
    report = recorded_scan(target, home=tmp_path / "file" / "home", on_warning=warnings.append)
    assert (report, seen) == ("report", [target]) and "not recorded" in warnings[0]
    report = recorded_scan(target, home=tmp_path / "home", on_warning=warnings.append)
    assert report.verdict == "no_evidence" and len(seen) == len(warnings) == 1
    with JobEngine(tmp_path / "home", run_jobs=False) as engine:
        assert [job.run_folder for job in engine.jobs()] == [tmp_path / "out"]
