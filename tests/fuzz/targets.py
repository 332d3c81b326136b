"""What is fuzzed: files to start from, and the readers that look at a mutant of one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rnp_core.checkpoints import ReadLimits, inspect_checkpoint, load_checkpoint
from rnp_core.errors import RnpError
from rnp_core.images import ImageLimits, read_defense_set, read_suspects
from rnp_core.offered import read_offered_suspects
from tests.helpers import layout_files
from tests.helpers.hostile_files import corpus
from tests.helpers.shared import SHARED
from tests.rnp_core.images.hostile import CASES
from tests.rnp_core.images.pictures import encode, random_pixels, write_zip

MOST_BYTES = 200_000
_LARGE = re.compile("million|MiB|deep|GiB|[0-9],000")
_READ_LIMITS = ReadLimits(pickle_steps=50_000, tensor_bytes=256 << 20)
_IMAGE_LIMITS = ImageLimits(
    image_pixels=1 << 20, total_bytes=64 << 20, array_bytes=64 << 20, result_bytes=256 << 20
)


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        name: of the kind.
        file_name: under which a mutant is written; no reader trusts it.
        seeds: small well-formed and hostile files, built below a folder.
        look: reads one file; gives a word for the answer.
    """

    name: str
    file_name: str
    seeds: Callable[[Path], list[bytes]]
    look: Callable[[Path], str]


def checkpoint_seeds(folder: Path) -> list[bytes]:
    """Small files of every layout, of the hostile corpus, and real ones where they are at hand."""
    model = layout_files.network()
    writers = [
        layout_files.rnp_tar,
        layout_files.backdoorbench_v1,
        layout_files.backdoorbench_v2,
        layout_files.backdoorbench_v2_pictures,
        layout_files.lightning,
        lambda where, net: layout_files.save(net, where / "module.pt"),
        lambda where, net: layout_files.save(net, where / "module.pt", legacy=True),
        lambda where, net: layout_files.save(net.state_dict(), where / "s.pt", legacy=True),
        lambda where, net: layout_files.timm_folder(where, net) / "model.safetensors",
        layout_files.pruned,
    ]
    paths = [write(_fresh(folder), model) for write in writers]
    small = [build for name, build in corpus().items() if not _LARGE.search(name)]
    paths += [build(_fresh(folder), folder / "canary") for build in small]
    if SHARED is not None:
        paths += sorted(SHARED.glob("checkpoints/*/*.pt"))
    return _small_files(paths)


def image_seeds(folder: Path) -> list[bytes]:
    """Archives of every file type and colour mode, arrays, and the hostile sources."""
    plain = random_pixels(1, 8, 8, 3)
    picture = Image.fromarray(plain)
    upright = Image.Exif()
    upright[0x0112] = 6
    frames = [Image.fromarray(random_pixels(seed, 8, 8, 3)) for seed in (2, 3)]
    files = {
        "rgb.png": encode(plain),
        "grey.png": encode(plain[..., 0]),
        "palette.png": encode(picture.convert("P")),
        "alpha.png": encode(picture.convert("RGBA")),
        "deep.png": encode(plain[..., 0].astype(np.uint16) * 257),
        "plain.jpg": encode(plain, "JPEG", exif=upright),
        "steps.jpg": encode(plain, "JPEG", progressive=True),
        "cmyk.jpg": encode(picture.convert("CMYK"), "JPEG"),
        "moving.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "lossy.webp": encode(plain, "WEBP"),
        "strips.tif": encode(plain, "TIFF", compression="tiff_lzw"),
        "bottom.bmp": encode(plain, "BMP"),
        "raw.ppm": encode(plain, "PPM"),
    }
    members = {f"{kind}/{name}": data for kind in ("cat", "dog") for name, data in files.items()}
    arrays = io.BytesIO()
    np.savez(arrays, x=random_pixels(4, 24, 8, 8, 3), y=np.arange(24) % 3)
    paths = [write_zip(_fresh(folder) / "a.zip", members)]
    paths += [write_zip(_fresh(folder) / "a.zip", {n: d}) for n, d in files.items()]
    paths += [case.build(_fresh(folder)) for case in CASES if not _LARGE.search(case.name)]
    return [arrays.getvalue(), *_small_files(paths)]


def _small_files(paths: list[Path]) -> list[bytes]:
    return [
        path.read_bytes()
        for path in paths
        if "\0" not in str(path) and path.is_file() and path.stat().st_size < MOST_BYTES
    ]


def _fresh(folder: Path) -> Path:
    inner = folder / f"seed{sum(1 for _ in folder.iterdir())}"
    inner.mkdir()
    return inner


def look_at_checkpoint(path: Path) -> str:
    """Inspect and load one file, and read the images that it offers."""
    try:
        inspect_checkpoint(path, limits=_READ_LIMITS)
        checkpoint = load_checkpoint(path, limits=_READ_LIMITS)
        for offered in checkpoint.offered:
            read_offered_suspects(offered, channels=3, size=8)
    except RnpError:
        return "refused"
    return checkpoint.reader


def look_at_images(path: Path) -> str:
    """Read one file as a clean set and as suspects."""
    try:
        read_suspects(path, channels=3, size=8, limits=_IMAGE_LIMITS)
        read_defense_set(path, channels=None, size=None, limits=_IMAGE_LIMITS)
    except RnpError:
        return "refused"
    return "read"


TARGETS = {
    target.name: target
    for target in (
        Target("checkpoints", "mutant.pth", checkpoint_seeds, look_at_checkpoint),
        Target("images", "mutant.zip", image_seeds, look_at_images),
    )
}
