"""``rnp report``, and ``rnp scan --from-report``."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnp_core.errors import ConfigError, ReportError

if TYPE_CHECKING:
    from rnp_core.isolation import IsolationLimits
    from rnp_core.manifest import ManifestCheck
    from rnp_core.progress import OnProgress
    from rnp_core.reports.rerun import Comparison

FORMATS = ("html", "pdf", "json", "sarif", "mlbom", "card")
DIFFERS = 4
"""Exit code of a repeated scan whose result is another."""

_FILES = ("html", "pdf")  # formats that do not go to a terminal
_SETTINGS = (
    "num_classes", "class_names", "mean", "std", "normalization", "preset", "device",
    "threads", "seed", "no_repair",
)  # fmt: skip


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``rnp report`` to the parser of the program."""
    report = commands.add_parser(
        "report",
        help="write a report of a finished scan, or check its files",
        description="Make a report from a run folder alone, check the folder against its manifest, "
        "or sign the manifest.",
        epilog="Exit codes: 0 done or intact, 1 the files are not as the scan left them, 2 error.",
    )
    report.add_argument("run_folder", metavar="DIR", type=Path, help="folder of a scan")
    action = report.add_mutually_exclusive_group(required=True)
    action.add_argument("--format", choices=FORMATS, help="what to write; card is Markdown")
    action.add_argument(
        "--verify", action="store_true", help="check every file against the manifest"
    )
    action.add_argument(
        "--sign", type=Path, metavar="KEY", help="sign the manifest with minisign's secret key"
    )
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write (default: DIR.html or DIR.pdf beside DIR, else standard output)",
    )
    report.add_argument(
        "--public-key",
        type=Path,
        metavar="KEY",
        help="with --verify: check the signature too, with minisign's public key",
    )
    report.add_argument("--json", action="store_true", help="with --verify: print JSON")
    report.add_argument("--quiet", action="store_true", help="print nothing but errors")
    report.set_defaults(run=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Run ``rnp report``; returns the exit code."""
    if options.public_key is not None and not options.verify:
        raise ConfigError("--public-key goes with --verify")
    if options.verify:
        return _verify(options)
    if options.sign is not None:
        from rnp_core.manifest import check_manifest
        from rnp_core.reports.signing import sign_manifest

        if not check_manifest(options.run_folder).intact:
            raise ReportError("the files are not as the scan left them; see --verify")
        signature = sign_manifest(options.run_folder, key=options.sign)
        if not options.quiet:
            print(f"signed: {signature}")
        return 0
    return _write(options)


def _write(options: argparse.Namespace) -> int:
    from rnp_core.reports import render_report

    content = render_report(options.run_folder, options.format)
    out: Path | None = options.out
    if out is None and options.format in _FILES:
        folder = options.run_folder.absolute()
        out = folder.with_name(f"{folder.name}.{options.format}")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise ReportError(f"cannot write {out}: {error.strerror}") from error
    if not options.quiet:
        print(f"written: {out} ({len(content):,} bytes)")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from rnp_core.manifest import SIGNATURE_NAME, check_manifest

    found = check_manifest(options.run_folder)
    signed = (options.run_folder / SIGNATURE_NAME).is_file()
    signature = "not checked" if signed else "absent"
    if options.public_key is not None:
        from rnp_core.reports.signing import check_signature

        check_signature(options.run_folder, public_key=options.public_key)
        signature = "valid"
    if options.json:
        lists = {"changed": found.changed, "missing": found.missing, "added": found.added}
        facts = {"intact": found.intact, "files": found.count, **lists, "signature": signature}
        print(json.dumps(facts, indent=1))
    elif not options.quiet:
        _print_check(found, signature)
    return 0 if found.intact else 1


def _print_check(found: ManifestCheck, signature: str) -> None:
    from rnp_core.reports.text import shown

    for word, names in (
        ("changed", found.changed),
        ("missing", found.missing),
        ("added", found.added),
    ):
        for name in names:
            print(f"{word}: {shown(name)}")
    state = "intact" if found.intact else "NOT as the scan left them"
    print(f"{found.count} files match the manifest; the folder's files are {state}")
    print(
        {
            "valid": "signature: valid for this key",
            "not checked": "signature: there is one; check it with --public-key KEY",
            "absent": "signature: none, so the manifest shows damage but not who made the folder",
        }[signature]
    )


def add_from_report(scan: argparse.ArgumentParser) -> None:
    """Add ``--from-report`` to the parser of ``rnp scan``."""
    scan.add_argument(
        "--from-report",
        type=Path,
        metavar="FILE",
        help="repeat the scan of this report.json with its settings on the same files, and say "
        "whether the result is the same (exit code 4: it is not); CHECKPOINT, --clean, --suspects "
        "and an --arch that is code say where the files are now",
    )


def check_from_report(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse settings beside ``--from-report``, and a scan without checkpoint and report.

    Raises:
        ConfigError: for both.
    """
    if options.from_report is None:
        if options.checkpoint is None:
            raise ConfigError("expected a checkpoint to scan, or --from-report FILE")
        return
    given = [name for name in _SETTINGS if getattr(options, name) != parser.get_default(name)]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"{names} cannot go with --from-report: settings are those of the report")


def repeat_scan(
    options: argparse.Namespace,
    limits: IsolationLimits,
    on_progress: OnProgress,
    exit_code: Callable[[str], int],
) -> int:
    """Run ``rnp scan --from-report``; returns the exit code."""
    from rnp_core.reports.rerun import rerun

    found = rerun(
        options.from_report,
        options.out,
        checkpoint=Path(options.checkpoint) if options.checkpoint is not None else None,
        clean=options.clean,
        suspects=options.suspects,
        trusted_arch=options.arch,
        force=options.force,
        limits=limits,
        on_progress=on_progress,
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=1))
    elif not options.quiet:
        _print_comparison(found)
    return exit_code(found.report.verdict) if found.same else DIFFERS


def _print_comparison(found: Comparison) -> None:
    from rnp_core.reports.text import shown

    report = found.report
    state = "the same result" if found.same else "ANOTHER result"
    print(f"{state}: {report.verdict.replace('_', ' ')}, score {report.backdoor_score:.4f}")
    print("files: checkpoint and images have the SHA-256 sums of the report")
    print(f"compared: verdict, first suspected label, score within {found.tolerance}")
    for title, rows in (("result", found.results), ("conditions", found.conditions)):
        for row in rows:
            print(f"{title}: {row.name}: {shown(row.before)} before, {shown(row.after)} now")
    if not found.results and not found.conditions:
        print("nothing differs, versions and device included")
