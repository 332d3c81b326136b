"""No stage changes the model it is given or the global random state, however it ends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnp_core.config import ScanConfig
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.errors import RnpError, ScanCancelled
from rnp_core.inversion import KINDS, InversionConfig, invert
from rnp_core.model import SuspectModel
from rnp_core.pipeline import scan
from rnp_core.progress import OnProgress, Progress, ignore_progress
from rnp_core.stages.attribution import attribute, attribute_filters
from rnp_core.stages.filter_mask import find_maskable_layers, prune_filters
from rnp_core.stages.margins import MarginConfig, largest_margins
from rnp_core.stages.prune import PruneConfig, prune
from rnp_core.stages.recover import RecoverConfig, RecoverResult, recover
from rnp_core.stages.removal import remove_backdoor
from rnp_core.stages.repair import RepairConfig, repair
from rnp_core.stages.samples import score_samples
from rnp_core.stages.target_label import LabelEvidence
from rnp_core.stages.triggers import recover_triggers
from rnp_core.stages.unlearn import UnlearnConfig, unlearn
from tests.helpers.models import TARGET, QuadrantMlp, QuadrantNet, Wrapped, suspect
from tests.helpers.sets import quadrant_set
from tests.helpers.triggers import untrained_trigger

SET = quadrant_set(5)
BAD_LABELS = DefenseSet(SET.images, SET.labels + 100)
SUSPECTS = SuspectSet(SET.images[:3], ("a", "b", "c"))
ERRORS = (RnpError, LookupError, ArithmeticError, ValueError, RuntimeError)

Stage = Callable[..., object]


def _layers(model: SuspectModel) -> Any:
    return find_maskable_layers(model, SET.images[:2])


def _recovered(model: SuspectModel, spoilt: str = "") -> RecoverResult:
    """A made-up result; ``spoilt`` is added to every layer name."""
    layers = [dataclasses.replace(layer, name=layer.name + spoilt) for layer in _layers(model)]
    mask = {layer.name: torch.linspace(0, 1, layer.channels) for layer in layers}
    return RecoverResult(tuple(layers), mask, mask, torch.ones(1), torch.ones(1, 1))


def _unlearn(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = UnlearnConfig(max_steps=4, batch_size=8, seed=seed)
    return unlearn(model, SET, config=config, on_progress=on_progress)


def _recover(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = RecoverConfig(steps=4, batch_size=8, seed=seed)
    return recover(model, _layers(model), SET, config=config, on_progress=on_progress)


def _prune(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = PruneConfig(max_share=0.5)
    return prune(
        model,
        _recovered(model),
        SET,
        [untrained_trigger("patch")],
        config=config,
        on_progress=on_progress,
    )


def _repair(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = RepairConfig(steps=4, batch_size=8, seed=seed)
    return repair(
        model,
        SET,
        [untrained_trigger("patch")],
        size_limits=[20.0],
        config=config,
        on_progress=on_progress,
    )


def _invert(kind: str) -> Stage:
    def stage(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
        config = InversionConfig(steps=4, batch_size=4, seed=seed)
        return invert(model, SET, [0, 2], kind=kind, config=config, on_progress=on_progress)

    return stage


def _attribute(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    return attribute(model, SET.images[:2], 1, steps=2, seed=seed, on_progress=on_progress)


def _attribute_filters(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    filters = {layer.name: [0, 1] for layer in _layers(model)}
    images = SET.images[:2]
    return attribute_filters(model, images, filters, steps=2, seed=seed, on_progress=on_progress)


def _largest_margins(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = MarginConfig(steps=4, seed=seed)
    return largest_margins(model, range(4), config=config, on_progress=on_progress)


STAGES: dict[str, Stage] = {
    "unlearn": _unlearn,
    "recover": _recover,
    "prune": _prune,
    "repair": _repair,
    "largest_margins": _largest_margins,
    **{f"invert {kind}": _invert(kind) for kind in KINDS},
    "attribute": _attribute,
    "attribute_filters": _attribute_filters,
}
SEEDED = [name for name in STAGES if name in ("unlearn", "recover", "repair") or "invert" in name]



def _remove(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    return remove_backdoor(
        model,
        _recovered(model),
        SET,
        [LabelEvidence(TARGET, 0.9, 4.0, 0.2, 5.0, "patch", 1.0, 2.0, 0.2, 0.0, 0.0, 0.95)],
        {"patch": [untrained_trigger("patch")]},
        repairing=RepairConfig(steps=2, warm_up=1, batch_size=8, seed=seed),
        on_progress=on_progress,
    )


def _recover_triggers(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = InversionConfig(steps=3, batch_size=2, seed=seed)
    shares = torch.full((4,), 0.25)
    return recover_triggers(model, SET, shares, config=config, on_progress=on_progress)


def _scan(model: SuspectModel, on_progress: OnProgress, seed: int = 0) -> object:
    config = ScanConfig(
        seed=seed,
        attributed_samples=1,
        suspicious_score=1e-9,  # so that every stage has something to do
        unlearn_stage=UnlearnConfig(max_steps=3, batch_size=8, seed=seed),
        recover_stage=RecoverConfig(steps=2, batch_size=8, seed=seed),
        margin_stage=MarginConfig(steps=2, seed=seed),
        invert_stage=InversionConfig(steps=3, batch_size=2, seed=seed),
        prune_stage=PruneConfig(max_share=0.5),
        repair_stage=RepairConfig(steps=1, warm_up=1, batch_size=8, seed=seed),
    )
    found = scan(model, SET, suspects=SUSPECTS, config=config, on_progress=on_progress)
    report = dataclasses.replace(found.report, created_at="", stages=[])
    return found.repaired, dict(found.pictures), report.to_json(), found.report.stages


WHOLES: dict[str, Stage] = {
    "remove_backdoor": _remove,
    "recover_triggers": _recover_triggers,
    "scan": _scan,
}
"""Calls of several stages: progress starts again with each."""

SILENT: dict[str, Callable[[SuspectModel], object]] = {
    "prune_filters": lambda m: prune_filters(m, {layer.name: [0, 1] for layer in _layers(m)}),
    "score_samples": lambda m: score_samples(m, m, SUSPECTS, SET),
    "find_maskable_layers": _layers,
}
"""Calls without progress or chance."""

ALL: dict[str, Callable[[SuspectModel], object]] = {
    **{name: (lambda m, stage=s: stage(m, ignore_progress)) for name, s in STAGES.items()},
    **{name: (lambda m, stage=s: stage(m, ignore_progress)) for name, s in WHOLES.items()},
    **SILENT,
}

BAD_CALLS: dict[str, Callable[[SuspectModel], object]] = {
    "unlearn: labels outside the classes": lambda m: unlearn(
        m, BAD_LABELS, config=UnlearnConfig(stop_accuracy=-1.0)
    ),
    "unlearn: images of another size": lambda m: unlearn(m, _other_size(m)),
    "recover: unknown layer": lambda m: recover(m, _recovered(m, "x").layers, SET),
    "recover: labels outside the classes": lambda m: recover(m, _layers(m), BAD_LABELS),
    "prune: unknown layer": lambda m: prune(
        m, _recovered(m, "x"), SET, [untrained_trigger("patch")], config=PruneConfig(max_share=1.0)
    ),
    "repair: no trigger": lambda m: repair(m, SET, [], size_limits=[]),
    "repair: labels outside the classes": lambda m: repair(
        m, BAD_LABELS, [untrained_trigger("patch")], size_limits=[20.0]
    ),
    "largest_margins: label outside the classes": lambda m: largest_margins(m, [100]),
    "invert: unknown kind": lambda m: invert(m, SET, [0], kind="laser"),
    "invert: label outside the classes": lambda m: invert(m, SET, [100]),
    "attribute: unknown method": lambda m: attribute(m, SET.images, 0, methods=["guess"]),
    "attribute: label outside the classes": lambda m: attribute(m, SET.images, 100),
    "attribute_filters: unknown layer": lambda m: attribute_filters(m, SET.images, {"x": [0]}),
    "attribute_filters: unknown filter": lambda m: attribute_filters(
        m, SET.images, {_layers(m)[0].name: [100]}
    ),
    "find_maskable_layers: images of another size": lambda m: find_maskable_layers(
        m, SET.images[:2, :, :4, :4]
    ),
    "prune_filters: unknown filter": lambda m: prune_filters(m, {_layers(m)[0].name: [100]}),
    "prune_filters: unknown layer": lambda m: prune_filters(m, {"x": [0]}),
    "remove_backdoor: a kind that was not recovered": lambda m: remove_backdoor(
        m,
        _recovered(m),
        SET,
        [LabelEvidence(TARGET, 0.9, 4.0, 0.2, 5.0, "warp", 1.0, 2.0, 0.2, 0.0, 0.0, 0.95)],
        {"patch": [untrained_trigger("patch")]},
    ),
    "recover_triggers: shares of other classes": lambda m: recover_triggers(
        m, SET, torch.full((9,), 1 / 9), config=InversionConfig(steps=1)
    ),
    "score_samples: a rate of 1": lambda m: score_samples(m, m, SUSPECTS, SET, max_fpr=1.0),
    "score_samples: images of another size": lambda m: score_samples(
        m, m, SuspectSet(torch.zeros(1, 3, 4, 4), ("a",)), SET
    ),
    "scan: labels outside the classes": lambda m: scan(m, BAD_LABELS),
    "scan: images of another size": lambda m: scan(m, _other_size(m)),
}


def _other_size(model: SuspectModel) -> DefenseSet:
    return DefenseSet(SET.images[..., :4, :4].contiguous(), SET.labels)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": QuadrantNet,
    "no norm": lambda: QuadrantNet(norm=False),
    "layer norm": lambda: QuadrantMlp(norm="layer"),
    "batch norm 1d": lambda: QuadrantMlp(norm="batch"),
    "softmax": lambda: Wrapped(nn.Sequential(QuadrantNet(), nn.Dropout(0.1)), "softmax"),
    "tuple": lambda: Wrapped(QuadrantNet(), "tuple"),
}


def _model(kind: str, state: str) -> SuspectModel:
    """A model in a state that a careless stage would disturb: ``state`` is "eval" or "mixed"."""
    model = suspect(NETWORKS[kind](), returns_probabilities=kind == "softmax")
    parameters = list(model.parameters())
    parameters[0].grad = torch.full_like(parameters[0], 0.5)
    if state == "mixed":
        for index, module in enumerate(model.modules()):
            module.training = index % 2 == 0
        for parameter in parameters[::2]:
            parameter.requires_grad_(False)
        first = next(m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        first.register_forward_hook(_no_hook)
        first.register_forward_pre_hook(_no_hook)
    return model


def _no_hook(*arguments: object) -> None:
    """A hook that does nothing."""


_HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]


def _fingerprint(model: SuspectModel) -> dict[str, Any]:
    """All that a stage must leave alone, cloned."""
    return {
        "modules": [(name, id(module)) for name, module in model.named_modules()],
        "tensors": {
            name: (id(t), t.data_ptr(), t.detach().clone(), t.requires_grad)
            for name, t in (*model.named_parameters(), *model.named_buffers())
        },
        "gradients": {
            name: None if p.grad is None else (id(p.grad), p.grad.clone())
            for name, p in model.named_parameters()
        },
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            (name, hooks): dict(getattr(module, hooks))
            for name, module in model.named_modules()
            for hooks in _HOOKS
        },
        "random": torch.get_rng_state(),
    }


def _same(first: Any, second: Any) -> bool:
    """Deep equality of results; models are compared by their state."""
    if isinstance(first, Tensor):
        return (
            isinstance(second, Tensor)
            and first.dtype == second.dtype
            and torch.equal(first.nan_to_num(), second.nan_to_num())
        )
    if isinstance(first, nn.Module):
        return _same(first.state_dict(), second.state_dict())
    if dataclasses.is_dataclass(first):
        return _same(vars(first), vars(second))
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, (tuple, list)):
        return (
            isinstance(second, type(first))
            and len(first) == len(second)
            and all(_same(a, b) for a, b in zip(first, second, strict=True))
        )
    return bool(first == second)


def test_the_fingerprint_notices_every_kind_of_change() -> None:
    changes: list[Callable[[SuspectModel], object]] = [
        lambda m: m.train(),
        lambda m: m.requires_grad_(False),
        lambda m: m.zero_grad(),
        lambda m: m.network.conv.register_forward_hook(_no_hook),
        lambda m: m.network.conv.register_full_backward_hook(_no_hook),
        lambda m: m.network.norm.running_mean.add_(1),
        lambda m: m.network.norm.num_batches_tracked.add_(1),
        lambda m: m.network.conv.weight.data.mul_(2),
        lambda m: setattr(m.network, "act", nn.ReLU()),
        lambda m: torch.rand(1),
    ]
    for change in changes:
        model = _model("batch norm", "eval")
        before = _fingerprint(model)
        assert _same(before, _fingerprint(model))
        change(model)
        assert not _same(before, _fingerprint(model))


@pytest.mark.parametrize("state", ["eval", "mixed"])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", [*STAGES, *SILENT])
def test_a_call_leaves_the_model_alone(name: str, kind: str, state: str) -> None:
    model = _model(kind, state)
    before = _fingerprint(model)
    ALL[name](model)
    assert _same(before, _fingerprint(model))


@pytest.mark.parametrize("kind", ["batch norm", "no norm", "layer norm", "softmax"])
@pytest.mark.parametrize("name", WHOLES)
def test_several_stages_leave_the_model_alone(name: str, kind: str) -> None:
    model = _model(kind, "mixed")
    before = _fingerprint(model)
    ALL[name](model)
    assert _same(before, _fingerprint(model))


def test_every_stage_of_the_scan_had_something_to_do() -> None:
    *_, rows = _scan(_model("batch norm", "eval"), ignore_progress)  # type: ignore[misc]
    assert [row.status for row in rows] == ["done"] * 8, rows


class Fuse:
    """Makes a network raise at its forward call number ``at``; copies of it are the same one."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.calls = at, 0

    def __deepcopy__(self, memo: object) -> Fuse:
        return self

    def burn(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("no such kernel")


class Fused(nn.Module):
    def __init__(self, network: nn.Module, fuse: Fuse) -> None:
        super().__init__()
        self.inner, self.fuse = network, fuse

    def forward(self, images: Tensor) -> Tensor:
        self.fuse.burn()
        return self.inner(images)


@pytest.mark.parametrize("at", ["first", "middle", "last"])
@pytest.mark.parametrize("name", ALL)
def test_a_model_that_raises_is_left_alone(name: str, at: str) -> None:
    whole = Fuse()
    ALL[name](suspect(Fused(QuadrantNet(), whole)))
    calls = {"first": 1, "middle": (whole.calls + 1) // 2, "last": whole.calls}[at]
    fuse = Fuse(calls)
    model = suspect(Fused(QuadrantNet(), fuse))
    model.network.inner.conv.weight.grad = torch.ones_like(model.network.inner.conv.weight)
    before = _fingerprint(model)
    if calls:
        caught = contextlib.suppress(*ERRORS) if name == "scan" else pytest.raises(ERRORS)
        with caught:
            ALL[name](model)
        assert fuse.calls >= calls
    else:
        ALL[name](model)  # prune_filters alone never runs the network
    assert _same(before, _fingerprint(model))


@pytest.mark.parametrize("name", WHOLES)
def test_several_stages_that_are_cancelled_leave_the_model_alone(name: str) -> None:
    planned: list[Progress] = []
    WHOLES[name](_model("batch norm", "mixed"), planned.append)
    for last_stage in {progress.stage: at for at, progress in enumerate(planned)}.values():
        seen: list[Progress] = []

        def cancel(progress: Progress, at: int = last_stage, seen: list[Progress] = seen) -> None:
            seen.append(progress)
            if len(seen) > at:
                raise ScanCancelled("enough")

        model = _model("batch norm", "mixed")
        before = _fingerprint(model)
        with pytest.raises(ScanCancelled, match="enough"):
            WHOLES[name](model, cancel)
        assert len(seen) == last_stage + 1
        assert _same(before, _fingerprint(model))


@pytest.mark.parametrize("kind", ["batch norm", "layer norm"])
@pytest.mark.parametrize("at", ["first", "last"])
@pytest.mark.parametrize("name", STAGES)
def test_a_cancelled_call_leaves_the_model_alone(name: str, at: str, kind: str) -> None:
    planned: list[Progress] = []
    STAGES[name](_model(kind, "mixed"), planned.append)
    calls = 1 if at == "first" else len(planned)
    seen: list[Progress] = []

    def cancel(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == calls:
            raise ScanCancelled("enough")

    model = _model(kind, "mixed")
    before = _fingerprint(model)
    with pytest.raises(ScanCancelled, match="enough"):
        STAGES[name](model, cancel)
    assert len(seen) == calls
    assert _same(before, _fingerprint(model))


@pytest.mark.parametrize("kind", ["batch norm", "layer norm"])
@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_refused_call_leaves_the_model_alone(call: str, kind: str) -> None:
    model = _model(kind, "mixed")
    before = _fingerprint(model)
    with pytest.raises(ERRORS):
        BAD_CALLS[call](model)
    assert _same(before, _fingerprint(model))


@pytest.mark.parametrize("name", ALL)
def test_images_stay_as_they_are(name: str) -> None:
    images, labels = SET.images.clone(), SET.labels.clone()
    ALL[name](_model("batch norm", "eval"))
    assert torch.equal(SET.images, images) and torch.equal(SET.labels, labels)
    assert torch.equal(SUSPECTS.images, images[:3])


@pytest.mark.parametrize("name", [name for name in ALL if name != "scan"])
def test_the_same_seed_gives_the_same_result(name: str) -> None:
    first = ALL[name](_model("batch norm", "eval"))
    torch.rand(3)  # the global state plays no part
    again = ALL[name](_model("batch norm", "eval"))
    assert _same(first, again)


def test_the_same_seed_gives_the_same_report_and_pictures() -> None:
    first = _scan(_model("batch norm", "eval"), ignore_progress)
    torch.rand(3)
    again = _scan(_model("batch norm", "mixed"), ignore_progress)
    assert _same(first[:3], again[:3])  # type: ignore[index]


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_gives_another_result(name: str) -> None:
    model = _model("batch norm", "eval")
    first, other = (STAGES[name](model, ignore_progress, seed) for seed in (0, 1))
    assert not _same(first, other)


@pytest.mark.parametrize("name", STAGES)
def test_modes_and_gradients_of_the_input_do_not_change_the_result(name: str) -> None:
    tidy, untidy = (
        STAGES[name](_model("batch norm", state), ignore_progress) for state in ("eval", "mixed")
    )
    assert _same(tidy, untidy)


@pytest.mark.parametrize("name", STAGES)
def test_progress_grows_and_stays_within_its_total(name: str) -> None:
    seen: list[Progress] = []
    STAGES[name](_model("batch norm", "eval"), seen.append)
    steps = [progress.step for progress in seen]
    assert steps == sorted(set(steps))
    assert len({(progress.stage, progress.total) for progress in seen}) == 1
    assert steps[0] >= 0 and steps[-1] <= seen[0].total
