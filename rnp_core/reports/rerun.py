"""Repeating a scan from its report: the same settings on the same files, and is it the same?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnp_core.errors import ReportError
from rnp_core.isolation import SCAN_LIMITS, IsolationLimits, run_isolated
from rnp_core.isolation.confine import Protection
from rnp_core.progress import OnProgress, ignore_progress
from rnp_core.report import ScanReport
from rnp_core.reports.text import shown
from rnp_core.request import ScanRequest
from rnp_core.run_reader import read_report

SCORE_TOLERANCE = 0.05
"""Largest difference of backdoor scores that counts as the same.

The same machine repeats a score exactly. Another processor, number of threads or version of PyTorch
rounds differently, and the scans amplify that.
"""

_CODE = ".py:"  # as in FILE.py:CALLABLE
_CONDITIONS = ("torch", "python", "device", "threads", "precision", "platform")


@dataclass(frozen=True)
class Difference:
    """One value that is not as it was."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Comparison:
    """How a repeated scan compares with the first one.

    Attributes:
        same: whether verdict and first suspected label are equal and the scores within
            ``tolerance``.
        tolerance: largest allowed difference of the scores.
        results: differences in what was found; empty when all is equal. Those that do not decide
            (a score within the tolerance, further labels, flagged suspects, accuracy) are listed
            too.
        conditions: differences in versions, device and settings, which may explain the others.
        report: of the repeated scan.
    """

    same: bool
    tolerance: float
    results: tuple[Difference, ...]
    conditions: tuple[Difference, ...]
    report: ScanReport

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the verdict stands for the report."""
        return {
            "same": self.same,
            "tolerance": self.tolerance,
            "verdict": self.report.verdict,
            "files": file_hashes(self.report),
            "results": [dataclasses.asdict(item) for item in self.results],
            "conditions": [dataclasses.asdict(item) for item in self.conditions],
        }


def rerun(
    report_path: Path,
    out: Path,
    *,
    checkpoint: Path | None = None,
    clean: Path | None = None,
    suspects: Path | None = None,
    trusted_arch: str | None = None,
    force: bool = False,
    limits: IsolationLimits = SCAN_LIMITS,
    on_progress: OnProgress = ignore_progress,
) -> Comparison:
    """Repeat the scan of a report in a confined child process, and compare.

    Args:
        report_path: ``report.json`` or its run folder.
        out: run folder of the repeated scan.
        checkpoint: where the file is now; default: where it was.
        clean: where the clean images are now.
        suspects: where the suspects are now.
        trusted_arch: see :func:`rebuild_request`.
        force: replace an earlier scan in ``out``.

    Raises:
        ReportError: when the report cannot be read or holds no request, when it names code that
            the caller does not, or when checkpoint or images are not those of the report; nothing
            is written then, unless a file changed while the scan ran.
        RnpError: see :func:`rnp_core.scan_file.scan_checkpoint`.
    """
    from rnp_core.run_folder import check_target

    old = read_report(report_path)
    request = rebuild_request(
        old,
        out,
        checkpoint=checkpoint,
        clean=clean,
        suspects=suspects,
        trusted_arch=trusted_arch,
        force=force,
    )
    check_target(out, force=force)
    payload = {"request": request.to_dict(), "expected": file_hashes(old)}
    run_isolated(
        "rnp_core.reports.rerun:scan_same_files", payload, limits=limits, on_progress=on_progress
    )
    new = read_report(out)
    check_hashes(file_hashes(old), file_hashes(new))  # of the files as the scan itself read them
    return compare(old, new)


def rebuild_request(
    report: ScanReport,
    out: Path,
    *,
    checkpoint: Path | None = None,
    clean: Path | None = None,
    suspects: Path | None = None,
    trusted_arch: str | None = None,
    force: bool = False,
) -> ScanRequest:
    """The request of a report, with new places where they are given.

    Args:
        trusted_arch: ``FILE.py:CALLABLE`` for a scan that used such code. A report may come from
            somebody else, so code is never taken from the report.

    Raises:
        ReportError: when the report holds no request, as one of a model in memory, or when it used
            code and ``trusted_arch`` is None, or the other way round.
        ConfigError: when it is no request of this version.
    """
    if report.request is None:
        raise ReportError(
            "this report does not say how the scan was asked for (a model in memory, or an early "
            "version), so it cannot be repeated"
        )
    used = report.request.get("arch")
    used_code = isinstance(used, str) and _CODE in used
    if used_code and trusted_arch is None:
        raise ReportError(
            f"this scan ran code, {shown(used)}; read it, and name it with --arch if you trust it"
        )
    if trusted_arch is not None and not (used_code and _CODE in trusted_arch):
        raise ReportError(
            "--arch goes with --from-report only to name the FILE.py:CALLABLE of a scan that used "
            "one"
        )
    places = {
        "checkpoint": checkpoint, "clean": clean, "suspects": suspects, "arch": trusted_arch,
    }  # fmt: skip
    changed = {name: str(path) for name, path in places.items() if path is not None}
    return ScanRequest.from_dict({**report.request, **changed, "out": str(out), "force": force})


def scan_same_files(
    payload: Mapping[str, Any], on_progress: OnProgress, protection: Protection
) -> dict[str, Any]:
    """The task of the child process: check the hashes, then scan.

    Args:
        payload: ``request`` and ``expected``, the hashes of :func:`rerun`.

    Raises:
        ReportError: when checkpoint or images are others.
    """
    from rnp_core.report_rows import data_facts
    from rnp_core.scan_file import scan_request
    from rnp_core.subject import load_request

    request = ScanRequest.from_dict(payload["request"])
    subject = load_request(request)
    suspects = subject.suspects.images if subject.suspects else None
    facts = data_facts(subject.clean.images, suspects, subject.model.num_classes)
    found = {
        "checkpoint": subject.checkpoint.sha256,
        "clean images": facts.clean.sha256,
        "suspect images": facts.suspects.sha256 if facts.suspects else None,
    }
    check_hashes(payload["expected"], found)
    report = scan_request(
        request, environment={"isolation": protection.to_dict()}, on_progress=on_progress
    )
    return {"out": request.out, "verdict": report.verdict}


def check_hashes(expected: Mapping[str, str | None], found: Mapping[str, str | None]) -> None:
    """Refuse other files than those of a report; both arguments are SHA-256 sums by name.

    Raises:
        ReportError: for the first file that is another, missing or new.
    """
    for name, sha256 in expected.items():
        if found.get(name) != sha256:
            raise ReportError(
                f"expected the {name} of the report, SHA-256 {shown(sha256 or 'none')}, "
                f"got {found.get(name) or 'none'}; a scan of other files is no repetition"
            )


def compare(
    before: ScanReport, after: ScanReport, *, tolerance: float = SCORE_TOLERANCE
) -> Comparison:
    """Two reports of the same files: verdict, first suspected label, score, and conditions."""
    labels = [next(iter(report.suspected_target_labels), None) for report in (before, after)]
    results: list[tuple[str, Any, Any]] = [
        ("verdict", before.verdict, after.verdict),
        ("suspected label", labels[0], labels[1]),
        ("score", before.backdoor_score, after.backdoor_score),
        ("all suspected labels", before.suspected_target_labels, after.suspected_target_labels),
        ("flagged suspects", _flagged(before), _flagged(after)),
        ("clean accuracy", before.accuracy.clean_before, after.accuracy.clean_before),
        ("repaired accuracy", before.accuracy.clean_after, after.accuracy.clean_after),
    ]
    close = abs(before.backdoor_score - after.backdoor_score) <= tolerance
    conditions: list[tuple[str, Any, Any]] = [
        ("tool version", before.tool_version, after.tool_version),
        *(
            (name, before.environment.get(name), after.environment.get(name))
            for name in _CONDITIONS
        ),
        *(
            (f"setting {name}", before.config.get(name), after.config.get(name))
            for name in sorted(before.config.keys() | after.config.keys())
        ),
    ]
    return Comparison(
        same=before.verdict == after.verdict and labels[0] == labels[1] and close,
        tolerance=tolerance,
        results=_differing(results),
        conditions=_differing(conditions),
        report=after,
    )


def file_hashes(report: ScanReport) -> dict[str, str | None]:
    """SHA-256 sums by name of what was scanned; None for what there was not."""
    suspects = report.data.suspects
    return {
        "checkpoint": report.model.sha256,
        "clean images": report.data.clean.sha256,
        "suspect images": suspects.sha256 if suspects else None,
    }


def _flagged(report: ScanReport) -> int:
    return sum(row.flagged for row in report.samples)


def _differing(rows: list[tuple[str, Any, Any]]) -> tuple[Difference, ...]:
    return tuple(Difference(*row) for row in rows if row[1] != row[2])
