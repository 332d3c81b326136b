"""What a child is cut off from, and its surroundings."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rnp_core.isolation.helpers import QUICK, start

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture
def port() -> object:
    """A server of this process, on both IP versions where there are two."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@LINUX
def test_the_child_reaches_no_network(port: int) -> None:
    result = start("connect", {"port": port})
    record = result.pop("isolation")
    assert record["network"] == ("blocked" if record["network_by"] else "not blocked")
    if record["network"] == "not blocked":
        pytest.skip("this system grants neither a network namespace nor a system call filter")
    assert result.pop("local") == "made"
    assert len(result) == 4
    assert all(answer.startswith("refused") for answer in result.values()), result


_BLOCK = """
import socket, sys
from rnp_core.isolation import network
from rnp_core.isolation.confine import _PR_SET_NO_NEW_PRIVS, _prctl
_prctl(_PR_SET_NO_NEW_PRIVS, 1)
if not getattr(network, sys.argv[1])():
    sys.exit(3)
socket.socket(socket.AF_UNIX).close()
try:
    end = socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=2)
except OSError as error:
    sys.exit(0)
sys.exit(1)
"""


@LINUX
@pytest.mark.parametrize("means", ["enter_empty_namespace", "refuse_sockets"])
def test_each_means_alone(means: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass  # this process reaches it
    code = subprocess.run(
        [sys.executable, "-c", _BLOCK, means, str(port)],
        cwd=Path(__file__).parents[3],
        check=False,
        timeout=30,
    ).returncode
    if code == 3:
        pytest.skip(f"this system does not grant {means}")
    assert code == 0


def test_a_private_folder_and_nothing_left(temporary: Path) -> None:
    result = start("surroundings")
    folder = Path(result["temporary"])
    assert folder.parent == temporary
    assert result["mode"] == 0o700
    assert Path(result["left"]).parent == folder
    assert not folder.exists()


def test_surroundings() -> None:
    result = start("surroundings")
    assert result["core"] == [0, 0]
    assert result["working"] == str(Path.cwd())
    assert result["input"] == ""
    assert result["leader"] is True


@LINUX
def test_the_record_is_honest() -> None:
    result = start("surroundings")
    record, status = result["isolation"], result["status"]
    assert record["memory_limit_bytes"] == QUICK.memory_bytes
    assert record["memory_enforced"] is True
    assert record["no_new_privileges"] is ("NoNewPrivs:\t1" in status)
    assert ("filter" in record["network_by"]) is ("Seccomp:\t2" in status)
    assert record["dies_with_parent"] is True


def test_modules_beside_the_working_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert start("echo", {"a": 1})["a"] == 1
