"""Triggers put on other images from stored pictures, against the triggers themselves."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rnp_core import pictures as drawn
from rnp_core.data import DefenseSet
from rnp_core.errors import DataError
from rnp_core.evidence_pictures import draw_trigger
from rnp_core.inversion import KINDS, RecoveredTrigger
from rnp_core.report import TriggerRow
from rnp_core.run_folder import write_run
from rnp_core.run_reader import RunFolder
from rnp_core.stored_triggers import stored_trigger
from tests.helpers.reports import example_report

SHAPE = (3, 24, 40)


def make_trigger(kind: str, *, seed: int = 3) -> RecoveredTrigger:
    family = KINDS[kind]
    parameters = family.start(1, SHAPE, torch.Generator().manual_seed(seed))
    masks, patterns = family.picture(parameters, SHAPE)
    return RecoveredTrigger(2, kind, float(family.size(parameters)[0]), 0.9, masks[0], patterns[0],
                            parameters)


def store(folder: Path, trigger: RecoveredTrigger) -> tuple[RunFolder, TriggerRow]:
    """A run folder with the pictures of ``trigger``, and its row."""
    clean = DefenseSet(torch.rand(2, *SHAPE), torch.tensor([0, 1]), ("a", "b"))
    paths, pictures = draw_trigger(trigger, clean)
    row = TriggerRow(trigger.label, trigger.kind, trigger.size, trigger.flip_rate, 0.0,
                     paths.mask_png, paths.pattern_png, paths.preview_png,
                     field_png=paths.field_png)
    report = example_report()
    model = dataclasses.replace(report.model, input_shape=list(SHAPE))
    report = dataclasses.replace(report, triggers=[row], model=model)
    write_run(folder, report, pictures=pictures, repaired_state={"fc.weight": torch.ones(2, 2)})
    run = RunFolder.open(folder)
    return run, run.report.triggers[0]


def some_image() -> np.ndarray:
    """Smooth, so that a grey level that 8 bits cost does not show as a whole edge."""
    rows, columns = np.indices(SHAPE[1:])
    waves = np.stack([np.sin(rows / 3), np.cos(columns / 4), np.sin((rows + columns) / 5)], axis=-1)
    return np.round(127.5 + 120 * waves).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pasted_trigger_does_what_the_trigger_does(tmp_path: Path, kind: str) -> None:
    """Within the grey levels that 8 bits cost."""
    trigger = make_trigger(kind)
    found = stored_trigger(*store(tmp_path, trigger))
    assert found is not None
    image = some_image()
    wanted = trigger.apply(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    wanted = (wanted[0].permute(1, 2, 0) * 255).numpy()
    change = np.abs(wanted - image).max()
    assert np.abs(found.paste(image) - wanted).max() < 2 < change / 8


def test_a_warp_of_an_early_report_cannot_be_pasted(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("warp"))
    assert stored_trigger(run, dataclasses.replace(row, field_png="")) is None


def test_a_kind_of_another_version_cannot_be_pasted(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("warp"))
    assert stored_trigger(run, dataclasses.replace(row, kind="glow")) is None


def test_an_empty_mask_changes_nothing(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("patch"))
    nothing = np.zeros((1, *SHAPE[1:]), np.float32)
    (tmp_path / row.mask_png).write_bytes(drawn.mask_png(nothing))
    (tmp_path / row.pattern_png).write_bytes(drawn.pattern_png(nothing, np.ones(SHAPE)))
    found = stored_trigger(run, row)
    assert found is not None
    assert np.abs(found.paste(some_image()).astype(int) - some_image()).max() <= 1


@pytest.mark.parametrize(
    ("kind", "part"),
    [("patch", "mask_png"), ("patch", "pattern_png"), ("additive", "pattern_png"),
     ("warp", "field_png")],
)
def test_pictures_may_be_missing_or_outside_but_not_damaged(
    tmp_path: Path, kind: str, part: str
) -> None:
    run, row = store(tmp_path / "run", make_trigger(kind))
    picture = run.folder / getattr(row, part)
    (tmp_path / "outside.png").write_bytes(picture.read_bytes())
    outside = dataclasses.replace(row, **{part: "../outside.png"})
    assert stored_trigger(run, outside) is None
    picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match="expected a PNG"):
        stored_trigger(run, row)
    picture.unlink()
    assert stored_trigger(run, row) is None


@pytest.mark.parametrize("kind", ["additive", "warp"])
@pytest.mark.parametrize("norm", [float("nan"), -1.0, 1e300])
def test_a_size_that_cannot_be_is_refused(tmp_path: Path, kind: str, norm: float) -> None:
    run, row = store(tmp_path, make_trigger(kind))
    with pytest.raises(DataError, match="expected a trigger of 0 to 10000 percent"):
        stored_trigger(run, dataclasses.replace(row, norm=norm))


@pytest.mark.parametrize("shape", [[], [3, 8], [3, 0, 8], [3, -8, -8], [3, 10**6, 10**6]])
def test_an_input_that_cannot_be_is_refused(tmp_path: Path, shape: list[int]) -> None:
    run, row = store(tmp_path, make_trigger("patch"))
    model = dataclasses.replace(run.report.model, input_shape=shape)
    hostile = RunFolder(run.folder, dataclasses.replace(run.report, model=model))
    with pytest.raises(DataError, match="expected an input"):
        stored_trigger(hostile, row)


def test_the_dashboard_reads_a_trigger_without_torch() -> None:
    code = "import sys\nfrom rnp_core import stored_trigger\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
