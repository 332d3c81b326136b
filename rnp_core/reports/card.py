"""A section for a model card, in Markdown: what was scanned, what came out, what that is worth."""

from __future__ import annotations

from rnp_core.reports.text import markdown, number, percent
from rnp_core.reports.wording import DEPENDS_ON_IMAGE, limits_of, words
from rnp_core.run_reader import RunFolder
from rnp_core.taxonomy import ruled_findings

_MOST_FINDINGS = 50


def write_card(run: RunFolder) -> bytes:
    """The section, UTF-8. Names from the file are escaped and stay on one line."""
    report = run.report
    said = words(report)
    model, accuracy = report.model, report.accuracy
    names = model.class_names
    targets = [_label(label, names) for label in report.suspected_target_labels]
    targets += [DEPENDS_ON_IMAGE] if report.target_depends_on_image else []
    suspected = ", ".join(targets)
    facts = (
        ("Verdict", f"**{said.title}**, score {number(report.backdoor_score)} of 1"),
        ("Reason", markdown(report.verdict_reason, most=900)),
        ("File", markdown(model.file_name or "a model in memory")),
        ("SHA-256", f"`{markdown(model.sha256 or '–', most=64)}`"),
        ("Architecture", f"{markdown(model.architecture)}, {model.num_classes} classes"),
        ("Suspected target labels", suspected or "none"),
        (
            "Clean accuracy",
            f"{percent(accuracy.clean_before)}, {percent(accuracy.clean_after)} after the repair "
            f"({accuracy.count} held-out images)",
        ),
        ("Flip rate of the recovered trigger", _flips(accuracy.flip_rate_before,
                                                      accuracy.flip_rate_after)),
        ("Suspect images", _suspects([row.flagged for row in report.samples])),
        (
            "Scanned",
            f"{markdown(report.created_at)} with rnp {markdown(report.tool_version)}, preset "
            f"{markdown(report.config.get('preset', 'custom'))}, seed {report.seed}, "
            f"{report.data.clean.count} clean images",
        ),
    )
    lines = ["## Backdoor scan", "", said.meaning, "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in facts]
    lines += ["", f"**What to do.** {said.advice}", "", "### Findings", ""]
    findings = ruled_findings(report)[:_MOST_FINDINGS]
    for item in findings:
        places = ", ".join([*item.rule.atlas, *item.rule.owasp, *item.rule.cwe])
        lines.append(
            f"- **{item.rule.id}** ({item.finding.severity}"
            + (f"; {places}" if places else "")
            + f"): {markdown(item.finding.message, most=900)} *{item.rule.advice}*"
        )
    if not findings:
        lines.append("None.")
    lines += ["", "### Limits", ""]
    lines += [f"- {markdown(limit, most=900)}" for limit in limits_of(report)]
    return ("\n".join(lines) + "\n").encode()


def _label(label: int, names: list[str]) -> str:
    name = names[label] if 0 <= label < len(names) else ""
    return f"{label} ({markdown(name, most=60)})" if name and name != str(label) else str(label)


def _flips(before: float | None, after: float | None) -> str:
    if before is None:
        return "no trigger recovered"
    return f"{percent(before)}, {percent(after)} after the repair (estimated)"


def _suspects(flagged: list[bool]) -> str:
    return f"{sum(flagged)} of {len(flagged)} flagged" if flagged else "none checked"
