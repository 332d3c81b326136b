"""Sources, class folders, subsets and the checks of a clean set."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from rnp_core.errors import ConfigError, DataError
from rnp_core.images import (
    ImageLimits,
    class_counts,
    content_sha256,
    read_defense_set,
    read_suspects,
)
from tests.rnp_core.images.pictures import (
    encode,
    good_members,
    random_pixels,
    write_folder,
    write_zip,
)


def _read(path: Path, **options: object):  # noqa: ANN202
    return read_defense_set(path, **{"channels": None, "size": None, **options})


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def _folders(path: Path, *names: str, per_class: int = 10) -> Path:
    members = {
        f"{name}/{index}.png": encode(np.full((4, 4), index, np.uint8))
        for name in names
        for index in range(per_class)
    }
    return write_folder(path, members)


def test_folder_zip_and_wrapped_zip_read_alike(tmp_path: Path) -> None:
    members = good_members()
    wrapped = {f"top/{name}": data for name, data in members.items()}
    junk = {"__MACOSX/cat/._00.png": b"x", "top/.DS_Store": b"x", "top/cat/Thumbs.db": b"x"}
    sources = (
        write_folder(tmp_path / "folder", members),
        write_zip(tmp_path / "a.zip", dict(reversed(members.items()))),
        write_zip(tmp_path / "b.bin", {**wrapped, **junk}),
        write_zip(tmp_path / "c.zip", {n.replace("/", "\\"): d for n, d in members.items()}),
    )
    results = [_read(path) for path in sources]
    assert len({result.sha256 for result in results}) == 1
    for result in results:
        assert result.images.class_names == ("cat", "dog")
        assert result.images.images.shape == (30, 3, 8, 8)
        assert class_counts(result.images.labels) == (15, 15)
        assert result.skipped == () and result.warnings == ()
    first = torch.from_numpy(random_pixels(0, 8, 8, 3)).permute(2, 0, 1) / 255
    assert torch.equal(results[0].images.images[0], first)


def test_npz_rows_keep_their_order(tmp_path: Path) -> None:
    x = random_pixels(1, 40, 6, 5)
    y = (np.arange(40) * 7 % 4).astype(np.uint8)
    result = _read(_npz(tmp_path / "a.npz", x=x, y=y), class_names=list("abcd"))
    assert result.images.images.shape == (40, 1, 6, 5)
    assert np.array_equal((result.images.images[:, 0] * 255).round().numpy(), x)
    assert result.images.labels.tolist() == y.tolist()
    assert result.images.class_names == ("a", "b", "c", "d")


def test_fortran_order_npz(tmp_path: Path) -> None:
    x = np.asfortranarray(random_pixels(1, 40, 6, 5, 3))
    result = _read(_npz(tmp_path / "a.npz", x=x, y=np.arange(40) % 2))
    assert np.array_equal((result.images.images * 255).round().numpy(), x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("as_npz", [False, True])
def test_subset_is_balanced_seeded_and_ordered(tmp_path: Path, as_npz: bool) -> None:
    if as_npz:
        x = np.arange(90, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
        path = _npz(tmp_path / "a.npz", x=x, y=np.repeat([0, 1, 2], [4, 36, 50]))
    else:
        path = _folders(tmp_path / "a", "a", "b", "c", per_class=30)
        for index in range(4, 30):
            (path / "a" / f"{index}.png").unlink()
    one, same, other = (_read(path, max_images=24, seed=seed) for seed in (0, 0, 1))
    assert class_counts(one.images.labels) == (4, 10, 10)
    assert one.sha256 == same.sha256 != other.sha256
    assert one.images.labels.tolist() == sorted(one.images.labels.tolist())
    whole = _read(path, max_images=1000)
    assert whole.sha256 == _read(path).sha256


def test_only_the_chosen_files_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "a.zip", good_members(per_class=50))
    opened: list[str] = []
    original = zipfile.ZipFile.open

    def spy(self: zipfile.ZipFile, name: zipfile.ZipInfo, *rest: str) -> object:
        opened.append(name.filename)
        return original(self, name, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "open", spy)
    assert len(_read(path, max_images=20).images) == 20
    assert len(opened) == 20


def test_class_names_match_loosely(tmp_path: Path) -> None:
    path = _folders(tmp_path / "a", "Traffic_Light", "stop sign")
    result = _read(path, class_names=["StopSign", "traffic-light", "other"])
    assert class_counts(result.images.labels, 3) == (10, 10, 0)
    assert result.images.labels[0] == 0
    assert any("1 of 3 classes without clean images: 2" in text for text in result.warnings)


def test_unmatched_names_fall_back_to_sorted_order_with_a_warning(tmp_path: Path) -> None:
    path = _folders(tmp_path / "a", "n02", "n01")
    result = _read(path, class_names=["tench", "spaniel"])
    assert result.images.class_names == ("tench", "spaniel")
    assert "n01 = tench" in result.warnings[0]


def test_numbered_folders_are_class_indices(tmp_path: Path) -> None:
    path = _folders(tmp_path / "a", "00010", "00002", "00000")
    result = _read(path, num_classes=43)
    assert result.images.labels.tolist() == [0] * 10 + [2] * 10 + [10] * 10
    assert result.images.class_names == ()


def test_numbers_from_one_are_taken_in_numerical_order(tmp_path: Path) -> None:
    path = _folders(tmp_path / "a", "10", "2", "1")
    result = _read(path, num_classes=3)
    assert result.images.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert result.images.images[-1].max() == 9 / 255
    assert "folder numbers 1 to 10 are not indices of 3 classes" in result.warnings[0]


def test_class_names_of_an_npz(tmp_path: Path) -> None:
    names = np.array(["a", "b", "\x1b c", "d", "e"])
    path = _npz(tmp_path / "a.npz", x=_X, y=_Y, class_names=names)
    result = read_defense_set(path)
    assert result.images.class_names == ("a", "b", "\\x1b c", "d", "e")
    assert result.warnings == ("1 of 5 classes without clean images: 4",)
    result = read_defense_set(path, class_names=list("vwxyz"))
    assert result.images.class_names == ("v", "w", "x", "y", "z")
    assert "class names in the npz file differ" in result.warnings[0]


def test_thin_classes_are_warned_about(tmp_path: Path) -> None:
    path = _npz(tmp_path / "a.npz", x=_X, y=np.minimum(np.arange(40), 1))
    assert _read(path).warnings == ("1 of 2 classes with one image: 0",)
    path = _npz(tmp_path / "b.npz", x=_X, y=np.arange(40) % 5)
    few = "40 clean images for 5 classes are few; give 10 per class or more"
    assert _read(path).warnings == (few,)


def test_empty_class_folder_keeps_its_index(tmp_path: Path) -> None:
    path = _folders(tmp_path / "a", "a", "c")
    (path / "b").mkdir()
    result = _read(path, num_classes=3)
    assert set(result.images.labels.tolist()) == {0, 2}


def test_suspects_flat_nested_and_npz(tmp_path: Path) -> None:
    members = {
        "b.png": encode(random_pixels(1, 4, 4, 3)),
        "sub/a.png": encode(random_pixels(2, 4, 4, 3)),
    }
    flat = read_suspects(write_zip(tmp_path / "a.zip", members), channels=3, size=None)
    assert flat.images.ids == ("b.png", "sub/a.png")
    assert flat.images.labels is None
    x = random_pixels(3, 3, 4, 4, 3)
    bare = read_suspects(_npz(tmp_path / "a.npz", x=x), channels=3, size=None)
    assert bare.images.ids == ("0", "1", "2")
    known = read_suspects(_npz(tmp_path / "b.npz", x=x, y=np.array([5, -1, 2])), channels=3, size=8)
    assert known.images.labels is not None and known.images.labels.tolist() == [5, -1, 2]
    assert known.images.images.shape == (3, 3, 8, 8)
    assert known.warnings == ("3 of 3 images resized (bilinear, antialiased)",)
    assert bare.sha256 == content_sha256(bare.images.images) != known.sha256


def test_broken_images_are_named_and_counted(tmp_path: Path) -> None:
    members = {**good_members(), "cat/bad.png": b"nope", "labels.csv": b"a,b"}
    result = _read(write_folder(tmp_path / "a", members))
    assert len(result.images) == 30
    assert [(file.name, file.reason[:10]) for file in result.skipped] == [
        ("labels.csv", "a .csv fil"),
        ("cat/bad.png", "not one of"),
    ]
    assert "broken images left out (1 of 31): cat/bad.png" in result.warnings[0]
    worse = {**members, **{f"dog/{index}.png": b"nope" for index in range(4)}}
    with pytest.raises(
        DataError, match=r"at most 10% broken images, got 4 among the first \d+ of 35"
    ):
        _read(write_folder(tmp_path / "b", worse))


Build = Callable[[Path], Path]
_X = random_pixels(1, 40, 4, 4, 3)
_Y = np.arange(40) % 4


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda p: p / "none", {}, "found nothing there"),
        (lambda p: p / "nul\0", {}, "embedded null byte"),
        (lambda p: write_folder(p, {"a.txt": b"x"}) / "a.txt", {}, "expected a folder, a .zip"),
        (lambda p: p, {}, "found none"),
        (lambda p: write_folder(p, {"a/a.txt": b"x"}), {}, "a .txt file is not an image"),
        (lambda p: write_zip(p / "a.zip", {}), {}, "found none"),
        (
            lambda p: write_zip(p / "a.npz", {"z.npy": b""}),
            {},
            "an array 'x' in the npz file, got z",
        ),
        (lambda p: write_folder(p, {"a.png": b"x"}), {}, "one folder per class"),
        (lambda p: _folders(p, "a", per_class=30), {}, "several classes, got only class 0"),
        (lambda p: _folders(p, "a", "b", per_class=9), {}, "at least 20 clean images, got 18"),
        (
            lambda p: _npz(p / "a.npz", x=_X, y=_Y, class_names=np.array([b"a"] * 4)),
            {},
            "class_names of shape",
        ),
        (
            lambda p: _npz(p / "a.npz", x=_X, y=_Y, class_names=np.array(["a" * 70_000] * 4)),
            {},
            "text of at most 1048576 bytes",
        ),
        (
            lambda p: _npz(p / "a.npz", x=_X, y=_Y, class_names=np.array(["a", "b"])),
            {},
            r"labels in \[0, 2\), got 0 to 3",
        ),
        (
            lambda p: _npz(
                p / "a.npz",
                x=_X,
                y=_Y,
                class_names=np.full(4, 0x110000, np.uint32).view("<U1"),
            ),
            {},
            "valid Unicode",
        ),
        (lambda p: _folders(p, "a", "b"), {"num_classes": 3}, "3 class folders, got 2: a, b"),
        (lambda p: _folders(p, "a", "b"), {"class_names": ["a", "c"]}, "classes, got b besides 1"),
        (
            lambda p: _folders(p, "a b", "a_b"),
            {"class_names": ["a-b", "c"]},
            "one folder per class",
        ),
        (
            lambda p: _folders(p, "1", "3"),
            {"num_classes": 3},
            "numbered 0 to 2 for 3 classes, got 3",
        ),
        (lambda p: _folders(p, "1", "01"), {}, "got '01' and '1' for class 1"),
        (lambda p: _folders(p, "0", "999999999"), {}, r"labels in \[0, 65536\)"),
        (lambda p: _npz(p / "a.npz", x=_X, y=_Y), {"num_classes": 3}, r"labels in \[0, 3\)"),
        (lambda p: _npz(p / "a.npz", x=_X, y=_Y - 1), {}, "got -1 to 2"),
        (lambda p: _npz(p / "a.npz", x=_X, y=_Y[1:]), {}, "y of 40 integers, got int64 of shape"),
        (lambda p: _npz(p / "a.npz", x=_X, y=_Y * 1.0), {}, "y of 40 integers, got float64"),
        (lambda p: _npz(p / "a.npz", x=_X), {}, "an array 'y' in the npz file, got x.npy"),
        (
            lambda p: _npz(p / "a.npz", x=_X / 255, y=_Y),
            {},
            "uint8 with values 0 to 255, got float64",
        ),
        (
            lambda p: _npz(p / "a.npz", x=_X.transpose(0, 3, 1, 2), y=_Y),
            {},
            "move channels to the end",
        ),
        (lambda p: _npz(p / "a.npz", x=_X[:, 0, 0], y=_Y), {}, r"shape \(N, H, W\) or"),
        (lambda p: _npz(p / "a.npz", x=_X[:0], y=_Y[:0]), {}, "at least one image"),
        (lambda p: _npz(p / "a.npz", x=_X, y=_Y), {"max_images": 19}, "max_images of at least 20"),
    ],
)
def test_data_errors(
    build: Build, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _read(build(tmp_path), **options)
    assert "\n" not in str(caught.value)


def test_mixed_sizes_become_the_most_common_one_or_the_wanted_one(tmp_path: Path) -> None:
    members = {**good_members(), "dog/big.png": encode(random_pixels(1, 9, 12, 3))}
    path = write_folder(tmp_path / "a", members)
    result = _read(path)
    assert result.images.images.shape == (31, 3, 8, 8)
    assert any("2 sizes; 1 of 31 were resized to the most common one, 8x8" in text
               for text in result.warnings)
    result = _read(path, size=8)
    assert result.images.images.shape == (31, 3, 8, 8)
    assert any("1 of 31 images stretched" in text for text in result.warnings)


def test_a_changed_aspect_ratio_of_mixed_sizes_is_said(tmp_path: Path) -> None:
    members = {**good_members(), "dog/wide.png": encode(random_pixels(1, 8, 12, 3))}
    (text,) = [t for t in _read(write_folder(tmp_path / "a", members)).warnings if "sizes" in t]
    assert text.endswith("8x8, and the aspect ratio of 1 changed")


@pytest.mark.parametrize("name", ["x" * 300, "folder/" * 1000])
def test_paths_that_no_file_system_takes(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot read images at .{200}\.\.\.: File name too long"):
        _read(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.zip", good_members())

    def locked(*arguments: object, **options: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)
    with pytest.raises(DataError, match="cannot read images at .*a.zip: Permission denied"):
        _read(path)


def test_class_names_that_two_classes_share(tmp_path: Path) -> None:
    folders = write_folder(tmp_path / "a", good_members())
    names = ["cat", "dog", "crane", "crane"]
    found = _read(folders, class_names=names)
    assert any("stand for several classes each: crane" in text for text in found.warnings)
    with pytest.raises(DataError, match="the folder 'cat' fits the classes 0, 2, which share that"):
        _read(folders, class_names=["cat", "dog", "cat"])


def test_suspects_are_read_however_many_are_broken(tmp_path: Path) -> None:
    members = {f"{index}.png": b"rubbish" for index in range(5)}
    members["whole.png"] = encode(random_pixels(1, 8, 8, 3))
    found = read_suspects(write_folder(tmp_path / "a", members))
    assert found.images.ids == ("whole.png",)
    assert any("broken images left out (5 of 6): 0.png" in text for text in found.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 2},
        {"size": 0},
        {"num_classes": 0},
        {"max_images": 0},
        {"num_classes": 3, "class_names": ["a"]},
    ],
)
def test_config_errors(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        _read(tmp_path, **options)


@pytest.mark.parametrize("form", ["zip", "folder", "npz"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_files": 29}, "max_files"),
        ({"archive_bytes": 100}, "archive_bytes"),
        ({"total_bytes": 3000}, "total_bytes"),
        ({"total_pixels": 64 * 29}, "total_pixels"),
        ({"array_bytes": 64 * 30}, "array_bytes"),
        ({"result_bytes": 64 * 30 * 4}, "result_bytes"),
        ({"seconds": 1e-9}, "seconds"),
        ({"file_bytes": 100}, "file_bytes"),
        ({"image_pixels": 63}, "image_pixels"),
    ],
)
def test_every_limit_has_an_effect(
    form: str, limits: dict[str, float], message: str, tmp_path: Path
) -> None:
    members = good_members()
    if form == "npz":
        path = _npz(tmp_path / "a.npz", x=random_pixels(1, 30, 8, 8, 3), y=np.arange(30) % 2)
        used = {"archive_bytes", "total_bytes", "array_bytes", "result_bytes"}
    elif form == "zip":
        path = write_zip(tmp_path / "a.zip", members)
        used = {message} - {"array_bytes"}
    else:
        path = write_folder(tmp_path / "a", members)
        used = {message} - {"array_bytes", "archive_bytes"}
    if message in used:
        with pytest.raises(DataError, match=message):
            _read(path, limits=ImageLimits(**limits))
    else:
        assert len(_read(path, limits=ImageLimits(**limits)).images) == 30


def test_limits_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="positive image limit max_files, got 0"):
        ImageLimits(max_files=0)
    with pytest.raises(ConfigError, match="positive image limit seconds, got nan"):
        ImageLimits(seconds=float("nan"))


def test_content_hash_is_stable_and_sees_everything() -> None:
    images = torch.arange(12, dtype=torch.float32).view(1, 3, 2, 2) / 12
    labels = torch.tensor([1])
    known = content_sha256(images, labels)
    assert known[:12] == "e7f6a6521045"
    changed = (
        content_sha256(images, None),
        content_sha256(images, labels + 1),
        content_sha256(images.flip(0, 1), labels),
        content_sha256(images.view(3, 1, 2, 2), labels),
    )
    assert known not in changed and len(set(changed)) == 4
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert content_sha256(strided, labels) == known


def test_reading_leaves_pillow_and_files_as_they_were(tmp_path: Path) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    path = write_zip(tmp_path / "a.zip", good_members())
    content = path.read_bytes()
    _read(path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]
    assert zipfile.is_zipfile(io.BytesIO(content))
