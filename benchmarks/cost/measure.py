"""Measures one case, every run in a process of its own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cost.cases import Case
from benchmarks.cost.demos import clean_demo
from benchmarks.cost.meter import StageMeter
from benchmarks.cost.networks import (
    backdoored_network,
    fitted_network,
    prototype_images,
    with_square,
)
from benchmarks.cost.yardsticks import matrix_rate, plain_ways
from benchmarks.images import write_npz
from benchmarks.tasks import peak_memory
from rnp_core.acceleration import choose_device
from rnp_core.config import ScanConfig, preset_config
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.model import SuspectModel
from rnp_core.subject import load_subject

_FEW = 4
"""Steps of a brief case."""


def run_case(case: Case, *, count_operations: bool, device: str) -> dict[str, Any]:
    """Scan as the case says; seconds and memory by stage, or multiply-adds, which slow it down."""
    torch.set_num_threads(case.threads)
    model, clean = _network(case)
    model = model.to(choose_device(device))
    suspects = None
    if case.suspects:
        images, _ = prototype_images(case.classes, model.input_shape[-1], case.suspects, seed=4)
        if case.learned == "backdoor":
            with_square(images[::2])
        suspects = SuspectSet(images, tuple(str(index) for index in range(len(images))))
    config = dataclasses.replace(preset_config("standard"), precision=case.precision)
    if case.brief:
        config = _few_steps(config)
    if case.learned == "nothing":
        one_label = dataclasses.replace(config.weights, universal_bias=-100)
        config = dataclasses.replace(
            config, suspicious_score=1e-9, backdoored_score=1 - 1e-9, weights=one_label
        )
    if count_operations:
        with FlopCounterMode(display=False) as counter:
            meter = StageMeter(model.device, counter)
            meter.scan(model, clean, suspects=suspects, config=config)
        return {
            "multiply_adds": counter.get_total_flops() // 2,
            "stage_multiply_adds": meter.multiply_adds,
        }
    rate = matrix_rate(case, device=device)
    loading = loading_seconds(model, clean)
    meter = StageMeter(model.device)
    start = time.perf_counter()
    result = meter.scan(model, clean, suspects=suspects, config=config)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "loading_seconds": loading,
        "matrix_rate": max(rate, matrix_rate(case, device=device)),
        "stages": {row.name: row.seconds for row in result.report.stages},
        "stage_peak_mib": meter.peak_mib,
        "accuracy": result.report.accuracy.clean_before,
        "verdict": result.report.verdict,
        "labels": result.report.suspected_target_labels,
        "precision": result.report.environment["precision"],
        "peak_mib": peak_memory(),
    }


def _network(case: Case) -> tuple[SuspectModel, DefenseSet]:
    """The network of a case and its clean images."""
    if case.learned == "clean":
        return clean_demo(case.network, case.classes, case.clean)
    make = backdoored_network if case.learned == "backdoor" else fitted_network
    model = make(case.network, case.classes)
    count = max(case.clean, case.classes)
    return model, DefenseSet(*prototype_images(case.classes, model.input_shape[-1], count, seed=3))


def _few_steps(config: ScanConfig) -> ScanConfig:
    """With batches as large as ever."""
    return dataclasses.replace(
        config,
        recover_stage=dataclasses.replace(config.recover_stage, steps=_FEW),
        margin_stage=dataclasses.replace(config.margin_stage, steps=_FEW),
        invert_stage=dataclasses.replace(config.invert_stage, steps=_FEW),
        repair_stage=dataclasses.replace(config.repair_stage, steps=_FEW, warm_up=1),
    )


def loading_seconds(model: SuspectModel, clean: DefenseSet) -> float:
    """Seconds from a checkpoint and an image file to the model: what recognises the network and
    chooses the normalisation."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, images = Path(folder, "model.safetensors"), Path(folder, "clean.npz")
        state = model.network.state_dict()
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, checkpoint)
        write_npz(images, clean.images, clean.labels)
        start = time.perf_counter()
        load_subject(checkpoint, images)
        return time.perf_counter() - start


def _work(sender: Connection, case: Case, kind: str, device: str) -> None:
    try:
        if kind == "plain":
            sender.send(plain_ways(case, device=device))
        else:
            sender.send(run_case(case, count_operations=kind == "count", device=device))
    except Exception as error:
        sender.send({"error": f"{type(error).__name__}: {error}"})


def in_a_process(case: Case, kind: str, device: str) -> dict[str, Any]:
    """The result of :func:`run_case` or :func:`plain_ways` from a new process, or its error."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, case, kind, device))
    process.start()
    sender.close()
    try:
        found: dict[str, Any] = receiver.recv()
    except EOFError:
        found = {"error": "the process ended"}
    process.join()
    return found


def measure(case: Case, *, runs: int, device: str, count: bool = True) -> dict[str, Any]:
    """The row of a case; seconds are medians over ``runs``.

    Args:
        count: whether to count the multiply-adds of cases that call for it.
    """
    timed = [in_a_process(case, "time", device) for _ in range(runs)]
    failed = next((run for run in timed if "error" in run), None)
    row: dict[str, Any] = {"case": case.name, **dataclasses.asdict(case), "runs": runs}
    if failed:
        return {**row, **failed}
    stages = {
        name: statistics.median(run["stages"][name] for run in timed) for name in timed[0]["stages"]
    }
    row |= {**timed[0], "stages": stages}
    for name in ("seconds", "loading_seconds"):
        row[name] = statistics.median(run[name] for run in timed)
    for name in ("peak_mib", "matrix_rate"):
        row[name] = max(run[name] for run in timed)
    if not case.brief:
        row |= in_a_process(case, "plain", device)
    if count and case.is_counted:
        row |= in_a_process(case, "count", device)
    return row
