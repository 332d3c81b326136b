"""Which jobs of the history are meant, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnp_core.jobs.types import DispositionName, JobKind, JobState
from rnp_core.report import Verdict

_HEX = "0123456789abcdef"
_WORD = (
    "(title LIKE ? ESCAPE '\\' OR checkpoint_name LIKE ? ESCAPE '\\' "
    "OR checkpoint_sha256 LIKE ? ESCAPE '\\' "
    "OR id IN (SELECT job FROM tags WHERE tag LIKE ? ESCAPE '\\') "
    "OR id IN (SELECT job FROM dispositions WHERE note LIKE ? ESCAPE '\\'))"
)
_DECISION = (
    "(SELECT disposition FROM dispositions WHERE job = jobs.id ORDER BY number DESC LIMIT 1)"
)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; what is None or empty does not matter.

    Attributes:
        state, verdict: as they are now.
        text: words that all occur in title, checkpoint name, tags, notes or the start of the
            digest.
        tag: one that the job has.
        sha256: digest of the checkpoint, or its beginning; what is no hexadecimal digit is left
            out.
        kind: None lists the triages of fleets as well.
        disposition: the reviewer's latest decision.
    """

    state: JobState | None = None
    text: str = ""
    tag: str | None = None
    verdict: Verdict | None = None
    sha256: str | None = None
    kind: JobKind | None = "scan"
    disposition: DispositionName | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The SQL condition and its values."""
        conditions: list[tuple[str, list[Any]]] = [
            (f"{column} = ?", [value])
            for column, value in (
                ("state", self.state), ("verdict", self.verdict), ("kind", self.kind),
                (_DECISION, self.disposition),
            )
            if value is not None
        ]
        if self.sha256:
            digits = "".join(c for c in self.sha256.lower() if c in _HEX)
            conditions.append(("checkpoint_sha256 GLOB ?", [f"{digits}*"]))
        if self.tag is not None:
            conditions.append(("id IN (SELECT job FROM tags WHERE tag = ?)", [self.tag]))
        for word in self.text.split():
            safe = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            within, start = f"%{safe}%", f"{safe}%"
            conditions.append((_WORD, [within, within, start, within, within]))
        condition = " AND ".join(text for text, _ in conditions)
        return condition or "1", [value for _, values in conditions for value in values]


SCANS = JobFilter()
"""Every scan, and no triage."""
