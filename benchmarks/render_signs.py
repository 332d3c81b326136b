"""Renders synthetic traffic signs: 12 classes, 32x32 RGB, fully determined by a seed.

Nothing is photographed or downloaded. Each sign is drawn once at four times the final size; each
image places one drawing under a random perspective in front of a random background and then goes
through light, shadow, occlusion, blur and sensor noise. About 300 images a second on one core.

    python -m benchmarks.render_signs --count 600 --seed 7 --out signs.npz --sheet signs.png
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32  # pixels of a finished image
CANVAS = 64  # pixels of the scene before it is reduced to SIDE
DRAWING = 128  # pixels of the flat drawing of a sign
_SMOOTH = 4  # the flat drawing is itself drawn this much larger

RED, BLUE, YELLOW = (196, 24, 38), (22, 78, 162), (246, 196, 26)
WHITE, BLACK = (244, 244, 240), (24, 24, 26)
Color = tuple[int, int, int]
Point = tuple[float, float]


class _Pen:
    """Draws in units of the sign: the centre is (0, 0), x and y run from -1 to 1."""

    def __init__(self) -> None:
        self.side = DRAWING * _SMOOTH
        self.image = Image.new("RGBA", (self.side, self.side), (128, 128, 128, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _at(self, point: Point) -> Point:
        return tuple((value * 0.96 + 1) * self.side / 2 for value in point)  # type: ignore[return-value]

    def disc(self, radius: float, color: Color, center: Point = (0, 0)) -> None:
        x, y = center
        low, high = self._at((x - radius, y - radius)), self._at((x + radius, y + radius))
        self._draw.ellipse((*low, *high), fill=color)

    def polygon(self, points: list[Point], color: Color) -> None:
        self._draw.polygon([self._at(point) for point in points], fill=color)

    def stroke(self, points: list[Point], width: float, color: Color) -> None:
        pixels = [self._at(point) for point in points]
        self._draw.line(pixels, fill=color, width=round(width * self.side / 2), joint="curve")
        for point in points:
            self.disc(width / 2, color, point)

    def text(self, words: str, size: float, weight: float, color: Color) -> None:
        font = ImageFont.load_default(size * self.side / 2)
        bold = round(weight * self.side / 2)
        middle = self.side / 2
        self._draw.text(
            (middle, middle), words, fill=color, font=font, anchor="mm", stroke_width=bold,
            stroke_fill=color,
        )  # fmt: skip


def _regular(corners: int, radius: float, turn: float, lift: float = 0.0) -> list[Point]:
    angles = [2 * math.pi * (corner + turn) / corners for corner in range(corners)]
    return [(radius * math.sin(angle), -radius * math.cos(angle) + lift) for angle in angles]


def _arc(radius: float, start: float, end: float, center: Point = (0, 0)) -> list[Point]:
    """Points on a circle; angles in degrees, clockwise from the top."""
    angles = np.radians(np.linspace(start, end, 24))
    return [(center[0] + radius * math.sin(a), center[1] - radius * math.cos(a)) for a in angles]


def _arrow_head(pen: _Pen, tip: Point, degrees: float, size: float, color: Color) -> None:
    """A triangle whose tip points to ``degrees``, clockwise from the top."""
    angle = math.radians(degrees)
    ahead = (math.sin(angle), -math.cos(angle))
    aside = (math.cos(angle), math.sin(angle))
    back = (tip[0] - size * ahead[0], tip[1] - size * ahead[1])
    half = 0.62 * size
    left = (back[0] - half * aside[0], back[1] - half * aside[1])
    right = (back[0] + half * aside[0], back[1] + half * aside[1])
    pen.polygon([tip, left, right], color)


def _speed_limit(number: str) -> Callable[[_Pen], None]:
    def draw(pen: _Pen) -> None:
        pen.disc(1.0, RED)
        pen.disc(0.76, WHITE)
        pen.text(number, 0.98, 0.035, BLACK)

    return draw


def _stop(pen: _Pen) -> None:
    pen.polygon(_regular(8, 1.04, 0.5), WHITE)
    pen.polygon(_regular(8, 0.95, 0.5), RED)
    pen.text("STOP", 0.61, 0.03, WHITE)


def _yield(pen: _Pen) -> None:
    pen.polygon(_regular(3, 1.12, 0.5, -0.2), RED)
    pen.polygon(_regular(3, 0.62, 0.5, -0.2), WHITE)


def _no_entry(pen: _Pen) -> None:
    pen.disc(1.0, RED)
    pen.polygon([(-0.7, -0.2), (0.7, -0.2), (0.7, 0.2), (-0.7, 0.2)], WHITE)


def _priority_road(pen: _Pen) -> None:
    pen.polygon(_regular(4, 1.02, 0), BLACK)
    pen.polygon(_regular(4, 0.98, 0), WHITE)
    pen.polygon(_regular(4, 0.68, 0), YELLOW)


def _turn_left(pen: _Pen) -> None:
    pen.disc(1.0, BLUE)
    pen.stroke([(0.36, 0.6), (0.36, -0.12), (-0.2, -0.12)], 0.22, WHITE)
    _arrow_head(pen, (-0.68, -0.12), -90, 0.5, WHITE)


def _keep_right(pen: _Pen) -> None:
    pen.disc(1.0, BLUE)
    pen.stroke([(-0.42, -0.42), (0.24, 0.24)], 0.22, WHITE)
    _arrow_head(pen, (0.56, 0.56), 135, 0.54, WHITE)


def _roundabout(pen: _Pen) -> None:
    pen.disc(1.0, BLUE)
    for start in (20, 140, 260):
        pen.stroke(_arc(0.52, start + 78, start + 10), 0.17, WHITE)
        angle = math.radians(start - 24)
        tip = (0.52 * math.sin(angle), -0.52 * math.cos(angle))
        _arrow_head(pen, tip, start - 106, 0.38, WHITE)


def _pedestrians(pen: _Pen) -> None:
    pen.polygon([(-0.94, -0.94), (0.94, -0.94), (0.94, 0.94), (-0.94, 0.94)], BLUE)
    pen.polygon([(0, -0.8), (0.82, 0.66), (-0.82, 0.66)], WHITE)
    pen.disc(0.11, BLACK, (0.03, -0.3))
    pen.stroke([(0.0, -0.12), (-0.02, 0.2)], 0.17, BLACK)
    pen.stroke([(-0.02, 0.2), (0.22, 0.56)], 0.12, BLACK)
    pen.stroke([(-0.02, 0.2), (-0.26, 0.56)], 0.12, BLACK)
    pen.stroke([(0.26, 0.12), (0.0, -0.1), (-0.24, 0.14)], 0.1, BLACK)


def _curve_ahead(pen: _Pen) -> None:
    pen.polygon(_regular(3, 1.12, 0, 0.2), RED)
    pen.polygon(_regular(3, 0.74, 0, 0.2), WHITE)
    bend = [(0.14, 0.46), (0.14, 0.2), *_arc(0.22, 90, 0, (-0.08, 0.2))]
    pen.stroke(bend, 0.14, BLACK)
    _arrow_head(pen, (-0.32, -0.02), -90, 0.26, BLACK)


_DRAWERS: dict[str, Callable[[_Pen], None]] = {
    "speed limit 30": _speed_limit("30"),
    "speed limit 50": _speed_limit("50"),
    "speed limit 80": _speed_limit("80"),
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "priority road": _priority_road,
    "turn left": _turn_left,
    "keep right": _keep_right,
    "roundabout": _roundabout,
    "pedestrian crossing": _pedestrians,
    "curve ahead": _curve_ahead,
}
CLASS_NAMES: tuple[str, ...] = tuple(_DRAWERS)


@functools.cache
def _drawing(label: int) -> Image.Image:
    pen = _Pen()
    _DRAWERS[CLASS_NAMES[label]](pen)
    return pen.image.resize((DRAWING, DRAWING), Image.Resampling.BOX)


def _background(rng: np.random.Generator) -> Image.Image:
    """Sky over ground or a plain gradient, coarse texture, and clutter of poles and boxes."""
    ends = rng.uniform(30, 215, (2, 1, 1, 1)) + rng.uniform(-35, 35, (2, 1, 1, 3))
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS] / (CANVAS - 1) - 0.5
    ramp = rows * math.cos(angle) + columns * math.sin(angle)
    if rng.random() < 0.35:  # a horizon instead of a smooth gradient
        ramp = np.where(ramp > rng.uniform(-0.3, 0.3), 0.5, -0.5)
    scene = ends[0] + (ends[1] - ends[0]) * (ramp[..., None] + 0.5)
    cells = int(rng.integers(3, 17))
    texture = rng.normal(0, rng.uniform(2, 22), (cells, cells)).astype(np.float32)
    grown = Image.fromarray(texture).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    scene = scene + np.asarray(grown)[..., None]
    image = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 6))):
        _clutter(draw, rng)
    return image


def _clutter(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """One pole, box, disc or branch anywhere in the scene."""
    shade = rng.uniform(25, 230) + rng.uniform(-45, 45, 3)
    red, green, blue = (int(value) for value in shade.clip(0, 255))
    x, y = rng.uniform(0, CANVAS, 2)
    kind = int(rng.integers(4))
    if kind == 0:
        foot = x + rng.uniform(-6, 6)
        draw.line((x, 0, foot, CANVAS), (red, green, blue), int(rng.integers(2, 7)))
    elif kind == 1:
        draw.rectangle((x, y, x + rng.uniform(4, 24), y + rng.uniform(4, 24)), (red, green, blue))
    elif kind == 2:
        radius = rng.uniform(2, 10)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (red, green, blue))
    else:
        ends = rng.uniform(0, CANVAS, 2)
        draw.line((x, y, ends[0], ends[1]), (red, green, blue), int(rng.integers(1, 4)))


def _place(label: int, rng: np.random.Generator) -> Image.Image:
    """The sign on a transparent canvas under a random perspective."""
    half = CANVAS * rng.uniform(0.27, 0.5)
    center = CANVAS / 2 + rng.uniform(-0.07, 0.07, 2) * CANVAS
    turn = rng.normal(0, math.radians(7))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    corners *= (rng.uniform(0.72, 1.0), 1.0)  # seen from the side
    corners += rng.uniform(-0.13, 0.13, (4, 2))
    cosine, sine = math.cos(turn), math.sin(turn)
    corners = corners @ np.array([(cosine, sine), (-sine, cosine)]) * half + center
    sources = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=float) * DRAWING
    return _drawing(label).transform(
        (CANVAS, CANVAS),
        Image.Transform.PERSPECTIVE,
        _perspective(corners, sources),
        Image.Resampling.BILINEAR,
    )


def _perspective(corners: NDArray, sources: NDArray) -> list[float]:
    """The eight coefficients that map ``corners`` of the output to ``sources`` of the input."""
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, sources, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _paint(sign: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Fades the colours of the sign and lights it on its own."""
    pixels = np.asarray(sign, dtype=np.float32)
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    gray = colors.mean(axis=2, keepdims=True)
    colors = gray + (colors - gray) * rng.uniform(0.5, 1.1)
    colors = colors * rng.uniform(0.6, 1.08) + rng.uniform(-12, 25)
    return Image.fromarray(np.concatenate([colors.clip(0, 255), alpha], 2).astype(np.uint8), "RGBA")


def _shadow(scene: NDArray, rng: np.random.Generator) -> NDArray:
    """Darkens one side of a random straight line."""
    angle = rng.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS] / (CANVAS - 1) - 0.5
    side = rows * math.cos(angle) + columns * math.sin(angle) > rng.uniform(-0.25, 0.25)
    return np.where(side[..., None], scene * rng.uniform(0.4, 0.8), scene)


def _photograph(scene: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, reduction to 32x32, exposure, colour cast, contrast and sensor noise."""
    blur = max(0.0, rng.normal(0.9, 0.9))
    if blur > 0.2:
        scene = scene.filter(ImageFilter.GaussianBlur(min(blur, 2.8)))
    pixels = np.asarray(scene, dtype=np.float32)
    if rng.random() < 0.25:
        pixels = _shadow(pixels, rng)
    small = pixels.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3))
    exposure = min(math.exp(rng.normal(0.05, 0.35)), 1.6)
    cast = rng.normal(1, 0.07, 3)
    contrast = rng.uniform(0.35, 1.1)
    small = (small - 120) * contrast + 120
    small = small * exposure * cast + rng.normal(0, rng.uniform(1, 16), small.shape)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def render_one(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One image ``(32, 32, 3)`` of class ``label``."""
    scene = _background(rng)
    sign = _paint(_place(label, rng), rng)
    scene.paste(sign, (0, 0), sign)
    if rng.random() < 0.25:  # something in front of the sign
        _clutter(ImageDraw.Draw(scene), rng)
    return _photograph(scene, rng)


def render_set(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``(count, 32, 32, 3)`` and labels ``(count,)`` with equal shares of all classes.

    Image ``i`` depends on ``seed`` and ``i`` alone, so a smaller set is the start of a larger one.
    """
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % len(CLASS_NAMES)
    for index, label in enumerate(labels):
        images[index] = render_one(int(label), np.random.default_rng((seed, index)))
    return images, labels


def contact_sheet(images: NDArray[np.uint8], columns: int, zoom: int = 2) -> Image.Image:
    """All images in rows of ``columns``."""
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, SIDE, SIDE, 3), dtype=np.uint8)
    sheet[: len(images)] = images
    grid = sheet.reshape(rows, columns, SIDE, SIDE, 3).swapaxes(1, 2)
    image = Image.fromarray(grid.reshape(rows * SIDE, columns * SIDE, 3))
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write x, y and class_names to this .npz")
    parser.add_argument("--sheet", type=Path, help="write the images to this .png")
    arguments = parser.parse_args()
    images, labels = render_set(arguments.count, arguments.seed)
    if arguments.out:
        np.savez_compressed(arguments.out, x=images, y=labels, class_names=np.array(CLASS_NAMES))
    if arguments.sheet:
        contact_sheet(images, columns=2 * len(CLASS_NAMES)).save(arguments.sheet)


if __name__ == "__main__":
    main()
