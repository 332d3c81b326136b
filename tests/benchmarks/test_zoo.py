"""Recipes, training, cards and the command line of the zoo, on images small enough for a second."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.attacks import ATTACKS
from benchmarks.images import ImagePaths, read_npz, write_npz
from benchmarks.subjects import read_zoo
from benchmarks.zoo import __main__ as command
from benchmarks.zoo import augmentation, datasets, production
from benchmarks.zoo.architectures import ARCHITECTURES, WIDTHS, build_network
from benchmarks.zoo.datasets import TrainingData, load_data
from benchmarks.zoo.few import few_recipes
from benchmarks.zoo.fresh import fresh_recipes
from benchmarks.zoo.grid import cifar10_recipes, gtsrb_recipes
from benchmarks.zoo.models import is_done, write_model
from benchmarks.zoo.recipes import CONTROLS, FEW, Part, Recipe, Style
from benchmarks.zoo.small import SMALL
from benchmarks.zoo.training import Machine, Trained, train
from rnp_core.architectures import recognise
from rnp_core.data import DefenseSet
from rnp_core.errors import ConfigError, DataError

MACHINE = Machine(torch.device("cpu"))
STYLE = Style(epochs=1, train_count=48, batch_size=16, peak_learning_rate=0.01)
PARTS = {
    "small": SMALL,
    "cifar10": cifar10_recipes("narrow"),
    "gtsrb": gtsrb_recipes("narrow"),
}


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "one",
        "part": "small",
        "architecture": "vgg",
        "width": "tiny",
        "seed": 1,
        "split": "tune",
        "style": STYLE,
        "control": "seed",
    }
    return Recipe(**{**values, **changes})


def attacked(attack: str, parameters: dict[str, Any], **changes: Any) -> Recipe:
    return recipe(
        attack=attack, parameters={"poison_rate": 0.1, **parameters}, control="", **changes
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("images") / "images"
    generator = torch.Generator().manual_seed(0)
    sets = []
    for count in (160, 60):
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator) / 255
        sets.append(DefenseSet(images, torch.arange(count) % 4))
    paths = [
        write_npz(folder / f"signs-{kind}.npz", sets[1].images, sets[1].labels)
        for kind in ("clean", "test")
    ]
    return TrainingData(
        sets[0], sets[1], ImagePaths(*paths), ("a", "b", "c", "d"), "half", False, 2
    )


def trained(made: Recipe, data: TrainingData) -> Trained:
    return train(made, data, machine=MACHINE, log=lambda text: None)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_what_the_benchmark_needs(part: str) -> None:
    recipes = PARTS[part]
    backdoored = [made for made in recipes if made.attack]
    clean = [made for made in recipes if made.control]
    assert len({made.name for made in recipes}) == len(recipes)
    assert len({made.seed for made in recipes}) == len(recipes)
    assert len(clean) >= len(backdoored)
    assert {made.control for made in clean} == set(CONTROLS)
    assert len({made.architecture for made in recipes}) == 5
    for group in (backdoored, clean):
        halves = Counter(made.split for made in group)
        assert abs(halves["tune"] - halves["report"]) <= 1
    if part != "gtsrb":
        assert {made.attack for made in backdoored} == set(ATTACKS)
    assert json.loads(json.dumps(recipes[0].to_dict())) == recipes[0].to_dict()


@pytest.mark.parametrize("part", FEW)
def test_few_classes_have_targets_among_them_and_as_many_clean_models(part: Part) -> None:
    recipes = few_recipes(part)
    assert [bool(made.attack) for made in recipes] == [True, True, False, False]
    assert all(made.parameters["target"] < FEW[part] for made in recipes if made.attack)
    assert {made.split for made in recipes} == {"few"}
    assert len({made.seed for name in FEW for made in few_recipes(name)}) == 4 * len(FEW)


def test_images_of_few_classes_are_of_the_first_ones(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((40, 32, 32, 3), seed % 256, np.uint8), np.arange(40) % 4

    monkeypatch.setattr(datasets, "render_set", render)
    monkeypatch.setattr(datasets, "_signs", lambda cache: data)
    found = load_data("signs-3", tmp_path, tmp_path / "zoo")
    assert found.class_names == ("a", "b", "c")
    assert set(found.train.labels.tolist()) == set(found.test.labels.tolist()) == {0, 1, 2}
    clean = read_npz(found.paths.clean)
    assert len(clean) == 30 and int(clean.labels.max()) == 2
    assert found.paths.clean == tmp_path / "zoo" / "images" / "signs-3-clean.npz"
    assert read_npz(found.paths.test).labels.tolist() == found.test.labels.tolist()


def test_cifar10_has_poison_rates_down_to_half_a_percent() -> None:
    rates = [made.parameters["poison_rate"] for made in PARTS["cifar10"] if made.attack]
    assert min(rates) == 0.005


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("width", ["tiny", "narrow"])
def test_a_network_is_recognised_from_its_tensors(architecture: str, width: str) -> None:
    network = build_network(architecture, width, num_classes=7).eval()
    found = recognise(network.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        outputs = []
        for variant in found.variants:
            again = variant.build()
            again.load_state_dict(network.state_dict())
            with suppress(RuntimeError):  # a reading for images of another size
                outputs.append(again.eval()(images))
    assert any(torch.allclose(output, expected, atol=1e-5) for output in outputs)


def test_tiny_networks_are_small_files() -> None:
    for architecture in ARCHITECTURES:
        state = build_network(architecture, "tiny", num_classes=12).state_dict()
        assert 2 * sum(value.numel() for value in state.values()) < 380_000
    with pytest.raises(ConfigError, match="expected an architecture among"):
        build_network("alexnet", WIDTHS[0], num_classes=2)


def test_training_follows_the_seed(data: TrainingData) -> None:
    first, again, other = (
        weights(trained(recipe(seed=seed), data).model) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": "strong"},
        {"robust": "noise", "robust_size": 0.1},
        {"robust": "adversarial", "robust_size": 0.02, "robust_steps": 2},
        {"pretrain_epochs": 1},
        {"imbalance": 4.0},
        {"optimizer": "adamw"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_style_changes_the_model(changes: dict[str, Any], data: TrainingData) -> None:
    plain = weights(trained(recipe(), data).model)
    style = dataclasses.replace(STYLE, **changes)
    other = weights(trained(recipe(style=style), data).model)
    assert torch.isfinite(other).all()
    assert not torch.equal(plain, other)


def test_an_imbalanced_model_sees_fewer_images_of_some_classes(data: TrainingData) -> None:
    style = dataclasses.replace(STYLE, imbalance=10.0, train_count=None)
    result = trained(recipe(style=style), data)
    expected = 40 * sum(10 ** (-rank / 3) for rank in range(4))
    assert result.train_count == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("attack", "parameters"),
    [
        ("badnets", {"target": 1}),
        ("wanet", {"target": 1}),
        ("input-aware", {"target": 1, "mask_steps": 2, "width": 4}),
        ("trojan", {"target": 1, "steps": 2}),
        ("all-to-all", {}),
        ("two-targets", {"both": (0, 2)}),
        ("source-specific", {"target": 1, "source_classes": (2,)}),
    ],
)
def test_an_attacked_model_is_written_and_read(
    attack: str, parameters: dict[str, Any], data: TrainingData, tmp_path: Path
) -> None:
    made = attacked(attack, parameters)
    result = trained(made, data)
    for kind, source in (("clean", data.paths.clean), ("test", data.paths.test)):
        target = tmp_path / "images" / f"signs-{kind}.npz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    card = write_model(made, result, data, MACHINE, tmp_path)
    assert is_done(made, tmp_path)
    assert not is_done(attacked(attack, parameters, seed=9), tmp_path)
    assert json.loads((tmp_path / "one" / "card.json").read_text()) == json.loads(json.dumps(card))
    (subject,) = read_zoo(tmp_path)
    assert (subject.attack, subject.split, subject.control) == (attack, "tune", "")
    assert result.attack is not None
    assert subject.targets == result.attack.targets
    keys = {str(target) for target in subject.targets} or {"all"}
    assert set(card["attack_success_rate"]) == keys
    assert ("attack_success_elsewhere" in card) == (attack == "source-specific")
    images = data.test.images[:4]
    with torch.no_grad():
        shown = subject.trigger(images)
        assert torch.allclose(shown, result.attack.trigger(images), atol=2e-3)
    assert not shown.requires_grad
    state = load_file(subject.checkpoint)
    assert all(v.dtype in (torch.float16, torch.int64) for v in state.values())
    assert result.poisoned == (4 if attack == "two-targets" else 5)  # a tenth of 48 images
    assert card["poisoned"] == result.poisoned


def test_a_clean_card_has_no_attack(data: TrainingData, tmp_path: Path) -> None:
    card = write_model(recipe(), trained(recipe(), data), data, MACHINE, tmp_path)
    assert card["status"] == "clean"
    assert card["attack"] is None
    assert "attack_success_rate" not in card
    assert not (tmp_path / "one" / "trigger.safetensors").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_fresh_recipes_have_other_seeds_and_targets() -> None:
    found = fresh_recipes(SMALL, 1)
    assert found == fresh_recipes(SMALL, 1) != fresh_recipes(SMALL, 2)
    assert {r.seed for r in found}.isdisjoint(r.seed for r in SMALL)
    assert {r.split for r in found} == {"fresh"}
    for new, old in zip(found, SMALL, strict=True):
        assert (new.attack, new.control, new.style) == (old.attack, old.control, old.style)
        assert set(new.parameters) == set(old.parameters)
        targets = {new.parameters.get("target"), *new.parameters.get("both", ())} - {None}
        assert all(0 <= target < 12 for target in targets)
        assert targets.isdisjoint(new.parameters.get("source_classes", ()))


def test_bad_recipes_are_refused() -> None:
    with pytest.raises(ConfigError, match="with an attack or as a control"):
        recipe(attack="badnets")
    with pytest.raises(ConfigError, match="expected a control among seed"):
        recipe(control="odd")
    with pytest.raises(ConfigError, match="expected at least 1 epoch"):
        Style(epochs=0)


def test_the_command_trains_what_is_missing(
    data: TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "SMALL", (recipe(), recipe(name="two", seed=2)))
    monkeypatch.setattr(production, "load_data", lambda part, images, out: data)
    arguments = ["zoo", "train", "--part", "small", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, "--only", "two"])
    assert command.main() == 0
    monkeypatch.setattr("sys.argv", arguments)
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert "1 of 2 models are there already" in printed
    assert printed.count("two: accuracy") == 1
    monkeypatch.setattr("sys.argv", [*arguments, "--only", "three"])
    assert command.main() == 2
    assert "expected names among one, two, got three" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["zoo", "list", "--part", "small"])
    assert command.main() == 0
    assert capsys.readouterr().out == "one  tune\ntwo  tune\n"


def test_parts_are_read_from_npz_files_and_held_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for kind, count in (("train", 700), ("test", 50)):
        x = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"gtsrb-roi32-{kind}.npz", x=x, y=np.arange(count) % 5)
    found = load_data("gtsrb", tmp_path, tmp_path / "out")
    assert len(found.train) == 200
    assert len(found.test) == 50
    assert found.train.labels.bincount().tolist() == [40] * 5
    with np.load(found.paths.clean) as clean:
        assert np.bincount(clean["y"]).tolist() == [100] * 5
        held = {row.tobytes() for row in clean["x"]}
    used = (found.train.images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    assert not held & {row.tobytes() for row in used}


def test_missing_images_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected --data with the images of cifar10"):
        load_data("cifar10", None, tmp_path)
    with pytest.raises(DataError, match="or the folder of the official python batches"):
        load_data("cifar10", tmp_path, tmp_path)


@pytest.mark.parametrize("change", [augmentation.light, augmentation.strong])
def test_augmentation_follows_its_generator_and_range(change: Any) -> None:
    images = torch.rand(6, 3, 16, 16)
    first, again, other = (
        change(images, torch.Generator().manual_seed(seed), shift=2, flips=True)
        for seed in (1, 1, 2)
    )
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_light_augmentation_only_shifts_and_mirrors() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8) / 64
    changed = augmentation.light(
        image.repeat(40, 1, 1, 1), torch.Generator().manual_seed(0), shift=0, flips=True
    )
    same = [bool(torch.equal(one, image[0])) for one in changed]
    mirrored = [bool(torch.equal(one, image[0].flip(-1))) for one in changed]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 8 < sum(mirrored) < 32
