"""Hostile checkpoints: each is refused or read inertly; nothing runs; costs are bounded."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections import OrderedDict

import pytest
import torch

from rnp_core.checkpoints import load_checkpoint
from tests.helpers.hostile_files import corpus
from tests.helpers.hostile_pickles import executing
from tests.helpers.hostile_run import run_case, watched
from tests.helpers.hostile_table import TABLE, outcome_line

CORPUS = corpus()
LONG = ("ten million opcodes", "copying one list again and again")  # up to the limit: seconds
EXECUTING = dict(executing())

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="measures memory in forked children through /proc"
)


@pytest.fixture(scope="module")
def table() -> set[str]:
    return set(TABLE.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in CORPUS]
)
def test_hostile_file_is_refused_or_inert(name: str, table: set[str]) -> None:
    row = run_case(name, CORPUS[name])
    assert row.ran == ()
    assert row.outcome in ("refused", "read (weights_only)", "read (inert)")
    assert row.outcome != "refused" or row.detail
    assert row.peak_mib < 200
    assert row.seconds < 30
    assert outcome_line(row) in table, "run python -m scripts.hostile_checkpoints and review"


@pytest.mark.parametrize("name", EXECUTING)
def test_dangerous_file_keeps_its_weights_and_its_finding(name: str, tmp_path) -> None:
    canary = tmp_path / "canary"
    checkpoint = load_checkpoint(EXECUTING[name](tmp_path, canary))
    assert not canary.exists()
    torch.testing.assert_close(checkpoint.state["fc.weight"], torch.tensor([[1.0, 2], [3, 4]]))
    assert checkpoint.reader == "inert"
    worst = checkpoint.findings[0]
    assert (worst.severity, worst.rule) == ("critical", "unsafe-global")
    assert "AML.T0018.002" in worst.atlas and worst.cwe == ("CWE-502",)
    assert worst.evidence["global"]


def test_the_audit_sees_programs_imports_and_unpickling(tmp_path, monkeypatch) -> None:
    (tmp_path / "module_of_nobody.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with watched() as events:
        os.system("true")
        pickle.loads(pickle.dumps(OrderedDict()))
        importlib.import_module("module_of_nobody")
    assert {"os.system", "pickle.find_class", "import module_of_nobody"} <= set(events)
