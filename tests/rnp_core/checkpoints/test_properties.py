"""Properties of the readers over random files; the long run is tests/fuzz."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnp_core.checkpoints import Checkpoint, ReadLimits, inspect_checkpoint, load_checkpoint
from rnp_core.errors import CheckpointError
from tests.fuzz.engine import fuzz
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, checkpoint_seeds
from tests.helpers import pickle_ops as ops

LIMITS = ReadLimits(pickle_steps=100_000, tensor_bytes=64 << 20)

FRAGMENTS = st.sampled_from(
    [
        *(
            bytes([code])
            for code in b"()]}0125NKJtaesubRQ.dlo\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"
        ),
        ops.tensor(),
        ops.tensor((1,), (1,), offset=3),
        ops.tensor(legacy=True),
        ops.text("fc.weight"),
        ops.text("state_dict"),
        ops.text("os"),
        ops.text("system"),
        ops.number(7),
        ops.name("os", "system"),
        ops.name("collections", "OrderedDict"),
        ops.name("torch.nn.modules.linear", "Linear"),
        b"q\x01",
        b"h\x01",
        b"K\x05",
        ops.dictionary({"fc.weight": ops.tensor()}),
        ops.dictionary({"_parameters": b"}", "_modules": b"}", "_buffers": b"}"}),
    ]
)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)


def outcome(path: Path) -> Checkpoint | None:
    """Either a checkpoint or a clear refusal, for loading and inspecting alike."""
    try:
        checkpoint = load_checkpoint(path, limits=LIMITS)
    except CheckpointError as error:
        assert str(error)
        checkpoint = None
    try:
        refused = inspect_checkpoint(path, limits=LIMITS).refusal is not None
    except CheckpointError:
        refused = True
    assert checkpoint is None or not refused
    return checkpoint


@pytest.fixture(scope="module")
def seed_files(tmp_path_factory) -> list[bytes]:
    return checkpoint_seeds(tmp_path_factory.mktemp("seeds"))


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(FRAGMENTS, max_size=25), legacy=st.booleans())
def test_random_pickle_programs(parts: list[bytes], legacy: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write = ops.write_legacy if legacy else ops.write_zip
        checkpoint = outcome(write(Path(folder) / "m.pth", ops.stream(b"".join(parts))))
    if checkpoint is not None:
        assert all(isinstance(value, torch.Tensor) for value in checkpoint.state.values())


@settings(max_examples=150, deadline=None)
@given(number=st.integers(0, 1 << 32))
def test_mutants_are_read_or_refused(seed_files: list[bytes], number: int) -> None:
    rng = random.Random(number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.pth"
        path.write_bytes(mutate(rng.choice(seed_files), seed_files, rng))
        outcome(path)


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=4), DTYPES), min_size=1),
    extra=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=10,
    ),
    legacy=st.booleans(),
)
def test_what_torch_saves_is_read_exactly(shapes, extra, legacy) -> None:
    torch.manual_seed(0)
    state = {
        f"t{index}": (torch.randn(shape) * 3).to(dtype)
        for index, (shape, dtype) in enumerate(shapes)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.pth"
        value = {"extra": extra, "state_dict": state}
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        checkpoint = load_checkpoint(path)
    for name, tensor in state.items():
        expected = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        assert torch.equal(checkpoint.state[name], expected)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_fuzzer_runs(name: str, tmp_path: Path) -> None:
    tally = fuzz([TARGETS[name]], 0.02, seed=1, keep=tmp_path / "failures")[name]
    assert tally.mutants >= 50
    assert tally.edges > 500
    assert not tally.failures
    assert tally.peak_mib < 500
