"""What a scan costs: seconds and memory by stage, multiply-adds, and the same work the plain way.

    python -m benchmarks cost --out docs/benchmark/cost            # every case, hours on two cores
    python -m benchmarks cost --only 'wrn16-1*' --out runs/cost
    rnp benchmark cost --help

Networks have random convolutions and a last layer that is fitted to the classes, so that they get
synthetic images right without training: cost depends on shapes, not on what was learned. Every scan
is made to accuse its most suspicious label, and that alone, so that removal is part of it, and
looks for more kinds of triggers, as no label of such a network stands out: a long way through a
scan. Cases called backdoored are trained for a moment on images of which some have a white square
and its label, and scanned as anything is; half of their suspects have the square. Brief ones stop
every search after a few steps: they show the memory of networks whose scan takes long. Each case
runs in a process of its own, with at least one clean image a class.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.neural_cleanse import NeuralCleanseConfig
from benchmarks.baselines.official_rnp import OfficialRnpConfig
from benchmarks.environment import describe_environment
from benchmarks.tasks import peak_memory
from rnp_core.acceleration import choose_device, has_fast_bfloat16
from rnp_core.architectures import build
from rnp_core.config import ScanConfig, preset_config
from rnp_core.data import DefenseSet, SuspectSet
from rnp_core.layers import WEIGHTED
from rnp_core.metrics import clean_accuracy
from rnp_core.model import Normalization, SuspectModel
from rnp_core.pipeline import ScanResult, scan
from rnp_core.stage_log import StageLog, T
from rnp_core.stages.unlearn import with_clean_statistics
from rnp_core.subject import load_subject

_VIT = {"image_size": 32, "patch_size": 4, "width": 384, "depth": 12, "heads": 6, "hidden": 1536}
NETWORKS: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    "wrn16-1": ("wrn16-1", 32, {}),
    "resnet18": ("resnet18_cifar", 32, {}),
    "vgg16-bn": ("vgg16_cifar", 32, {}),
    "mobilenetv2": ("mobilenet_v2_cifar", 32, {}),
    "vit-small": ("vit_b_16", 32, _VIT),
    "resnet50-224": ("resnet50", 224, {}),
}
"""Name to architecture, image size and what differs from its defaults."""


_TRAINED_STEPS = 600
_FEW = 4
"""Steps of a brief case."""
_OFFICIAL_UNLEARNING = 13
"""Epochs after which the official RNP's unlearning stops."""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        classes, clean, suspects: how many classes, clean images and suspect images.
        threads: of the processor.
        precision: as in :class:`rnp_core.config.ScanConfig`.
        backdoored: whether the network is trained with a backdoor.
        brief: a few steps of every search only.
    """

    network: str
    classes: int = 10
    clean: int = 500
    suspects: int = 0
    threads: int = 2
    precision: str = "auto"
    backdoored: bool = False
    brief: bool = False

    @property
    def name(self) -> str:
        """The case in one word."""
        parts = [self.network, f"{self.classes}c", f"{self.clean}i", f"{self.suspects}s"]
        parts += [f"{self.threads}t", self.precision]
        parts += [name for name in ("backdoored", "brief") if getattr(self, name)]
        return "-".join(parts)

    @property
    def is_counted(self) -> bool:
        """Whether its multiply-adds are counted, which takes a scan of its own."""
        return self == Case(self.network, backdoored=self.backdoored)


CASES: tuple[Case, ...] = (
    *(Case(network) for network in NETWORKS),
    *(Case(network, precision="float32") for network in ("wrn16-1", "resnet18")),
    *(Case("wrn16-1", classes=count) for count in (43, 200, 1000)),
    *(Case("resnet18", classes=count) for count in (43, 200, 1000)),
    *(Case("resnet18", clean=count) for count in (50, 2000)),
    *(Case("resnet18", suspects=count, backdoored=True) for count in (1000, 10000)),
    *(Case(network, threads=1) for network in ("wrn16-1", "resnet18")),
    *(Case(network, backdoored=True) for network in ("wrn16-1", "resnet18")),
    Case("resnet50-224", brief=True),
)


def prototype_images(classes: int, size: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``(count, 3, size, size)`` in [0, 1], each a coarse pattern of its class with noise,
    and their labels."""
    patterns = torch.rand((classes, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = F.interpolate(patterns[labels], size=(size, size), mode="bilinear")
    noise = 0.03 * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0, 1), labels


@torch.no_grad()
def fitted_network(name: str, classes: int) -> SuspectModel:
    """A network of random weights whose last layer tells the prototypes apart.

    The last layer compares what goes into it with the mean of each class.
    """
    architecture, size, parameters = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(architecture, num_classes=classes, **parameters)
    images, labels = prototype_images(classes, size, max(64, 2 * classes), seed=2)
    kept: list[Tensor] = []
    last = [m for m in network.modules() if isinstance(m, WEIGHTED)][-1]
    assert isinstance(last, nn.Linear)
    handle = last.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    network.train()  # BatchNorm statistics of the prototypes
    for part in images.split(128):
        network(part)
    network.eval()
    kept.clear()
    for part in images.split(128):
        network(part)
    handle.remove()
    features = torch.cat(kept)
    centre, spread = features.mean(0), features.std(0) + 1e-6
    features = (features - centre) / spread
    means = torch.stack([features[labels == label].mean(0) for label in range(classes)])
    means = 20 * F.normalize(means) / features.shape[1] ** 0.5
    last.weight.copy_(means / spread)
    last.bias.copy_(-(means / spread) @ centre)
    return SuspectModel(
        network.requires_grad_(False),
        normalization=Normalization.none(3),
        num_classes=classes,
        input_shape=(3, size, size),
    )


def backdoored_network(name: str, classes: int) -> SuspectModel:
    """A network trained until it tells the prototypes apart and sends a white square to class 0.

    Raises:
        RuntimeError: when it does not learn that in :data:`_TRAINED_STEPS`.
    """
    model = fitted_network(name, classes)
    model.requires_grad_(True).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    size = model.input_shape[-1]
    clean = DefenseSet(*prototype_images(classes, size, 512, seed=2))
    for step in range(_TRAINED_STEPS):
        images, labels = prototype_images(classes, size, 64, seed=100 + step)
        with_square(images[:16])
        labels[:16] = 0
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 19 and float((logits.argmax(1) == labels).float().mean()) > 0.95:
            settled = with_clean_statistics(model, clean.images)
            if clean_accuracy(settled, clean) > 0.95:
                return settled
    raise RuntimeError(f"{name} did not learn the square in {_TRAINED_STEPS} steps")


def with_square(images: Tensor) -> None:
    """Put a white square into the corner of ``images``, in place."""
    side = max(3, images.shape[-1] // 10)
    images[..., -side - 1 : -1, -side - 1 : -1] = 1


class StageMeter:
    """What every stage of a scan takes beside seconds.

    Attributes:
        peak_mib: largest resident memory while a stage ran, looked up every 10 ms; with a GPU, the
            largest memory allocated there.
        multiply_adds: of the stage, where ``counter`` counts them.
    """

    _PAUSE = 0.01

    def __init__(self, device: torch.device, counter: FlopCounterMode | None = None) -> None:
        self.peak_mib: dict[str, float] = {}
        self.multiply_adds: dict[str, int] = {}
        self._device, self._counter = device, counter

    def scan(self, *arguments: Any, **settings: Any) -> ScanResult:
        """:func:`rnp_core.scan`, measured."""
        meter = self

        class MeasuredLog(StageLog):
            def run(self, name: str, stage: Callable[[], T]) -> T | None:
                return meter._measure(name, lambda: super(MeasuredLog, self).run(name, stage))

        with patch("rnp_core.pipeline.StageLog", MeasuredLog):
            return scan(*arguments, **settings)

    def _measure(self, name: str, stage: Callable[[], T]) -> T:
        before = self._counter.get_total_flops() if self._counter else 0
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        import psutil  # comes with the tests' and the fleet's packages only

        over, process, highest = threading.Event(), psutil.Process(), 0

        def look() -> None:
            nonlocal highest
            while True:
                highest = max(highest, process.memory_info().rss)
                if over.wait(self._PAUSE):
                    return

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            return stage()
        finally:
            over.set()
            watcher.join()
            peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else highest
            self.peak_mib[name] = round(peak / (1 << 20), 1)
            if self._counter:
                done = self._counter.get_total_flops() - before
                self.multiply_adds[name] = done // 2


def run_case(case: Case, *, count_operations: bool, device: str) -> dict[str, Any]:
    """Scan as the case says; seconds and memory by stage, or multiply-adds, which slow it down."""
    torch.set_num_threads(case.threads)
    prepare = backdoored_network if case.backdoored else fitted_network
    model = prepare(case.network, case.classes).to(choose_device(device))
    size = model.input_shape[-1]
    clean = DefenseSet(*prototype_images(case.classes, size, max(case.clean, case.classes), seed=3))
    suspects = None
    if case.suspects:
        images, _ = prototype_images(case.classes, size, case.suspects, seed=4)
        if case.backdoored:
            with_square(images[::2])
        suspects = SuspectSet(images, tuple(str(index) for index in range(len(images))))
    config = dataclasses.replace(preset_config("standard"), precision=case.precision)
    if case.brief:
        config = _few_steps(config)
    if not case.backdoored:
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


def _few_steps(config: ScanConfig) -> ScanConfig:
    """With batches as large as ever."""
    return dataclasses.replace(
        config,
        recover_stage=dataclasses.replace(config.recover_stage, steps=_FEW),
        margin_stage=dataclasses.replace(config.margin_stage, steps=_FEW),
        invert_stage=dataclasses.replace(config.invert_stage, steps=_FEW),
        repair_stage=dataclasses.replace(config.repair_stage, steps=_FEW, warm_up=1),
    )


def plain_ways(case: Case, *, device: str) -> dict[str, float]:
    """Seconds of the published procedures on the same network, from the median of a few steps each.

    ``official_steps`` are the steps of the official RNP's 33 epochs, all timed as plain training of
    the parameters, without its passes over test images; ``neural_cleanse`` goes label by label with
    its usual 80 rounds over the clean images, of which it may leave out some where a trigger gets
    no smaller.
    """
    torch.set_num_threads(case.threads)
    model = fitted_network(case.network, case.classes).to(choose_device(device))
    official, cleanse = OfficialRnpConfig(), NeuralCleanseConfig()
    batch = min(official.batch_size, case.clean)
    images, labels = prototype_images(case.classes, model.input_shape[-1], batch, seed=3)
    images, labels = images.to(model.device), labels.to(model.device)
    trained = model.copy().train()
    trained.requires_grad_(True)

    optimizer = torch.optim.SGD(trained.parameters(), lr=1e-9, momentum=0.9)

    def train_step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(trained(images), labels)
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for the GPU

    few = images[: cleanse.batch_size].clone().requires_grad_(True)

    def trigger_step() -> None:
        (slope,) = torch.autograd.grad(F.cross_entropy(model(few), labels[: len(few)]), few)
        float(slope.sum())  # waits for the GPU

    batches = -(-case.clean // official.batch_size)
    training = batches * (_OFFICIAL_UNLEARNING + official.recover_epochs)
    rounds = cleanse.rounds * -(-case.clean // cleanse.batch_size)
    return {
        "official_steps": training * _step_seconds(train_step),
        "neural_cleanse": case.classes * rounds * _step_seconds(trigger_step),
    }


def loading_seconds(model: SuspectModel, clean: DefenseSet) -> float:
    """Seconds from a checkpoint and an image file to the model: what recognises the network and
    chooses the normalisation."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, images = Path(folder, "model.safetensors"), Path(folder, "clean.npz")
        state = model.network.state_dict()
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, checkpoint)
        pixels = (255 * clean.images).round().byte().permute(0, 2, 3, 1)
        np.savez(images, x=pixels.numpy(), y=clean.labels.numpy())
        start = time.perf_counter()
        load_subject(checkpoint, images)
        return time.perf_counter() - start


def matrix_rate(case: Case, *, device: str) -> float:
    """Multiply-adds a second of products of square matrices, the best of many of two sizes, in the
    precision that the case can use."""
    place = choose_device(device)
    fast = case.precision == "auto" and has_fast_bfloat16(place)
    dtype = torch.bfloat16 if fast else torch.float32
    found = []
    for side in (2048, 4096):
        left, right = (torch.randn((side, side)).to(place, dtype) for _ in range(2))

        def multiply(left: Tensor = left, right: Tensor = right) -> None:
            float((left @ right)[0, 0])  # waits for the GPU

        found.append(side**3 / min(_times(multiply, 20)))
    return max(found)


def _step_seconds(step: Callable[[], None]) -> float:
    return statistics.median(_times(step, 5))


def _times(step: Callable[[], None], count: int) -> list[float]:
    step()  # set-up
    found = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return found


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


def measure(case: Case, *, runs: int, device: str) -> dict[str, Any]:
    """The row of a case; seconds are medians over ``runs``."""
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
    if case.is_counted:
        row |= in_a_process(case, "count", device)
    return row


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown; each published procedure with how many times our time it takes."""
    head = (
        "| case | loading s | scan s | peak MiB | unlearn + recover + removal s "
        "| official RNP s (times ours) | triggers s | label by label s (times ours) | samples s "
        "| G multiply-adds | share of matrix rate |"
    )
    lines = [head, "|" + " --- |" * 11]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['case']} | failed: {row['error']} |" + " |" * 9)
            continue
        stages = row["stages"]
        core = sum(stages.get(name, 0.0) for name in ("unlearn", "recover", "removal"))
        operations, share = "–", "–"
        if "multiply_adds" in row:
            operations = f"{row['multiply_adds'] / 1e9:.0f}"
            share = f"{row['multiply_adds'] / row['seconds'] / row['matrix_rate']:.0%}"
        if row.get("brief"):  # a few steps say nothing of time
            start = f"| {row['case']} ({row['precision']}) | – | – | {row['peak_mib']:.0f} |"
            lines.append(start + " – |" * 7)
            continue
        samples = f"{stages['samples']:.1f}" if row["suspects"] else "–"
        lines.append(
            f"| {row['case']} ({row['precision']}) | {row['loading_seconds']:.1f} "
            f"| {row['seconds']:.1f} | {row['peak_mib']:.0f} "
            f"| {core:.1f} | {_times_ours(row['official_steps'], core)} "
            f"| {stages.get('triggers', 0.0):.1f} "
            f"| {_times_ours(row['neural_cleanse'], stages.get('triggers', 0.0))} "
            f"| {samples} | {operations} | {share} |"
        )
    return "\n".join(lines) + "\n"


def stage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each stage of the cases whose multiply-adds were counted, in Markdown."""
    lines = [
        "| case | stage | s | peak MiB | G multiply-adds | share of matrix rate |",
        "|" + " --- |" * 6,
    ]
    for row in rows:
        for name, operations in row.get("stage_multiply_adds", {}).items():
            seconds = row["stages"][name]
            share = operations / seconds / row["matrix_rate"] if seconds else 0.0
            lines.append(
                f"| {row['case']} ({row['precision']}) | {name} | {seconds:.1f} "
                f"| {row['stage_peak_mib'][name]:.0f} | {operations / 1e9:.0f} | {share:.0%} |"
            )
    return "\n".join(lines) + "\n"


def _times_ours(theirs: float, ours: float) -> str:
    return f"{theirs:.0f} ({theirs / ours:.1f})" if ours else f"{theirs:.0f} (–)"


def main(arguments: Sequence[str]) -> int:
    """The command line of ``rnp benchmark cost``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="rnp benchmark cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", default="*", help="names of cases, with * and ?, by comma")
    parser.add_argument("--runs", type=int, default=3, help="of which the medians are shown")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/cost"))
    options = parser.parse_args(arguments)
    patterns = options.only.split(",")
    cases = [c for c in CASES if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not cases:
        parser.error(f"expected cases among {', '.join(case.name for case in CASES)}")
    rows = []
    options.out.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case.name}", flush=True)
        facts = describe_environment(threads=case.threads, device=options.device)
        row = measure(case, runs=options.runs, device=options.device)
        rows.append({**row, "environment": facts})
        found = {"rows": rows}
        (options.out / "cost.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        text = f"{table(rows)}\n{stage_table(rows)}"
        (options.out / "cost.md").write_text(text, encoding="utf-8")
    print("\n" + text)
    return int(any("error" in row for row in rows))
