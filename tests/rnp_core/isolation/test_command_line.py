"""The command line over a child that goes wrong: exit code 2 and one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnp_core.cli import main
from tests.helpers import layout_files
from tests.helpers.colours import SIDE, colour_images, colour_network, write_folder
from tests.helpers.files import write_checkpoint, write_images
from tests.rnp_core.isolation.helpers import appears, gone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="isolation needs POSIX")

FILL = (
    "kept = [mmap.mmap(-1, 1 << 26) for _ in range(64)]; "
    "[block.write(b'x' * (1 << 26)) for block in kept]; time.sleep(60)"
)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    checkpoint = write_checkpoint(tmp_path / "model.safetensors")
    clean = write_images(tmp_path / "clean.npz")
    out = tmp_path / "run"
    return ["scan", str(checkpoint), "--clean", str(clean), "--out", str(out)]


def arch(tmp_path: Path, body: str) -> list[str]:
    """An architecture that the user trusts, whose code does ``body`` when it is called."""
    source = tmp_path / "mine.py"
    source.write_text(f"import ctypes, mmap, os, pathlib, time\ndef network():\n    {body}\n")
    return ["--arch", f"{source}:network"]


@pytest.mark.parametrize(
    ("body", "more", "words"),
    [
        ("ctypes.string_at(0)", [], "crashed (SIGSEGV)"),
        ("os.abort()", [], "crashed (SIGABRT)"),
        ("os._exit(0)", [], "ended without a result"),
        ("time.sleep(60)", ["--time-limit", "6"], "time limit of 6 s"),
        (FILL, ["--memory", "1.5"], "memory limit of 1.5 GiB"),
    ],
)
def test_one_clear_line(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    body: str,
    more: list[str],
    words: str,
) -> None:
    assert main([*arguments, *arch(tmp_path, body), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rnp: ") and captured.err.count("\n") == 1
    assert words in captured.err
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".rnp-*"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--memory", "0.1"], "at least 1 GiB"),
        (["--memory", "nan"], "--memory in GiB"),
        (["--time-limit", "0"], "above 0 seconds"),
        (["--time-limit", "inf"], "above 0 seconds"),
    ],
)
def test_limits_outside_their_range(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert main([*arguments, *more]) == 2
    assert words in capsys.readouterr().err


def heed_interrupts() -> None:
    """A shell that starts the tests in the background has interrupts ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_the_child(arguments: list[str], tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    body = f"pathlib.Path({str(flag)!r}).write_text(str(os.getpid())); time.sleep(60)"
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "rnp_core", *arguments, *arch(tmp_path, body)]
    parent = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert appears(flag, seconds=60)
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=10)
    assert (parent.returncode, out) == (2, "")
    assert err == "rnp: interrupted; nothing was written\n"
    assert gone(int(flag.read_text()), seconds=0.5)
    assert not (tmp_path / "run").exists()


def test_the_report_says_how_it_was_isolated(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--preset", "quick", "--quiet", "--threads", "1"]) in (0, 1, 3)
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    record = report["environment"]["isolation"]
    assert record["network"] in ("blocked", "not blocked")
    assert report["environment"]["threads"] == 1


def test_a_trojai_folder_needs_no_clean_images(tmp_path: Path) -> None:
    folder = tmp_path / "id-00000000"
    folder.mkdir()
    layout_files.trojai_round(folder, colour_network(), side=SIDE)
    images, labels = colour_images(40)
    names = [f"class_{label}_example_{row}.png" for row, label in enumerate(labels)]
    write_folder(folder / "clean-example-data", images, names)
    out = tmp_path / "run"
    code = main(["scan", str(folder), "--out", str(out), "--preset", "quick", "--quiet"])
    assert code in (0, 1, 3)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["data"]["clean"]["count"] == 40
    assert report["model"]["architecture"] == "plain_cnn"


def test_inspect_of_a_refused_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.pth").write_text("<html>")
    assert main(["inspect", str(tmp_path / "page.pth"), "--json"]) == 2
    inspection = json.loads(capsys.readouterr().out)
    assert inspection["refusal"]
    assert inspection["isolation"]["network"] in ("blocked", "not blocked")
