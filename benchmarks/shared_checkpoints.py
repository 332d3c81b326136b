"""Scan the twelve shared checkpoints and measure the result with their true triggers.

    python -m benchmarks.shared_checkpoints --shared ../shared --out runs/shared

Every scan is what ``rnp scan`` does with 500 clean images. The true trigger of a checkpoint's card
is used after the scan, on images that the scan did not see. Finished rows are kept in
``OUT/rows.jsonl``; a second start goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from rnp_core.config import preset_config
from rnp_core.data import DefenseSet
from rnp_core.evaluation.success import attack_success_rate
from rnp_core.evaluation.triggers import TrueTrigger, trigger_from_card
from rnp_core.images import read_defense_set
from rnp_core.metrics import auroc, clean_accuracy
from rnp_core.report import ScanReport
from rnp_core.scan_file import load_subject, scan_checkpoint

CLEAN_IMAGES = 500
TEST_IMAGES = 1000
SUSPECTS = 200  # clean ones, and as many triggered ones


@dataclass(frozen=True)
class Row:
    """One scanned checkpoint; shares in [0, 1], None where there is no true trigger."""

    name: str
    status: str
    target: int | None
    architecture: str
    verdict: str
    backdoor_score: float
    suspected: list[int]
    accuracy_before: float
    accuracy_after: float
    asr_before: float | None
    asr_after: float | None
    pruned_filters: int
    sample_auroc: float | None
    sample_tpr: float | None  # of the triggered images, at the scan's own threshold
    sample_fpr: float | None  # of the clean images, at the scan's own threshold
    seconds: float


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="comma-separated names")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    done = {row.name: row for row in read_rows(options.out)}
    for folder in sorted((options.shared / "checkpoints").iterdir()):
        if folder.name in done or (options.only and folder.name not in options.only.split(",")):
            continue
        row = measure(folder, options.shared / "data", options.out, options.preset, options.seed)
        with (options.out / "rows.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(asdict(row)) + "\n")
        print(table([row]).splitlines()[-1], flush=True)
    print("\n" + table(read_rows(options.out)))


def measure(folder: Path, data: Path, out: Path, preset: str, seed: int) -> Row:
    """Scan one checkpoint and evaluate the run folder that it leaves."""
    card = json.loads((folder / "card.json").read_text())
    truth = trigger_from_card(folder / "card.json")
    clean, test = image_sets(card["dataset"], data, seed)
    clean_path = out / f"{card['dataset']}-clean.npz"
    write_npz(clean_path, clean)
    suspects_path = None
    if truth is not None:
        suspects_path = out / f"{folder.name}-suspects.npz"
        write_npz(suspects_path, suspects_of(test, *truth))
    checkpoint = folder / card["file"]
    start = time.perf_counter()
    report = scan_checkpoint(
        checkpoint,
        clean_path,
        out / folder.name,
        suspects_path=suspects_path,
        config=preset_config(preset, seed=seed),
        force=True,
    )
    seconds = time.perf_counter() - start
    subject = load_subject(checkpoint, clean_path, seed=seed)
    repaired = subject.model.copy()
    state = load_file(out / folder.name / report.files["repaired_model"])
    repaired.network.load_state_dict(state, strict=True)
    before = after = None
    if truth is not None:
        trigger, target = truth
        before, after = (
            attack_success_rate(model, test.images, test.labels, trigger, target)
            for model in (subject.model, repaired)
        )
    scores, flagged = sample_columns(report)
    return Row(
        name=folder.name,
        status=card["status"],
        target=card["target"],
        architecture=report.model.architecture,
        verdict=report.verdict,
        backdoor_score=report.backdoor_score,
        suspected=report.suspected_target_labels,
        accuracy_before=clean_accuracy(subject.model, test),
        accuracy_after=clean_accuracy(repaired, test),
        asr_before=before,
        asr_after=after,
        pruned_filters=len(report.pruned_filters),
        sample_auroc=auroc(scores, np.arange(len(scores)) >= SUSPECTS) if len(scores) else None,
        sample_tpr=float(flagged[SUSPECTS:].mean()) if len(scores) else None,
        sample_fpr=float(flagged[:SUSPECTS].mean()) if len(scores) else None,
        seconds=seconds,
    )


def image_sets(dataset: str, data: Path, seed: int) -> tuple[DefenseSet, DefenseSet]:
    """Clean images for the scan, and other images for the evaluation."""
    if dataset.startswith("gtsrb"):
        return tuple(  # type: ignore[return-value]
            read_defense_set(
                data / f"gtsrb-roi32-{part}.zip", max_images=count, num_classes=43, seed=seed
            ).images
            for part, count in (("train", CLEAN_IMAGES), ("test", TEST_IMAGES))
        )
    name = {"cifar10": "cifar10-lossless-train4000.npz", "mnist": "mnist-test10000.npz"}[dataset]
    with np.load(data / name) as arrays:
        x, y = arrays["x"], arrays["y"]
    pixels = torch.from_numpy(x if x.ndim == 4 else x[..., None]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(y.astype(np.int64))
    order = np.random.default_rng(seed).permutation(len(x))
    parts = (order[:CLEAN_IMAGES], order[CLEAN_IMAGES : CLEAN_IMAGES + TEST_IMAGES])
    clean, test = (torch.from_numpy(np.sort(part)) for part in parts)
    return DefenseSet(pixels[clean], labels[clean]), DefenseSet(pixels[test], labels[test])


def suspects_of(test: DefenseSet, trigger: TrueTrigger, target: int) -> DefenseSet:
    """First clean images, then triggered ones of other classes; failed triggers included."""
    others = torch.nonzero(test.labels != target).flatten()[SUSPECTS : 2 * SUSPECTS]
    images = torch.cat([test.images[:SUSPECTS], trigger.apply(test.images[others])])
    return DefenseSet(images, torch.cat([test.labels[:SUSPECTS], test.labels[others]]))


def write_npz(path: Path, images: DefenseSet) -> None:
    """The images as 8-bit arrays ``x`` (N, H, W, C) and ``y``."""
    pixels = (images.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    np.savez(path, x=pixels.numpy(), y=images.labels.numpy())


def sample_columns(report: ScanReport) -> tuple[np.ndarray, np.ndarray]:
    """Suspicion scores and flags, in input order."""
    return (
        np.array([sample.suspicion_score for sample in report.samples]),
        np.array([sample.flagged for sample in report.samples], dtype=bool),
    )


def read_rows(out: Path) -> list[Row]:
    """The finished rows in ``out``."""
    path = out / "rows.jsonl"
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| checkpoint | truth | verdict | score | suspected | accuracy | true ASR | filters "
        "| sample AUROC | flagged of triggered / clean | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        truth = row.status + (f", target {row.target}" if row.target is not None else "")
        lines.append(
            f"| {row.name} | {truth} | {row.verdict} | {row.backdoor_score:.2f} "
            f"| {', '.join(map(str, row.suspected)) or '–'} "
            f"| {row.accuracy_before:.3f} → {row.accuracy_after:.3f} "
            f"| {_share(row.asr_before)} → {_share(row.asr_after)} | {row.pruned_filters} "
            f"| {_share(row.sample_auroc)} | {_share(row.sample_tpr)} / {_share(row.sample_fpr)} "
            f"| {row.seconds:.0f} |"
        )
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
