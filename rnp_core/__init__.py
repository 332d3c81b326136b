"""Backdoor scanner for PyTorch image classifiers, built on Reconstructive Neuron Pruning.

The public names, in groups; each is imported on first use, so that ``import rnp_core`` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rnp_core.version import VERSION as __version__

_PLACES = {
    # load
    "load_checkpoint": "checkpoints",
    "inspect_checkpoint": "checkpoints",
    "read_defense_set": "images",
    "read_suspects": "images",
    "plan_network": "assembly",
    "assemble": "assembly",
    "as_suspect_model": "assembly",
    "SuspectModel": "model",
    "Normalization": "model",
    "DefenseSet": "data",
    "SuspectSet": "data",
    "list_demos": "demo",
    "find_demo": "demo",
    "DemoModel": "demo",
    "isolated_inspect": "isolation",
    "run_isolated": "isolation",
    "load_subject": "subject",
    "load_request": "subject",
    "content_sha256": "images",
    "clean_accuracy": "metrics",
    "pattern_image": "pictures",
    "open_picture": "pictures",
    "draw_attributions": "evidence_pictures",
    # scan
    "scan": "pipeline",
    "ScanResult": "pipeline",
    "scan_checkpoint": "scan_file",
    "ScanConfig": "config",
    "preset_config": "config",
    "calibration_scores": "calibration",
    "isolated_scan": "isolation",
    "IsolationLimits": "isolation",
    "ScanReport": "report",
    "TriggerRow": "report",
    "SampleRow": "report",
    "read_report": "run_folder",
    "write_run": "run_folder",
    "RunFolder": "run_reader",
    "StoredTrigger": "stored_triggers",
    "stored_trigger": "stored_triggers",
    # reports
    "render_report": "reports",
    "report_schema": "reports.json_schema",
    "LIMITS": "reports.wording",
    "limits_of": "reports.wording",
    "rerun": "reports.rerun",
    "check_manifest": "manifest",
    # stages
    "unlearn": "stages.unlearn",
    "find_maskable_layers": "stages.filter_mask",
    "recover": "stages.recover",
    "largest_margins": "stages.margins",
    "margins_of_all": "stages.margins",
    "recover_triggers": "stages.triggers",
    "TriggerSearch": "stages.triggers",
    "invert": "inversion",
    "RecoveredTrigger": "inversion",
    "weigh_labels": "stages.target_label",
    "suspected_target_labels": "stages.target_label",
    "judge": "stages.verdict",
    "prune": "stages.prune",
    "prune_filters": "stages.filter_mask",
    "repair": "stages.repair",
    "remove_backdoor": "stages.removal",
    "score_samples": "stages.samples",
    "attribute": "stages.attribution",
    "attribute_filters": "stages.attribution",
    # jobs
    "JobEngine": "jobs",
    "EngineLimits": "jobs",
    "Job": "jobs",
    "JobEvent": "jobs",
    "Disposition": "jobs",
    "ScanRequest": "request",
    "PRESETS": "request",
    "default_home": "jobs",
    "FINAL_STATES": "jobs",
    "DISPOSITIONS": "jobs",
    # progress and errors
    "JobError": "errors",
    "Progress": "progress",
    "OnProgress": "progress",
    "seconds_left": "scan_clock",
    "time_left": "scan_clock",
    "RnpError": "errors",
    "IsolationError": "errors",
    "ScanCancelled": "errors",
    "DataError": "errors",
}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
