"""Workers that do not share the disk: inputs and results travel by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnp_core.errors import JobError
from rnp_core.jobs import JobEngine
from rnp_core.jobs.transfer import pack, unpack
from tests.rnp_core.jobs.conftest import MakeRequest, ended


def test_files_and_folders_come_out_as_they_went_in(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"one")
    (tmp_path / "set" / "link").symlink_to("/etc/passwd")
    there = tmp_path / "there"
    there.mkdir()
    folder = unpack(pack(tmp_path / "set"), there)
    assert [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))] == ["a", "a/1.png"]
    assert unpack(pack(tmp_path / "set" / "a" / "1.png"), there).read_bytes() == b"one"
    with pytest.raises(JobError, match="cannot read"):
        pack(tmp_path / "missing")
    with pytest.raises(JobError, match="cannot unpack"):
        unpack(b"no archive", there)


def test_a_scan_by_content(home: Path, make_request: MakeRequest) -> None:
    pytest.importorskip("distributed")
    with JobEngine(home, send_files=True) as engine:
        jobs = [ended(engine, engine.submit(make_request(score=0.8))) for _ in range(2)]
    assert [(job.state, job.backdoor_score) for job in jobs] == [("done", 0.8)] * 2
    assert all((job.run_folder / "report.json").is_file() for job in jobs)
    assert list((home / "work").iterdir()) == []
