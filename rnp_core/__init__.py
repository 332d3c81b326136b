"""Backdoor scanner for PyTorch image classifiers, built on Reconstructive Neuron Pruning.

The public names, imported on first use so that ``import rnp_core`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnp_core.version import VERSION as __version__

if TYPE_CHECKING:
    from rnp_core.assemble import as_suspect_model, assemble, plan_network
    from rnp_core.attribution import attribute, attribute_filters
    from rnp_core.checkpoints import inspect_checkpoint, load_checkpoint
    from rnp_core.config import ScanConfig, preset_config
    from rnp_core.data import DefenseSet, SuspectSet
    from rnp_core.demo import find_demo, list_demos
    from rnp_core.errors import RnpError, ScanCancelled
    from rnp_core.filter_mask import find_maskable_layers, prune_filters
    from rnp_core.images import read_defense_set, read_suspects
    from rnp_core.inversion import RecoveredTrigger, invert
    from rnp_core.model import Normalization, SuspectModel
    from rnp_core.progress import Progress
    from rnp_core.prune import prune
    from rnp_core.recover import recover
    from rnp_core.removal import remove_backdoor
    from rnp_core.repair import repair
    from rnp_core.report import ScanReport
    from rnp_core.run_folder import read_report, write_run
    from rnp_core.samples import score_samples
    from rnp_core.scan import ScanResult, scan
    from rnp_core.scan_checkpoint import scan_checkpoint
    from rnp_core.target_label import suspected_target_labels, weigh_labels
    from rnp_core.triggers import recover_triggers
    from rnp_core.unlearn import unlearn
    from rnp_core.verdict import judge

_PLACES = {
    # load
    "load_checkpoint": "checkpoints",
    "inspect_checkpoint": "checkpoints",
    "read_defense_set": "images",
    "read_suspects": "images",
    "plan_network": "assemble",
    "assemble": "assemble",
    "as_suspect_model": "assemble",
    "SuspectModel": "model",
    "Normalization": "model",
    "DefenseSet": "data",
    "SuspectSet": "data",
    "list_demos": "demo",
    "find_demo": "demo",
    # scan
    "scan": "scan",
    "ScanResult": "scan",
    "scan_checkpoint": "scan_checkpoint",
    "ScanConfig": "config",
    "preset_config": "config",
    "ScanReport": "report",
    "read_report": "run_folder",
    "write_run": "run_folder",
    # stages
    "unlearn": "unlearn",
    "find_maskable_layers": "filter_mask",
    "recover": "recover",
    "recover_triggers": "triggers",
    "invert": "inversion",
    "RecoveredTrigger": "inversion",
    "weigh_labels": "target_label",
    "suspected_target_labels": "target_label",
    "judge": "verdict",
    "prune": "prune",
    "prune_filters": "filter_mask",
    "repair": "repair",
    "remove_backdoor": "removal",
    "score_samples": "samples",
    "attribute": "attribution",
    "attribute_filters": "attribution",
    # progress and errors
    "Progress": "progress",
    "RnpError": "errors",
    "ScanCancelled": "errors",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
