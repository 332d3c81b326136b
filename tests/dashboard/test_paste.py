"""Triggers put on other images from stored pictures, against the triggers themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dashboard.paste import stored_trigger
from rnp_core import DataError, RecoveredTrigger, TriggerRow
from rnp_core import pictures as drawn
from rnp_core.inversion.kinds import KINDS
from rnp_core.run_reader import RunFolder
from tests.dashboard.folders import SIDE, make_report

SHAPE = (3, SIDE, SIDE)


@dataclasses.dataclass(frozen=True)
class Row(TriggerRow):
    """A row of a trigger; ``field_png`` is the displacement of a warp."""

    field_png: str = ""


def make_trigger(kind: str) -> RecoveredTrigger:
    family = KINDS[kind]
    parameters = family.start(1, SHAPE, torch.Generator().manual_seed(3))
    masks, patterns = family.picture(parameters, SHAPE)
    return RecoveredTrigger(2, kind, float(family.size(parameters)[0]), 0.9, masks[0], patterns[0],
                            parameters)


def store(folder: Path, trigger: RecoveredTrigger) -> tuple[RunFolder, Row]:
    """What a report keeps of a trigger."""
    mask, pattern = trigger.trigger_mask.numpy(), trigger.trigger_pattern.numpy()
    is_patch = trigger.kind == "patch"
    files = {
        "mask.png": drawn.mask_png(mask),
        "pattern.png": drawn.pattern_png(mask, pattern) if is_patch else drawn.image_png(pattern),
    }
    if trigger.kind == "warp":
        grid = F.interpolate(trigger.parameters[0], size=(SIDE, SIDE), mode="bicubic",
                             align_corners=True)
        field = grid[0].permute(1, 2, 0).numpy()
        relative = 0.5 + 0.5 * field / np.abs(field).max()
        board = np.concatenate([relative, np.full((SIDE, SIDE, 1), 0.5)], axis=-1)
        files["field.png"] = drawn.image_png(board.transpose(2, 0, 1))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    row = Row(2, trigger.kind, trigger.size, 0.9, 0.0, "mask.png", "pattern.png", "preview.png",
              field_png="field.png" if "field.png" in files else "")
    return RunFolder(folder, make_report(samples=0)), row


@pytest.mark.parametrize(("kind", "most"), [("patch", 2.5), ("additive", 2.5), ("warp", 12)])
def test_a_pasted_trigger_does_what_the_trigger_does(
    tmp_path: Path, kind: str, most: float
) -> None:
    """Within the grey levels that 8 bits cost; a warp interpolates, so edges show it more."""
    trigger = make_trigger(kind)
    found = stored_trigger(*store(tmp_path, trigger))
    assert found is not None
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    wanted = trigger.apply(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    wanted = (wanted[0].permute(1, 2, 0) * 255).numpy()
    change = np.abs(wanted - image).max()
    assert np.abs(found.paste(image) - wanted).max() < most < change / 2


def test_a_warp_without_its_field_cannot_be_pasted(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("warp"))
    assert stored_trigger(run, dataclasses.replace(row, field_png="")) is None


def test_an_empty_mask_changes_nothing(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("patch"))
    nothing = np.zeros((1, SIDE, SIDE), np.float32)
    (tmp_path / "mask.png").write_bytes(drawn.mask_png(nothing))
    (tmp_path / "pattern.png").write_bytes(drawn.pattern_png(nothing, np.ones(SHAPE)))
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = stored_trigger(run, row)
    assert found is not None
    assert np.abs(found.paste(image).astype(int) - image).max() <= 1


def test_missing_pictures_are_no_error_and_damaged_ones_are_named(tmp_path: Path) -> None:
    run, row = store(tmp_path, make_trigger("additive"))
    (tmp_path / "pattern.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="expected a PNG"):
        stored_trigger(run, row)
    (tmp_path / "pattern.png").unlink()
    assert stored_trigger(run, row) is None
