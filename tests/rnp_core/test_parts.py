"""Batches that shrink where memory runs out, without a change of results."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnp_core.assembly import check_labels
from rnp_core.errors import ModelError, is_out_of_memory
from rnp_core.inversion import ANY_LABEL, InversionConfig, invert
from rnp_core.metrics import predict, predict_probabilities
from rnp_core.model import SuspectModel
from rnp_core.parts import Parts, fitting_batch, images_at_once, retried_smaller
from rnp_core.stage_log import StageLog
from rnp_core.stages.margins import MarginConfig, largest_margins
from rnp_core.stages.repair import RepairConfig, repair
from rnp_core.stages.unlearn import with_clean_statistics
from tests.helpers.models import planted_model, suspect
from tests.helpers.sets import quadrant_set

SET = quadrant_set(10)
GPU = "CUDA out of memory. Tried to allocate 2.00 GiB"
CPU = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."


class Narrow(nn.Module):
    """Runs a network on few images at a time, else runs out of memory."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.seen = network, most, [0]

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError(GPU)
        self.seen[0] = max(self.seen[0], len(images))
        return self.network(images)  # type: ignore[no-any-return]


def narrow_model(most: int) -> SuspectModel:
    model = planted_model()
    return suspect(Narrow(model.network, most))


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=1e-5)


def test_parts_halve_for_good_and_keep_the_order() -> None:
    tried = []

    def work(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > 3:
            raise RuntimeError(CPU)
        return list(range(part.start, part.stop))

    parts = Parts(10)
    assert sum(parts.run(work, 7), []) == list(range(7))
    assert tried == [7, 3, 3, 1]
    assert parts.size == 3
    assert sum(parts.run(work, 4), []) == list(range(4))
    assert tried[4:] == [3, 1]


def test_a_last_part_that_is_small_does_not_shrink_the_others() -> None:
    parts = Parts(4)
    assert [p.stop - p.start for p in parts.run(lambda part: part, 9)] == [4, 4, 1]
    assert parts.size == 4
    assert Parts(4).run(lambda part: part, 0) == [slice(0, 0)]


def test_what_does_not_fit_at_all_is_raised() -> None:
    sizes = []

    def work(size: int) -> None:
        sizes.append(size)
        raise RuntimeError(GPU)

    with pytest.raises(RuntimeError, match="out of memory"):
        retried_smaller(work, 128, least=16)
    assert sizes == [128, 64, 32, 16]
    with pytest.raises(ModelError):
        Parts(4).run(lambda part: (_ for _ in ()).throw(ModelError("no logits")), 8)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError(GPU),
        RuntimeError(CPU),
        RuntimeError("not enough memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_memory_that_ran_out_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_large_images_go_in_smaller_parts() -> None:
    model = planted_model()
    assert images_at_once(model, 256) == 256
    model.input_shape = (3, 224, 224)
    assert images_at_once(model, 256) == 32
    model.input_shape = (3, 4096, 4096)
    assert images_at_once(model, 256) == 1


def test_a_gpu_takes_what_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = planted_model()
    model.input_shape = (3, 64, 64)
    free, reserved = 2**30, 2**30
    monkeypatch.setattr(SuspectModel, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**29)
    assert images_at_once(model, 256) == 48  # what PyTorch keeps for reuse is free
    free = 2**36
    assert images_at_once(model, 256) == 2048
    free, reserved = 0, 2**29
    assert images_at_once(model, 256) == 1
    assert fitting_batch(model, 256) == 256


def test_predictions_are_the_same() -> None:
    model, narrow = planted_model(), narrow_model(7)
    assert torch.equal(predict(narrow, SET.images), predict(model, SET.images))
    probabilities = predict_probabilities(model, SET.images)
    assert close(predict_probabilities(narrow, SET.images), probabilities)


def test_margins_are_the_same() -> None:
    config = MarginConfig(steps=3)
    expected = largest_margins(planted_model(), range(4), config=config)
    assert close(largest_margins(narrow_model(5), range(4), config=config), expected)


@pytest.mark.parametrize("kind", ["patch", "additive", "warp"])
def test_triggers_are_the_same(kind: str) -> None:
    config, labels = InversionConfig(steps=6, batch_size=4), [0, 1, 2, ANY_LABEL]
    narrow = narrow_model(8)
    expected = invert(planted_model(), SET, labels, kind=kind, config=config)
    found = invert(narrow, SET, labels, kind=kind, config=config)
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.flip_rate) == (other.label, other.flip_rate)
        assert one.size == pytest.approx(other.size, rel=1e-4)
        assert close(one.trigger_mask, other.trigger_mask)


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_repair_is_the_same(share: float) -> None:
    config = RepairConfig(steps=3, warm_up=1, batch_size=24, triggered_share=share)
    triggers = invert(planted_model(), SET, [1], config=InversionConfig(steps=3))
    fixed, narrow = (
        repair(model, SET, triggers, size_limits=[5.0], config=config)
        for model in (planted_model(), narrow_model(9))
    )
    pairs = zip(fixed.network.parameters(), narrow.network.parameters(), strict=True)
    assert all(close(one, other) for one, other in pairs)


def test_labels_are_checked_in_parts() -> None:
    predicted = predict(planted_model(), SET.images)
    assert check_labels(narrow_model(5), SET, predicted) is None


def test_clean_statistics_come_from_smaller_batches() -> None:
    (expected,), (norm,) = (
        [m for m in with_clean_statistics(model, SET.images).modules() if hasattr(m, "momentum")]
        for model in (planted_model(), narrow_model(20))
    )
    assert (int(expected.num_batches_tracked), int(norm.num_batches_tracked)) == (1, 2)
    assert close(norm.running_mean, expected.running_mean)


def test_a_stage_whose_batches_shrank_says_so() -> None:
    def stage(size: int) -> int:
        if size > 40:
            raise RuntimeError(GPU)
        return size

    log = StageLog()
    assert log.run_batches("unlearn", stage, 128) == 32
    assert log.rows[0].status == "done"
    assert log.rows[0].detail == "with batches of 32 images instead of 128, as memory ran out"
    assert log.run_batches("recover", stage, 8) == 8
    assert log.rows[1].detail == ""
    assert log.run_batches("recover", lambda size: stage(1000), 128) is None
    assert log.rows[2].status == "failed"
