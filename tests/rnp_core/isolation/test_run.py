"""A child process: what comes through, and how each of its ends is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rnp_core import errors
from rnp_core.errors import ConfigError, IsolationError, RnpError, ScanCancelled
from rnp_core.isolation import IsolationLimits
from rnp_core.isolation import run as run_module
from rnp_core.progress import Progress
from tests.rnp_core.isolation.helpers import QUICK, appears, gone, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="isolation needs POSIX")


def refused(task: str, payload: dict[str, Any] | None = None, **options: Any) -> IsolationError:
    with pytest.raises(IsolationError) as caught:
        start(task, payload, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_payload_progress_and_result_come_through() -> None:
    seen: list[Progress] = []
    pids: list[int] = []
    result = start("echo", {"name": "ü\n", "n": [1, None]}, on_progress=seen.append,
                   on_start=pids.append)  # fmt: skip
    assert (result["name"], result["n"]) == ("ü\n", [1, None])
    assert seen == [
        Progress("echo", 1, 2, "half", {"loss": 0.5, "shares": [0.25, 0.75]}),
        Progress("echo", 2, 2),
    ]
    assert len(pids) == 1 and gone(pids[0], seconds=0.1)


def test_a_request_larger_than_a_pipe() -> None:
    assert start("echo", {"text": "x" * 2_000_000})["text"] == "x" * 2_000_000


def test_more_output_than_a_pipe_holds() -> None:
    assert start("chatter")["isolation"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS])
def test_a_crash_names_its_signal(number: signal.Signals) -> None:
    error = refused("crash", {"signal": number})
    assert error.reason == "crash"
    assert f"crashed ({number.name})" in str(error)
    assert "in crash" in error.detail  # where, from the fault handler


def test_a_kill_by_the_system() -> None:
    error = refused("crash", {"signal": signal.SIGKILL})
    assert error.reason == "memory"
    assert "killed by the system" in str(error)


def test_an_exit_without_a_result() -> None:
    assert "exit code 7" in str(refused("leave", {"code": 7}))
    assert "exit code 0" in str(refused("leave", {"code": 0}))


@pytest.mark.parametrize(
    "words",
    [
        "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_a_library_that_ends_the_process_for_want_of_memory(words: str) -> None:
    error = refused("leave", {"code": 1, "last words": words})
    assert error.reason == "memory"
    assert "memory limit" in str(error)


def test_an_unexpected_error() -> None:
    error = refused("bug")
    assert error.reason == "crash"
    assert "KeyError" in str(error)


CLASSES = [
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, RnpError)
]


@pytest.mark.parametrize("name", CLASSES)
def test_expected_errors_keep_class_and_message(name: str) -> None:
    with pytest.raises(RnpError) as caught:
        start("fail", {"class": name, "message": "expected a, got b\nsecond line"})
    assert type(caught.value) is getattr(errors, name)
    assert str(caught.value) == "expected a, got b\nsecond line"


def test_a_refused_checkpoint_is_a_checkpoint_error(tmp_path: Path) -> None:
    from rnp_core.isolation import isolated_inspect

    with pytest.raises(errors.CheckpointError, match="No such file"):
        isolated_inspect(tmp_path / "missing.pth")


@pytest.mark.parametrize("how", ["python", "torch", "shared"])
def test_a_memory_hog(how: str) -> None:
    error = refused("hog", {"how": how}, limits=IsolationLimits(memory_bytes=1 << 30, seconds=60))
    assert error.reason == "memory"
    assert "memory" in str(error) and "raise" in str(error)


def test_a_hang_ends_at_the_time_limit() -> None:
    started = time.monotonic()
    pids: list[int] = []
    limits = IsolationLimits(memory_bytes=2 << 30, seconds=4.0)
    error = refused("hang", limits=limits, on_progress=lambda p: pids.extend(json.loads(p.message)))
    assert error.reason == "time"
    assert "time limit of 4 s" in str(error)
    assert time.monotonic() - started < 6
    assert len(pids) == 2 and all(gone(pid, seconds=0.5) for pid in pids)


@pytest.mark.parametrize("through", ["callable", "progress"])
def test_cancel_ends_the_whole_group_within_a_second(through: str) -> None:
    pids: list[int] = []
    asked: list[float] = []

    def on_progress(progress: Progress) -> None:
        pids.extend(json.loads(progress.message))
        asked.append(time.monotonic())
        if through == "progress":
            raise ScanCancelled("enough")

    def cancelled() -> bool:
        return through == "callable" and bool(asked)

    with pytest.raises(ScanCancelled):
        start("hang", on_progress=on_progress, cancelled=cancelled)
    assert time.monotonic() - asked[0] < 1.0
    assert all(gone(pid, seconds=0.3) for pid in pids)


def test_cancelled_is_asked_often() -> None:
    times: list[float] = []

    def cancelled() -> bool:
        times.append(time.monotonic())
        return len(times) > 15

    with pytest.raises(ScanCancelled):
        start("hang", cancelled=cancelled)
    gaps = [later - sooner for sooner, later in zip(times, times[1:], strict=False)]
    assert sorted(gaps)[len(gaps) // 2] <= run_module.POLL_SECONDS + 0.05


def test_any_error_of_the_callback_ends_the_child() -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        start("hang", on_start=pids.append, on_progress=lambda progress: 1 / 0)  # type: ignore[arg-type, return-value]
    assert gone(pids[0], seconds=0.3)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"1\n",
        b'{"kind": "other"}\n',
        b'{"kind": "progress", "progress": {"stage": 1}}\n',
        b'{"kind": "progress", "progress": {"stage": "a", "step": 1, "total": "x"}}\n',
        b'{"kind": "progress", "progress": '
        b'{"stage": "a", "step": 1, "total": 2, "values": {"a": {}}}}\n',
        b'{"kind": "error", "class": "SystemExit", "message": "x"}\n',
        b'{"kind": "error", "class": "Literal", "message": "x"}\n',
        b'{"kind": "result", "value": 3}\n',
    ],
)
def test_garbage_on_the_pipe(data: bytes) -> None:
    error = refused("garbage", {"hex": data.hex()})
    assert error.reason == "protocol"
    assert "no message" in str(error)


def test_a_message_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LINE_BYTES", 1 << 20)
    error = refused("garbage", {"hex": (b"x" * 1_500_000).hex()})
    assert error.reason == "protocol" and "without end" in str(error)


def test_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_EXIT_SECONDS", 0.2)
    assert refused("garbage", {"hex": "", "close": True}).reason == "protocol"


def test_a_flood_does_not_outrun_the_clock() -> None:
    limits = IsolationLimits(memory_bytes=2 << 30, seconds=1.0)
    started = time.monotonic()
    assert refused("flood", limits=limits).reason == "time"
    assert time.monotonic() - started < 3


def test_control_characters_are_made_visible() -> None:
    with pytest.raises(errors.DataError) as caught:
        start("fail", {"class": "DataError", "message": "\x1b[2J\u202egone"})
    assert str(caught.value) == "\\x1b[2J\\x202egone"


def test_unknown_tasks_and_limits() -> None:
    with pytest.raises(ConfigError, match="expected a task"):
        run_module.run_isolated("other", {}, limits=QUICK)
    with pytest.raises(ConfigError, match="memory limit of at least 1 GiB"):
        IsolationLimits(memory_bytes=1)
    with pytest.raises(ConfigError, match="time limit above 0"):
        IsolationLimits(seconds=0)


def test_many_at_once_from_threads() -> None:
    results: list[int] = []

    def work(number: int) -> None:
        results.append(start("echo", {"number": number})["number"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(6))


_PARENT = """
import sys, tempfile
from tests.rnp_core.isolation.helpers import start
tempfile.tempdir = sys.argv[2]
start("hang", {"flag": sys.argv[1]})
"""


def test_a_killed_parent_leaves_no_orphan(tmp_path: Path, temporary: Path) -> None:
    flag = tmp_path / "flag"
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(flag), str(temporary)])
    assert appears(flag)
    child, grandchild = json.loads(flag.read_text())
    assert len(list(temporary.iterdir())) == 1
    parent.kill()
    parent.wait()
    assert gone(child)
    subprocess.run(["kill", "-9", str(grandchild)], check=False)
    start("echo")  # removes what the killed parent left
    assert list(temporary.iterdir()) == []


def test_the_parent_imports_no_torch() -> None:
    code = (
        "import sys; from rnp_core.isolation import isolated_inspect; "
        "isolated_inspect('assets/demo/models/patch.safetensors'); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
