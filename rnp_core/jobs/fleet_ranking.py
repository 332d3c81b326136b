"""The ranked list of a fleet and its files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rnp_core.errors import ReportError
from rnp_core.report import Verdict

Evidence = Literal["scan", "triage", "none"]

_ORDER = {"backdoored": 0, "suspicious": 1, "error": 2, "inconclusive": 3, "no_evidence": 4}
_EXIT = {"backdoored": 1, "suspicious": 1, "error": 2, "inconclusive": 3, "no_evidence": 0}


@dataclass(frozen=True)
class FleetRow:
    """One checkpoint of a fleet, by content: copies share a row.

    Attributes:
        rank: 1 for the one to look at first.
        path: the first of its paths; untrusted text.
        copies: further paths with the same bytes.
        sha256: of the weight file; empty when it cannot be read.
        state: of its latest job; "failed" where it cannot be read, and "triaged" where the fleet
            was told to leave it at that.
        evidence: what the score rests on: a whole scan, the cheap evidence, or nothing yet.
        verdict: of the whole scan; "error" where there will be none.
        score: 0 to 1, higher is more suspicious.
        labels: suspected target labels.
        file_severity: of the worst finding about the file itself, "info" to "critical", or empty.
        job: id of its latest job.
        report: of the scan, relative to the fleet's folder.
        run_folder: of the scan, with pictures and the repaired model.
        seconds: that its job took.
        earlier: whether an earlier scan with the same settings was taken.
        error: why there is no result.
    """

    path: str
    sha256: str
    state: str
    evidence: Evidence = "none"
    verdict: Verdict | None = None
    score: float | None = None
    labels: tuple[int, ...] = ()
    file_severity: str = ""
    job: str = ""
    report: str = ""
    run_folder: str = ""
    seconds: float | None = None
    earlier: bool = False
    error: str = ""
    copies: tuple[str, ...] = ()
    rank: int = 0

    @property
    def is_found(self) -> bool:
        """Whether people must look at it: a whole scan accuses the model, or its file would run
        code when somebody loads it."""
        return self.verdict in ("backdoored", "suspicious") or self.file_severity == "critical"


def rank(rows: Sequence[FleetRow]) -> list[FleetRow]:
    """Rows in the order in which people should look at them: what was found first (see
    :attr:`FleetRow.is_found`), then by score (whole scans before cheap evidence at the same one),
    errors without a score at the end."""
    order = sorted(
        rows,
        key=lambda row: (
            not row.is_found,
            -(row.score if row.score is not None else -1.0),
            _ORDER.get(row.verdict or "", 5),
            row.evidence != "scan",
            row.path,
        ),
    )
    return [FleetRow(**{**vars(row), "rank": i}) for i, row in enumerate(order, start=1)]


def exit_code(rows: Sequence[FleetRow]) -> int:
    """The worst of the scans: 1 for any backdoored or suspicious model, else 2 for any error, else
    3 for any inconclusive one, else 0."""
    codes = {_EXIT.get(row.verdict or "", 2 if row.error else 0) for row in rows}
    return next((code for code in (1, 2, 3) if code in codes), 0)


def write_ranking(rows: Sequence[FleetRow], out: Path, facts: dict[str, Any]) -> list[Path]:
    """Write ``ranking.csv``, ``ranking.json`` and, with pyarrow, ``ranking.parquet``.

    Each file is replaced at once.

    Args:
        facts: about the fleet as a whole, for the JSON file.

    Raises:
        ReportError: when the folder cannot be written.
    """
    table = [_plain(row) for row in rows]
    written = [out / "ranking.csv", out / "ranking.json"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _replacing(written[0]) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(_plain(FleetRow("", "", ""))))
            writer.writeheader()
            writer.writerows({k: _cell(v) for k, v in row.items()} for row in table)
        with _replacing(written[1]) as temporary:
            text = json.dumps({**facts, "models": [_json(row) for row in rows]}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
        if table and _parquet(table, out / "ranking.parquet"):
            written.append(out / "ranking.parquet")
    except OSError as error:
        raise ReportError(f"cannot write the ranking to {out}: {error.strerror}") from error
    return written


class _replacing:
    """A temporary path beside ``target`` that takes its place when all went well."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._temporary = target.with_name(f".{target.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self._temporary.replace(self._target)
        else:
            self._temporary.unlink(missing_ok=True)


def _plain(row: FleetRow) -> dict[str, Any]:
    values = {"rank": row.rank, **{k: v for k, v in asdict(row).items() if k != "rank"}}
    values["labels"] = " ".join(map(str, row.labels))
    values["copies"] = os.pathsep.join(row.copies)
    return values


def _json(row: FleetRow) -> dict[str, Any]:
    return {"rank": row.rank, **{k: v for k, v in asdict(row).items() if k != "rank"}}


def _cell(value: Any) -> Any:
    """Text that a spreadsheet does not take for a formula, in one line."""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode().replace("\r", " ").replace("\n", " ")
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def _parquet(table: list[dict[str, Any]], path: Path) -> bool:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return False
    text = {
        name: pyarrow.string()
        for name in ("path", "sha256", "state", "evidence", "verdict", "labels", "file_severity",
                     "job", "report", "run_folder", "error", "copies")
    }
    kinds = {**text, "rank": pyarrow.int64(), "score": pyarrow.float64(),
             "seconds": pyarrow.float64(), "earlier": pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[name]) for name in table[0]])
    safe = [
        {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v
         for k, v in row.items()}
        for row in table
    ]
    with _replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(safe, schema), temporary)
    return True
