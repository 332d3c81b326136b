"""Batches cover every image equally often; augmentation is one shift for the batch."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from rnp_core.stages.sampling import augment, epoch_batches


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), passes=st.integers(1, 4))
def test_every_pass_is_a_permutation(count: int, batch_size: int, passes: int) -> None:
    size = min(count, batch_size)
    drawn = list(islice(epoch_batches(count, batch_size, _generator()), -(-passes * count // size)))
    assert {len(batch) for batch in drawn} == {size}
    stream = torch.cat(drawn)[: passes * count].view(passes, count)
    assert torch.equal(stream.sort(dim=1).values, torch.arange(count).expand(passes, count))


def test_batches_depend_on_the_seed_alone() -> None:
    first, again, other = (
        torch.cat(list(islice(epoch_batches(20, 8, _generator(seed)), 5))) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 12), (24, 16), (2, 2), (6, 64)])
def test_augmentation_is_one_of_the_shifts(height: int, width: int) -> None:
    images = torch.rand((3, 1, height, width), generator=_generator(5))
    before = images.clone()
    pad = max(1, min(height, width) // 8)
    padded = F.pad(images, (pad,) * 4, mode="reflect")
    steps = range(2 * pad + 1)
    shifts = {
        (top, left): padded[..., top : top + height, left : left + width]
        for top in steps
        for left in steps
    }
    generator = _generator()
    seen = set()
    for _ in range(40):
        result = augment(images, generator)
        found = [at for at, shift in shifts.items() if torch.equal(result, shift)]
        assert found
        seen.update(found)
    assert len(seen) > 3
    assert torch.equal(images, before)


def test_augmentation_depends_on_the_seed_alone() -> None:
    images = torch.rand((2, 3, 16, 16), generator=_generator(5))
    first, again = _generator(3), _generator(3)
    for _ in range(5):
        assert torch.equal(augment(images, first), augment(images, again))
