"""The command line: exit codes, one clear line for each bad input, nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from rnp_core.cli import _one_line, _summary, main
from rnp_core.report import Finding, ScanReport, StageRow
from tests.helpers.files import CLASSES, SIDE, write_checkpoint, write_images
from tests.helpers.reports import example_report

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    return {
        "checkpoint": write_checkpoint(tmp_path / "model.safetensors"),
        "clean": write_images(tmp_path / "clean.npz"),
        "out": tmp_path / "run",
    }


def run(inputs: dict[str, Path], *more: str) -> int:
    return main(
        [
            "scan",
            str(inputs["checkpoint"]),
            "--clean",
            str(inputs["clean"]),
            "--out",
            str(inputs["out"]),
            "--preset",
            "quick",
            *more,
        ]
    )


def refused(capsys: Capsys, code: int) -> str:
    """The one line of an error."""
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("rnp: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_scan_writes_a_whole_report(inputs: dict[str, Path], capsys: Capsys) -> None:
    code = run(inputs, "--suspects", str(inputs["clean"]), "--json")
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((inputs["out"] / "report.json").read_text(encoding="utf-8"))
    assert printed == written
    report = ScanReport.from_dict(written)
    expected = {"no_evidence": 0, "backdoored": 1, "suspicious": 1, "inconclusive": 3}
    assert code == expected[report.verdict]
    assert report.model.num_classes == CLASSES
    assert len(report.samples) == 80
    for row in report.triggers:
        assert (inputs["out"] / row.preview_png).is_file()
    repaired = load_file(inputs["out"] / report.files["repaired_model"])
    assert set(repaired) == set(load_file(inputs["checkpoint"]))


def test_the_summary_speaks(inputs: dict[str, Path], capsys: Capsys) -> None:
    run(inputs)
    out = capsys.readouterr().out
    assert "score" in out
    assert "accuracy" in out


def test_the_summary_says_what_was_removed(capsys: Capsys) -> None:
    report = example_report()
    _summary(report, Path("run"))
    out = " ".join(capsys.readouterr().out.split())
    assert "0.890 after removal" in out and "pruned 1 filters" in out
    skipped = StageRow("removal", "skipped", 0.0, "no label is suspected")
    _summary(replace(report, pruned_filters=[], stages=[skipped]), Path("run"))
    out = " ".join(capsys.readouterr().out.split())
    assert "after removal" not in out
    assert "removal nothing was removed, the stage was skipped: no label is suspected" in out
    done = StageRow("removal", "done", 1.0)
    _summary(replace(report, pruned_filters=[], stages=[done]), Path("run"))
    assert "nothing was removed" in capsys.readouterr().out
    tuned = Finding("info", "removal", "Fine-tuned.", rule="RNP004")
    _summary(replace(report, pruned_filters=[], stages=[done], findings=[tuned]), Path("run"))
    assert "after removal" in capsys.readouterr().out


def test_messages_of_several_lines_become_one() -> None:
    text = "which differs in 2 tensor(s):\n  missing a\n  fc: expected (1,), got (2,)\n\nname it"
    assert _one_line(ValueError(text)) == (
        "which differs in 2 tensor(s): missing a; fc: expected (1,), got (2,); name it"
    )
    assert _one_line(ValueError("")) == ""


def test_an_old_scan_is_kept_unless_forced(inputs: dict[str, Path], capsys: Capsys) -> None:
    run(inputs, "--quiet")
    before = (inputs["out"] / "report.json").read_text(encoding="utf-8")
    assert "use --force" in refused(capsys, run(inputs))
    assert (inputs["out"] / "report.json").read_text(encoding="utf-8") == before
    assert run(inputs, "--force", "--quiet") in (0, 1, 3)


def test_the_same_seed_gives_the_same_report(inputs: dict[str, Path]) -> None:
    run(inputs, "--quiet")
    first = json.loads((inputs["out"] / "report.json").read_text(encoding="utf-8"))
    run(inputs, "--quiet", "--force")
    second = json.loads((inputs["out"] / "report.json").read_text(encoding="utf-8"))
    for report in (first, second):
        report.pop("created_at")
        for stage in report["stages"]:
            stage.pop("seconds")
    assert first == second


def test_truncated_and_foreign_files(inputs: dict[str, Path], capsys: Capsys) -> None:
    whole = inputs["checkpoint"].read_bytes()
    inputs["checkpoint"].write_bytes(whole[: len(whole) // 2])
    refused(capsys, run(inputs))
    inputs["checkpoint"].write_text("not a checkpoint")
    refused(capsys, run(inputs))
    inputs["checkpoint"].unlink()
    refused(capsys, run(inputs))
    assert not inputs["out"].exists()


def test_unknown_architecture_lists_tensors(inputs: dict[str, Path], capsys: Capsys) -> None:
    save_file({"some.odd.weight": torch.rand(3, 2, 2)}, inputs["checkpoint"])
    refused(capsys, run(inputs))


def test_non_finite_weights(inputs: dict[str, Path], capsys: Capsys) -> None:
    write_checkpoint(inputs["checkpoint"], **{"fc1.bias": torch.full((24,), float("nan"))})
    assert "fc1.bias" in refused(capsys, run(inputs))


def test_wrong_class_count(inputs: dict[str, Path], capsys: Capsys) -> None:
    line = refused(capsys, run(inputs, "--num-classes", "7"))
    assert "expected a checkpoint for 7 classes" in line


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        (np.zeros(80, dtype=np.int64), 80),  # one class
        (np.arange(4), 4),  # far too few
        (np.arange(80) % 9, 80),  # outside the classes
    ],
)
def test_bad_clean_sets(
    inputs: dict[str, Path], capsys: Capsys, labels: np.ndarray, count: int
) -> None:
    write_images(inputs["clean"], count=count, labels=labels)
    refused(capsys, run(inputs))


def test_an_empty_folder_and_a_missing_one(inputs: dict[str, Path], capsys: Capsys) -> None:
    inputs["clean"] = inputs["clean"].parent / "empty"
    refused(capsys, run(inputs))
    inputs["clean"].mkdir()
    refused(capsys, run(inputs))


def test_a_broken_image_is_a_named_finding(inputs: dict[str, Path]) -> None:
    x = np.load(inputs["clean"])["x"]
    folder = inputs["clean"].parent / "images"
    for index, pixels in enumerate(x):
        place = folder / str(index % CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index:03}.png")
    (folder / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    inputs["clean"] = folder
    assert run(inputs, "--quiet") in (0, 1, 3)
    report = json.loads((inputs["out"] / "report.json").read_text(encoding="utf-8"))
    assert any("broken.png" in finding["message"] for finding in report["findings"])
    assert report["data"]["clean"]["count"] == 80


def test_a_wrong_class_order_is_named(inputs: dict[str, Path]) -> None:
    write_images(inputs["clean"], labels=(np.arange(80) + 1) % CLASSES)
    assert run(inputs, "--quiet") in (1, 3)
    report = json.loads((inputs["out"] / "report.json").read_text(encoding="utf-8"))
    assert any("class order looks different" in f["message"] for f in report["findings"])


def test_bad_settings(inputs: dict[str, Path], capsys: Capsys) -> None:
    assert "--mean and --std go together" in refused(capsys, run(inputs, "--mean", "0,0,0"))
    assert "expected numbers" in refused(capsys, run(inputs, "--mean", "a", "--std", "1"))
    assert "all above 0" in refused(capsys, run(inputs, "--mean", "0,0,0", "--std", "1,1,0"))
    assert "expected a normalisation" in refused(capsys, run(inputs, "--normalization", "x"))
    assert "--threads" in refused(capsys, run(inputs, "--threads", "0"))
    without = ["scan", str(inputs["checkpoint"]), "--out", str(inputs["out"])]
    assert "--clean is needed" in refused(capsys, main(without))
    assert "class names" in refused(capsys, run(inputs, "--class-names", "nowhere.txt"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "abc"], "argument --seed: invalid int value: 'abc'"),
        (["--preset", "slow"], "argument --preset: invalid choice: 'slow'"),
        (["--device", "tpu"], "argument --device: invalid choice: 'tpu'"),
        (["--suspects", ""], "argument --suspects: expected a path, got an empty text"),
        (["--class-names", ""], "argument --class-names: expected a path, got an empty text"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_arguments_are_one_line_too(
    inputs: dict[str, Path], capsys: Capsys, more: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(inputs, *more)
    line = refused(capsys, caught.value.code)  # type: ignore[arg-type]
    assert words in line
    assert line.endswith("--help\n")


def test_empty_paths_are_not_the_working_folder(
    inputs: dict[str, Path], capsys: Capsys
) -> None:
    assert "expected a checkpoint to scan, got an empty" in refused(
        capsys, main(["scan", "", "--out", str(inputs["out"])])
    )
    for option in ("--out", "--clean", "--home"):
        with pytest.raises(SystemExit):
            main(["scan", "x.pth", "--out", str(inputs["out"]), option, ""])
        assert f"argument {option}: expected a path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seed", "-1", "expected --seed from 0 to"),
        ("--seed", str(2**63), "expected --seed from 0 to"),
        ("--num-classes", "1", "expected --num-classes from 2 to 65536, got 1"),
        ("--threads", "100000", "expected --threads from 1 to 1024, got 100000"),
        ("--out", "a\x00b", "expected text for out"),
        ("--clean", "a\x00b", "expected text for clean"),
        ("--arch", "", "expected text for arch, got ''"),
        ("--memory", "nan", "expected --memory in GiB, got nan"),
        ("--memory", "0.1", "expected a memory limit of at least 1 GiB"),
        ("--time-limit", "nan", "expected a time limit above 0 seconds"),
    ],
)
def test_values_out_of_range(
    inputs: dict[str, Path], capsys: Capsys, option: str, value: str, words: str
) -> None:
    assert words in refused(capsys, run(inputs, option, value))


def test_the_target_may_not_hold_other_files(inputs: dict[str, Path], capsys: Capsys) -> None:
    inputs["out"].mkdir()
    (inputs["out"] / "thesis.txt").write_text("mine")
    assert "choose an empty folder" in refused(capsys, run(inputs, "--force"))
    assert (inputs["out"] / "thesis.txt").read_text() == "mine"


def test_own_architecture(inputs: dict[str, Path]) -> None:
    source = inputs["out"].parent / "mine.py"
    source.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def network(num_classes):\n"
        f"    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), "
        f"fc1=nn.Linear({3 * SIDE * SIDE}, 24), relu=nn.ReLU(), fc2=nn.Linear(24, num_classes)))\n"
    )
    assert run(inputs, "--arch", f"{source}:network", "--quiet") in (0, 1, 3)


def test_inspect(inputs: dict[str, Path], capsys: Capsys) -> None:
    assert main(["inspect", str(inputs["checkpoint"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "safetensors"
    assert main(["inspect", str(inputs["checkpoint"])]) == 0
    assert "sha256" in capsys.readouterr().out


def test_demo_lists_the_models(capsys: Capsys) -> None:
    assert main(["demo"]) == 0
    assert "demo:patch" in capsys.readouterr().out
