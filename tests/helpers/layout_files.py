"""Checkpoints written the way each tool writes them, around one small network."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn


def network() -> nn.Module:
    """A small classifier for (3, 8, 8) images and four classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 4, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(4),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(4, 4),
        )
    )


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return OrderedDict((prefix + name, value) for name, value in state.items())


def save(value: Any, path: Path, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def rnp_tar(folder: Path, model: nn.Module) -> Path:
    """What train_backdoor_cifar.py of RNP writes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 60,
        "state_dict": model.state_dict(),
        "clean_acc": 0.93,
        "bad_acc": 1.0,
        "optimizer": optimizer.state_dict(),
    }
    return save(value, folder / "model_last.tar")


def backdoorbench_v1(folder: Path, model: nn.Module) -> Path:
    """attack_result.pt with the images as float tensors (N, C, H, W) from 0 to 255."""
    images = torch.randint(0, 256, (5, 3, 8, 8)).float()
    value = {
        "model_name": "preactresnet18",
        "num_classes": 4,
        "model": model.state_dict(),
        "data_path": "./data",
        "img_size": [8, 8, 3],
        "clean_data": "cifar10",
        "bd_train": {
            "x": images[:2],
            "y": torch.tensor([0, 0]),
            "original_index": np.array([3, 7]),
        },
        "bd_test": {"x": images, "y": torch.zeros(5, dtype=torch.int64)},
    }
    return save(value, folder / "attack_result.pt")


def backdoorbench_v1_sets(
    folder: Path,
    model: nn.Module,
    *,
    clean: tuple[np.ndarray, np.ndarray],
    poisoned: np.ndarray,
    target: int,
) -> Path:
    """The same with clean sets beside the poisoned ones; images are (N, H, W, 3) uint8."""
    images, labels = clean
    side = images.shape[1]
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    triggered = torch.from_numpy(poisoned).permute(0, 3, 1, 2).float()
    wanted = torch.full((len(poisoned),), target)
    value = {
        "model_name": "preactresnet18",
        "num_classes": 4,
        "model": model.state_dict(),
        "data_path": "./data",
        "img_size": [side, side, 3],
        "clean_data": "cifar10",
        "clean_train": {"x": channels_first[::2], "y": torch.from_numpy(labels[::2])},
        "clean_test": {"x": channels_first, "y": torch.from_numpy(labels)},
        "bd_train": {"x": triggered[:4], "y": wanted[:4], "original_index": np.arange(4)},
        "bd_test": {"x": triggered, "y": wanted},
    }
    return save(value, folder / "attack_result.pt")


def backdoorbench_v2(
    folder: Path,
    model: nn.Module,
    *,
    poisoned: tuple[np.ndarray, np.ndarray] | None = None,
    side: int = 8,
) -> Path:
    """attack_result.pt with the state of its data sets: numpy objects, and images on disk.

    ``poisoned`` are images and what they show; the target is 0.
    """
    images, labels = poisoned or (
        np.stack([np.full((8, 8, 3), (index, 0, 0), np.uint8) for index in (1, 2)]),
        np.array([3, 3]),
    )
    saved = "./record/badnet/bd_test_dataset"
    container: dict[Any, Any] = {}
    for index, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True), start=1):
        image = folder / "bd_test_dataset" / str(label) / f"{index}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(image)
        container[np.int64(index)] = {
            "path": f"{saved}/{label}/{index}.png",
            "other_info": [0, np.int64(label)],
        }
    state = {
        "bd_data_container": {
            "save_folder_path": saved,
            "data_dict": container,
            "save_file_format": ".png",
        },
        "getitem_all": True,
        "getitem_all_switch": False,
        "original_index_array": np.arange(len(images) + 1),
        "poison_indicator": np.array([0.0] + [1.0] * len(images)),
        "save_folder_path": saved,
    }
    return save(_second_version(model, state, side), folder / "attack_result.pt")


def backdoorbench_v2_pictures(
    folder: Path,
    model: nn.Module,
    *,
    poisoned: tuple[np.ndarray, np.ndarray] | None = None,
    side: int = 8,
) -> Path:
    """The same with pictures kept in memory, so that they are pickled as Pillow objects."""
    images, labels = poisoned or (
        np.full((2, 6, 8, 3), (10, 20, 30), np.uint8),
        np.array([3, 2]),
    )
    entries = {
        np.int64(1 + 3 * index): (Image.fromarray(pixels), 0, label)
        for index, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True))
    }
    container = {"save_folder_path": None, "data_dict": entries, "save_file_format": ".png"}
    state = {"bd_data_container": container, "save_folder_path": None}
    return save(_second_version(model, state, side), folder / "attack_result.pt")


def _second_version(model: nn.Module, test_set: dict[str, Any], side: int) -> dict[str, Any]:
    return {
        "model_name": "preactresnet18",
        "num_classes": 4,
        "model": model.state_dict(),
        "data_path": "./data",
        "img_size": (side, side, 3),
        "clean_data": "gtsrb",
        "bd_train": None,
        "bd_test": test_set,
    }


def backdoorbench_defense(folder: Path, model: nn.Module) -> Path:
    value = {"model_name": "preactresnet18", "num_classes": 4, "model": model.state_dict()}
    return save(value, folder / "defense_result.pt")


def trojai_folder(folder: Path, model: nn.Module) -> Path:
    """A TrojAI round folder: the whole module, its configuration, and clean examples."""
    trojai_round(folder, model, side=8)
    examples = folder / "clean-example-data"
    examples.mkdir()
    for label in range(4):
        Image.new("RGB", (8, 8), (label, 0, 0)).save(examples / f"class_{label}_example_0.png")
    Image.new("RGB", (8, 8)).save(examples / "7.png")
    (examples / "7.json").write_text("2")
    return folder


def trojai_round(folder: Path, model: nn.Module, *, side: int) -> Path:
    """The same without examples."""
    save(model, folder / "model.pt")
    config = {"model_architecture": "classification:resnet50", "number_classes": 4}
    (folder / "config.json").write_text(json.dumps({**config, "poisoned": False}))
    (folder / "reduced-config.json").write_text(json.dumps({"img_size_pixels": side}))
    return folder


def timm_folder(folder: Path, model: nn.Module, *, side: int = 8) -> Path:
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": "resnet18",
        "num_classes": 4,
        "label_names": ["stop", "yield", "left", "right"],
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.2, 0.2],
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def huggingface_folder(folder: Path, model: nn.Module, *, side: int = 8) -> Path:
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": 3,
        "id2label": {"0": "stop", "1": "yield", "2": "left", "3": "right"},
    }
    preprocessor = {
        "do_normalize": True,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.2, 0.2],
        "size": {"height": side, "width": side},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def lightning(folder: Path, model: nn.Module) -> Path:
    state = prefixed(model.state_dict(), "model.")
    state["criterion.weight"] = torch.ones(4)
    value = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"arch": "resnet18", "num_classes": 4, "lr": 0.1},
    }
    return save(value, folder / "epoch=3.ckpt")


def pruned(folder: Path, model: nn.Module) -> Path:
    """torch.nn.utils.prune without prune.remove."""
    from torch.nn.utils import prune

    prune.l1_unstructured(model.conv1, "weight", amount=0.5)
    return save(model.state_dict(), folder / "pruned.pth")
