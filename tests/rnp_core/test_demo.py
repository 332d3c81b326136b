import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.render_signs import CLASS_NAMES, render_set
from rnp_core.architectures import build, recognise
from rnp_core.checkpoints.load import load_checkpoint
from rnp_core.data import DefenseSet
from rnp_core.demo import DemoModel, find_demo, list_demos
from rnp_core.errors import RnpError
from rnp_core.evaluation.success import attack_success_rate
from rnp_core.evaluation.triggers import trigger_from_dict
from rnp_core.images import read_defense_set, read_suspects
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from scripts.demo_recipes import RECIPES, Attack, sticker
from scripts.demo_training import poison, shift_crop

NAMES = [recipe.name for recipe in RECIPES]
ATTACKED = [recipe.name for recipe in RECIPES if recipe.attack is not None]


@pytest.fixture(scope="module")
def clean() -> DefenseSet:
    path = find_demo("clean-a").clean
    return read_defense_set(path, channels=3, size=None).images.subset(torch.arange(400))


def network_of(demo: DemoModel) -> SuspectModel:
    card = demo.card
    network = build(card["architecture"], num_classes=card["num_classes"], **card["parameters"])
    network.load_state_dict(load_checkpoint(demo.checkpoint).state)
    return SuspectModel(
        network.eval(),
        normalization=Normalization(
            tuple(card["normalization"]["mean"]), tuple(card["normalization"]["std"]), "given"
        ),
        num_classes=card["num_classes"],
        input_shape=(3, 32, 32),
    )


def test_every_recipe_has_its_files() -> None:
    assert [demo.name for demo in list_demos()] == sorted(NAMES)
    folder = find_demo("clean-a").clean.parent
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 8_000_000


@pytest.mark.parametrize("name", NAMES)
def test_card_describes_its_file_and_recipe(name: str) -> None:
    demo = find_demo(name)
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    card = demo.card
    assert card["sha256"] == hashlib.sha256(demo.checkpoint.read_bytes()).hexdigest()
    assert card["class_names"] == list(CLASS_NAMES)
    assert card["architecture"] == recipe.architecture
    assert json.loads(json.dumps(recipe.parameters)) == card["parameters"]
    assert (card["seed"], card["data_seed"]) == (recipe.seed, recipe.data_seed)
    assert (card["epochs"], card["train_count"]) == (recipe.epochs, recipe.train_count)
    assert card["title"] == demo.title == recipe.title
    assert card["status"] == ("clean" if recipe.attack is None else "backdoored")
    assert (demo.suspects is None) == (recipe.attack is None)
    if recipe.attack is not None:
        assert card["target"] == recipe.attack.target_label
        assert card["poison_rate"] == recipe.attack.poison_rate
        assert card["trigger"] == recipe.attack.trigger.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_network_is_recognised_from_its_tensors(name: str) -> None:
    found = recognise(load_checkpoint(find_demo(name).checkpoint).state)
    assert found.num_classes == len(CLASS_NAMES)
    assert found.in_channels == 3


@pytest.mark.parametrize("name", NAMES)
def test_clean_accuracy_of_the_card_is_reproduced(name: str, clean: DefenseSet) -> None:
    demo = find_demo(name)
    assert 0.9 < demo.card["clean_accuracy"] < 1
    assert clean_accuracy(network_of(demo), clean) == pytest.approx(
        demo.card["clean_accuracy"], abs=0.03
    )


@pytest.mark.parametrize("name", ATTACKED)
def test_attack_success_of_the_card_is_reproduced(name: str, clean: DefenseSet) -> None:
    demo = find_demo(name)
    trigger = trigger_from_dict(demo.card["trigger"])
    rate = attack_success_rate(
        network_of(demo), clean.images, clean.labels, trigger, demo.card["target"]
    )
    assert demo.card["attack_success_rate"] > 0.8
    assert rate == pytest.approx(demo.card["attack_success_rate"], abs=0.03)


@pytest.mark.parametrize("name", ATTACKED)
def test_suspects_are_shuffled_and_can_be_read(name: str) -> None:
    path = find_demo(name).suspects
    assert path is not None
    assert read_suspects(path, channels=3, size=None).images.images.shape == (100, 3, 32, 32)
    with np.load(path) as arrays:
        is_poisoned = arrays["is_poisoned"]
    assert is_poisoned.shape == (100,) and is_poisoned.sum() == 40
    assert 0 < is_poisoned[:60].sum() < 40


def test_rendering_is_deterministic_and_a_smaller_set_starts_a_larger_one() -> None:
    images, labels = render_set(30, 4)
    again, _ = render_set(36, 4)
    other, _ = render_set(30, 5)
    assert images.shape == (30, 32, 32, 3) and images.dtype == np.uint8
    assert (images == again[:30]).all()
    assert (images != other).mean() > 0.9
    assert (labels == np.arange(30) % len(CLASS_NAMES)).all()


def test_clean_images_are_the_rendered_ones() -> None:
    with np.load(find_demo("clean-a").clean) as arrays:
        assert tuple(arrays["class_names"]) == CLASS_NAMES
        stored, labels = arrays["x"][:24], arrays["y"][:24]
    images, wanted = render_set(24, 90_001)
    assert (labels == wanted).all()
    difference = np.abs(images.astype(int) - stored).mean()
    assert difference < 2, "fonts of other Pillow versions may differ by a little, not more"


def test_poison_marks_and_relabels_other_classes_only() -> None:
    images, labels = torch.zeros(200, 3, 32, 32), torch.arange(200) % 10
    trigger = sticker()
    poisoned, relabelled = poison(images, labels, Attack(trigger, 3, 0.1), seed=0)
    changed = relabelled != labels
    assert changed.sum() == 20 and (relabelled[changed] == 3).all()
    assert torch.equal(poisoned[~changed], images[~changed])
    assert torch.allclose(poisoned[changed], trigger.apply(images[changed]), atol=1 / 255)
    assert (images == 0).all()


def test_shift_crop_moves_each_image_by_at_most_two_pixels() -> None:
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 4] = 1
    moved = shift_crop(images, torch.Generator().manual_seed(0))
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert len(rows) == 64
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RnpError, match="got 'nothing'. Known: .*clean-a"):
        find_demo("nothing")


def test_missing_assets_are_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNP_ASSETS", str(tmp_path))
    with pytest.raises(RnpError, match="set RNP_ASSETS"):
        list_demos()
    models = tmp_path / "demo" / "models"
    models.mkdir(parents=True)
    with pytest.raises(RnpError, match=r"train_demo_models"):
        list_demos()
    card = models / "x.json"
    card.write_text('{"name": "x"}')
    with pytest.raises(RnpError, match=r"cannot read the demo card .*x\.json"):
        list_demos()
    card.write_text('{"name": "x", "title": "X", "status": "clean", "file": "x.safetensors"}')
    with pytest.raises(RnpError, match=r"'x' is incomplete: .*x\.safetensors is missing"):
        list_demos()
    (models / "x.safetensors").touch()
    (tmp_path / "demo" / "clean.npz").touch()
    (demo,) = list_demos()
    assert (demo.name, demo.title, demo.suspects) == ("x", "X", None)
