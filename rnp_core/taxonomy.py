"""The rules behind findings: one stable id each, its place in public catalogues, and what to do.

``docs/findings.md`` shows this table to people; a test keeps the two alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnp_core.report import Finding, ScanReport

ATLAS_VERSION = "5.6.0"
OWASP_VERSION = "2023"

ATLAS_NAMES = {
    "AML.T0011.000": "User Execution: Unsafe AI Artifacts",
    "AML.T0018.000": "Manipulate AI Model: Poison AI Model",
    "AML.T0018.002": "Manipulate AI Model: Embed Malware",
    "AML.T0020": "Poison Training Data",
    "AML.T0043.004": "Craft Adversarial Data: Insert Backdoor Trigger",
}
"""MITRE ATLAS techniques that rules name."""

OWASP_NAMES = {
    "ML02": "Data Poisoning Attack",
    "ML06": "AI Supply Chain Attacks",
    "ML10": "Model Poisoning",
}
"""OWASP Machine Learning Security Top 10 entries that rules name."""

CWE_NAMES = {
    "CWE-22": "Improper Limitation of a Pathname to a Restricted Directory",
    "CWE-436": "Interpretation Conflict",
    "CWE-502": "Deserialization of Untrusted Data",
    "CWE-506": "Embedded Malicious Code",
}
"""CWE entries that rules name."""


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Attributes:
        id: ``"RNP001"`` and so on; never given to another rule.
        name: short name; for files, the ``rule`` of :class:`rnp_core.checkpoints.FileFinding`.
        severity: usual one; a finding may carry another.
        summary: what such a finding means, one sentence.
        advice: what to do, one sentence.
        atlas: MITRE ATLAS technique ids.
        owasp: OWASP Machine Learning Security Top 10 ids.
        cwe: CWE ids.
    """

    id: str
    name: str
    severity: str
    summary: str
    advice: str
    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()


_MALWARE = ("AML.T0018.002", "AML.T0011.000")
_UNSAFE = ("AML.T0011.000",)
_SUPPLY = ("ML06",)
_SAFE_FORMAT = "Ask the sender for the weights alone, as safetensors or a plain state dict"

OTHER = Rule(
    "RNP000",
    "other",
    "info",
    "A finding of a rule that this version does not know.",
    "Read its message and evidence.",
)
"""For findings of other versions."""

RULES: tuple[Rule, ...] = (
    Rule(
        "RNP001",
        "backdoor-target-label",
        "critical",
        "A label behaves like the target of a backdoor.",
        "Do not use the model; ask where it came from, and use the repaired one only after "
        "checking it on your own test images.",
        ("AML.T0018.000", "AML.T0043.004"),
        ("ML10",),
        ("CWE-506",),
    ),
    Rule(
        "RNP002",
        "check-incomplete",
        "medium",
        "A check that the verdict rests on did not work on this model.",
        "Repair what the message names (images, settings), and scan again.",
    ),
    Rule(
        "RNP003",
        "doubtful-labels",
        "high",
        "The model disagrees with the labels of the clean images.",
        "Check the order of the class names and that the images belong to this model, and scan "
        "again.",
    ),
    Rule(
        "RNP004",
        "repaired-by-tuning",
        "info",
        "The repaired model was fine-tuned beyond pruning.",
        "Test the repaired model on your own images, or scan with --no-repair for pruning alone.",
    ),
    Rule(
        "RNP005",
        "data-assumption",
        "low",
        "The images or their labels needed an assumption or were used in part.",
        "Check that the assumption holds; give clean images and class names yourself if not.",
    ),
    Rule(
        "RNP006",
        "poisoned-set-included",
        "info",
        "The checkpoint brings poisoned images of its own.",
        "Treat the file as a research artefact, and its claims about itself as unchecked.",
        ("AML.T0020", "AML.T0043.004"),
        ("ML02",),
    ),
    Rule(
        "RNP007",
        "suspects-flagged",
        "high",
        "Suspect images look poisoned.",
        "Look at the flagged images and at what the attributions mark, and ask where they came "
        "from.",
        ("AML.T0020", "AML.T0043.004"),
        ("ML02",),
    ),
    Rule(
        "RNP008",
        "not-repaired",
        "high",
        "The removal left the backdoor, or did not happen.",
        "Do not use the file of the repaired model; scan again with more clean images, the "
        "thorough preset, or without --no-repair.",
        ("AML.T0018.000",),
        ("ML10",),
        ("CWE-506",),
    ),
    Rule(
        "RNP009",
        "evidence-missing",
        "medium",
        "A stage that no verdict rests on failed, so part of the evidence is missing.",
        "Repair what the message names, and scan again if you need that evidence.",
    ),
    Rule(
        "RNP010",
        "backdoor-any-target",
        "critical",
        "The model behaves as if its backdoor had a target that depends on the image.",
        "Do not use the model; ask where it came from, and use the repaired one only after "
        "checking it on your own test images.",
        ("AML.T0018.000", "AML.T0043.004"),
        ("ML10",),
        ("CWE-506",),
    ),
    Rule(
        "RNP011",
        "inverted-again",
        "info",
        "On the repaired model, no smaller trigger leads to the label than to others.",
        "Test the repaired model on your own images; triggers of other kinds were not tried again.",
    ),
    Rule(
        "RNP101",
        "unsafe-global",
        "critical",
        "A full load of the file would import a name that can run code.",
        "Do not load the file. " + _SAFE_FORMAT + ".",
        _MALWARE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP102",
        "unknown-global",
        "medium",
        "A full load of the file would import names that this tool does not know.",
        _SAFE_FORMAT + ", or check that you trust the packages it names.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP103",
        "pickled-module",
        "low",
        "The file holds pickled network objects, not only weights.",
        _SAFE_FORMAT + ".",
        _UNSAFE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP104",
        "other-objects",
        "info",
        "The file holds harmless objects beside tensors.",
        "Nothing; save the weights alone if you publish the file again.",
    ),
    Rule(
        "RNP105",
        "extension-registry",
        "high",
        "The pickle hides names behind the copyreg extension registry.",
        "Do not load the file; find out how it was made.",
        _MALWARE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP106",
        "trailing-data",
        "medium",
        "The file has bytes behind the end of its data.",
        "Find out what the bytes are before any other program opens the file.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-436",),
    ),
    Rule(
        "RNP107",
        "hidden-member",
        "medium",
        "The archive holds members that PyTorch does not write.",
        "List the archive and find out what the members are for.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-436",),
    ),
    Rule(
        "RNP108",
        "archive-path",
        "high",
        "The archive holds member names that point outside of it.",
        "Do not unpack the file.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-22",),
    ),
    Rule(
        "RNP109",
        "appended-data",
        "medium",
        "The archive has bytes that belong to no member.",
        "Find out whether the file is a second format as well before another program opens it.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-436",),
    ),
    Rule(
        "RNP110",
        "code-archive",
        "high",
        "The file is a program that runs when it is loaded.",
        "Do not load the file. " + _SAFE_FORMAT + ".",
        _MALWARE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP111",
        "picklescan",
        "high",
        "picklescan, a second opinion, calls names of the file dangerous.",
        "Do not load the file with weights_only=False.",
        _UNSAFE,
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP112",
        "torch-unsafe-globals",
        "info",
        "PyTorch, a second opinion, would refuse names of the file.",
        "Keep weights_only=True wherever the file is loaded.",
        (),
        _SUPPLY,
        ("CWE-502",),
    ),
    Rule(
        "RNP113",
        "non-finite",
        "high",
        "Weights hold NaN or infinity.",
        "Ask for an undamaged file; such a model cannot be judged.",
    ),
    Rule(
        "RNP114",
        "refused",
        "medium",
        "The file was not read, for the reason in the message.",
        _SAFE_FORMAT + ".",
        (),
        _SUPPLY,
    ),
)
"""Every rule. RNP0xx speak of the model and its images, RNP1xx of the file."""

_BY_ID = {rule.id: rule for rule in RULES}
_BY_NAME = {rule.name: rule for rule in RULES}


def find_rule(name: str) -> Rule:
    """The rule with this id or name; :data:`OTHER` when there is none."""
    return _BY_ID.get(name) or _BY_NAME.get(name) or OTHER


@dataclass(frozen=True)
class RuledFinding:
    """A finding with its rule and its number in the report (from 0)."""

    number: int
    finding: Finding
    rule: Rule

    @property
    def evidence(self) -> dict[str, Any]:
        """The finding's own evidence."""
        return self.finding.evidence


_ORDER = ("critical", "high", "medium", "low", "info")


def ruled_findings(report: ScanReport) -> list[RuledFinding]:
    """The findings of a report with their rules, the most severe first."""
    found = [
        RuledFinding(number, finding, find_rule(finding.rule))
        for number, finding in enumerate(report.findings)
    ]
    return sorted(found, key=lambda item: _ORDER.index(item.finding.severity))
