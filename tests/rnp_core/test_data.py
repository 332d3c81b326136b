"""What counts as a set of images."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import DataError

IMAGES = torch.rand((4, 3, 5, 6), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.numpy(), "images in a torch.Tensor, got ndarray"),
        (IMAGES[0], r"shape \(N, 1 or 3, H, W\), got \(3, 5, 6\)"),
        (torch.zeros(4, 2, 5, 6), r"got \(4, 2, 5, 6\)"),
        (torch.zeros(4, 5, 6, 3), r"got \(4, 5, 6, 3\)"),
        (IMAGES[:0], "at least one image"),
        (IMAGES.double(), "float32 images, got torch.float64"),
        ((IMAGES * 255).to(torch.uint8), "float32 images, got torch.uint8"),
        (IMAGES - 1, r"values in \[0, 1\]"),
        (IMAGES * 255, r"values in \[0, 1\]"),
        (torch.full((4, 3, 5, 6), float("nan")), r"values in \[0, 1\]"),
        (torch.full((4, 3, 5, 6), float("inf")), r"values in \[0, 1\]"),
    ],
)
def test_both_sets_refuse_wrong_images(images: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DefenseSet(images, LABELS)
    with pytest.raises(DataError, match=message):
        SuspectSet(images, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.tolist(), "labels in a torch.Tensor, got list"),
        (LABELS[:3], r"labels of shape \(4,\), got \(3,\)"),
        (LABELS[:, None], r"got \(4, 1\)"),
        (LABELS.int(), "int64 labels, got torch.int32"),
        (LABELS.float(), "int64 labels, got torch.float32"),
        (LABELS - 1, "must not be negative, got -1"),
    ],
)
def test_wrong_labels_are_refused(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DefenseSet(IMAGES, labels)


def test_suspects_need_an_id_each() -> None:
    with pytest.raises(DataError, match="expected 4 ids, got 2"):
        SuspectSet(IMAGES, ("a", "b"))
    with pytest.raises(DataError, match="expected ids that are text"):
        SuspectSet(IMAGES, (0, 1, 2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.tolist(), "labels in a torch.Tensor, got list"),
        (LABELS[:3], r"labels of shape \(4,\), got \(3,\)"),
        (LABELS[:, None], r"got \(4, 1\)"),
        (LABELS.int(), "int64 labels, got torch.int32"),
    ],
)
def test_labels_of_suspects_have_their_shape_and_type(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SuspectSet(IMAGES, tuple("abcd"), labels)


def test_labels_of_suspects_may_mean_nothing() -> None:
    assert SuspectSet(IMAGES, tuple("abcd"), LABELS - 1).labels is not None


@pytest.mark.parametrize("channels", [1, 3])
def test_black_and_white_are_in_range(channels: int) -> None:
    images = torch.stack([torch.zeros(channels, 2, 2), torch.ones(channels, 2, 2)])
    assert len(DefenseSet(images, torch.tensor([0, 7]))) == 2
    suspects = SuspectSet(images, ("a.png", "b.png"))
    assert len(suspects) == 2
    assert suspects.labels is None


def test_subset_keeps_the_order_asked_for_and_the_names() -> None:
    whole = DefenseSet(IMAGES, LABELS, ("a", "b", "c"))
    part = whole.subset(torch.tensor([2, 0, 2]))
    assert torch.equal(part.images, IMAGES[[2, 0, 2]])
    assert part.labels.tolist() == [2, 0, 2]
    assert part.class_names == whole.class_names


def test_an_empty_subset_is_refused() -> None:
    with pytest.raises(DataError, match="at least one image"):
        DefenseSet(IMAGES, LABELS).subset(torch.empty(0, dtype=torch.int64))


def test_sets_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DefenseSet(IMAGES, LABELS).labels = LABELS  # type: ignore[misc]
