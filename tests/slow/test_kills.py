"""A hundred scans of a tiny model while child, worker, scheduler and parent are killed.

Run with ``python -m pytest -m slow tests/slow/test_kills.py -s``; each of the two tests takes ten
to twenty minutes on two idle cores. ``RNP_KILL_SCANS``, ``RNP_KILLS`` and ``RNP_KILL_SEED`` change
the numbers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rnp_core.request import ScanRequest
from tests.helpers.kill_scans import KillGround, check_home
from tests.helpers.tiny_files import write_clean, write_model

pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("local", [False, True], ids=["cluster", "local"])
def test_a_hundred_scans_survive_every_kill(tmp_path: Path, local: bool) -> None:
    scans = int(os.environ.get("RNP_KILL_SCANS", "100"))
    kills = int(os.environ.get("RNP_KILLS", "40"))
    clean = write_clean(tmp_path / "clean.npz")
    models = [write_model(tmp_path / f"m{i}.pt", seed=i) for i in range(scans)]
    requests = [ScanRequest(str(model), str(clean), "run", preset="quick") for model in models]
    ground = KillGround(tmp_path / "ground", f"slow-{time.time_ns()}", stand_ins=False,
                        local=local, seed=int(os.environ.get("RNP_KILL_SEED", "0")))
    ground.folder.mkdir()
    try:
        record = ground.run(requests, kills=kills, pause=15.0)
        ground.stop()
        assert ground.programs.all_gone(seconds=60)
    finally:
        ground.close()
    assert record.orphans == []
    check_home(ground.home, record.jobs)
    assert sum(record.kills.values()) == kills and len(record.jobs) == scans
    print(f"\n{scans} scans, killed {dict(record.kills)}, {record.during_scans} during a scan; "  # noqa: T201
          f"ends on the way {dict(record.seen)}; scans outlived their worker, scheduler or parent "
          f"by {record.slowest_end:.1f} s at most")
