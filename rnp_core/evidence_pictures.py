"""Pictures for the report: recovered triggers and attributions, as PNG bytes by relative path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnp_core.data import DefenseSet
from rnp_core.inversion import ANY_LABEL, KINDS, RecoveredTrigger
from rnp_core.inversion.kinds import PatchKind
from rnp_core.model import SuspectModel
from rnp_core.pictures import (
    attribution_overlay_png,
    attribution_scale,
    difference_image,
    field_image,
    image_png,
    mask_png,
    pattern_image,
    pattern_png,
    strip_png,
)
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import AttributionRow


@dataclass(frozen=True, eq=False)
class DrawnMaps:
    """Attributions for the report.

    Attributes:
        rows: what was attributed, each with the path of its picture.
        pictures: path relative to the report to PNG bytes.
        skipped: a method or layer that was left out, with the reason.
    """

    rows: list[AttributionRow] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: DrawnMaps) -> DrawnMaps:
        return DrawnMaps(
            self.rows + other.rows,
            self.pictures | other.pictures,
            self.skipped | other.skipped,
        )


@dataclass(frozen=True, eq=False)
class TriggerPictures:
    """Paths of the pictures of a trigger; ``field_png`` is empty where it is no warp."""

    mask_png: str
    pattern_png: str
    preview_png: str
    field_png: str


def draw_trigger(
    trigger: RecoveredTrigger, defense_set: DefenseSet
) -> tuple[TriggerPictures, dict[str, bytes]]:
    """Mask, pattern and a preview (clean, triggered, difference), for a warp its field too: their
    paths, and path to PNG bytes."""
    aim = "any" if trigger.label == ANY_LABEL else f"label{trigger.label}"
    stem = f"triggers/{aim}-{trigger.kind}"
    paths = TriggerPictures(
        f"{stem}-mask.png",
        f"{stem}-pattern.png",
        f"{stem}-preview.png",
        f"{stem}-field.png" if trigger.kind == "warp" else "",
    )
    example = first_meant(defense_set, trigger)
    triggered = trigger.apply(example)
    mask, pattern = trigger.trigger_mask, trigger.trigger_pattern
    pictures = {paths.mask_png: mask_png(mask.numpy())}
    if isinstance(KINDS[trigger.kind], PatchKind):
        pictures[paths.pattern_png] = pattern_png(mask.numpy(), pattern.numpy())
        shown = pattern_image(mask.numpy(), pattern.numpy())
    else:
        pictures[paths.pattern_png] = image_png(pattern.numpy())
        shown = pattern.numpy()
    if paths.field_png:
        moves = field_image(_moves(trigger, *example.shape[2:]).numpy(), trigger.size / 100)
        pictures[paths.field_png] = image_png(moves)
    before, after = example[0].numpy(), triggered[0].numpy()
    change = difference_image(before, after, amplify=3.0)
    pictures[paths.preview_png] = strip_png([before, after, change, shown])
    return paths, pictures


def _moves(trigger: RecoveredTrigger, height: int, width: int) -> Tensor:
    """How far away a warp takes each pixel from, ``(2, H, W)`` (x, y), in shares of the sides."""
    sides = torch.linspace(0, 1, width), torch.linspace(0, 1, height)
    places = torch.stack(torch.meshgrid(*sides, indexing="xy"))
    return trigger.apply(places[None])[0] - places


def draw_attributions(
    models: Sequence[tuple[str, SuspectModel]],
    items: Sequence[tuple[int, Tensor, int]],
    *,
    seed: int,
    on_progress: OnProgress = ignore_progress,
) -> DrawnMaps:
    """Attribute every item for every model and method, with one colour scale per image and method.

    Args:
        models: (name, model), "original" and "repaired".
        items: (index, image ``(C, H, W)``, target label).
    """
    from rnp_core.stages.attribution import attribute  # captum is slow to import

    images = torch.stack([image for _, image, _ in items])
    targets = torch.tensor([target for _, _, target in items])
    found_by = {
        name: attribute(model, images, targets, seed=seed, on_progress=on_progress)
        for name, model in models
    }
    maps = {name: found.by_method for name, found in found_by.items()}
    skipped = {
        f"{method} of the {name} model": reason
        for name, attributions in found_by.items()
        for method, reason in attributions.skipped.items()
    }
    rows: list[AttributionRow] = []
    pictures: dict[str, bytes] = {}
    for place, (index, image, target) in enumerate(items):
        for method in maps[models[0][0]]:
            found = {name: maps[name][method].maps[place] for name in maps if method in maps[name]}
            scale = attribution_scale([values.numpy() for values in found.values()])
            for name, values in found.items():
                png = f"attributions/{_file_name(index)}-{method}-{name}.png"
                pictures[png] = attribution_overlay_png(image.numpy(), values.numpy(), scale=scale)
                rows.append(AttributionRow(index, method, target, name, png))
    return DrawnMaps(rows, pictures, skipped)


def draw_filter_maps(
    model: SuspectModel,
    image: Tensor,
    index: int,
    target: int,
    filters: Mapping[str, list[int]],
    *,
    seed: int,
) -> DrawnMaps:
    """Which pixels of ``image`` ``(C, H, W)`` drive ``filters``, by layer, one picture each."""
    from rnp_core.stages.attribution import attribute_filters

    found = attribute_filters(model, image[None], filters, seed=seed)
    rows: list[AttributionRow] = []
    pictures: dict[str, bytes] = {}
    for number, (layer, maps) in enumerate(found.maps.items(), start=1):
        png = f"attributions/{_file_name(index)}-filters-{number}.png"  # names are the file's text
        pictures[png] = attribution_overlay_png(image.numpy(), maps[0].numpy())
        rows.append(AttributionRow(index, f"filters:{layer}", target, "original", png))
    skipped = {f"filters of {layer}": reason for layer, reason in found.skipped.items()}
    return DrawnMaps(rows, pictures, skipped)


def first_meant(defense_set: DefenseSet, trigger: RecoveredTrigger) -> Tensor:
    """The first clean image that ``trigger`` is for, ``(1, C, H, W)``; any where it is for none."""
    index = int(trigger.is_for(defense_set.labels).int().argmax())
    return defense_set.images[index : index + 1]


def _file_name(index: int) -> str:
    return "triggered" if index < 0 else f"sample{index}"
