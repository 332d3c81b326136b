"""The sentences of reports that need care: verdicts, limits and how to read the figures."""

from __future__ import annotations

from dataclasses import dataclass

from rnp_core.report import ScanReport
from rnp_core.reports.text import shown


@dataclass(frozen=True)
class VerdictWords:
    """A verdict in plain words: what it is called, what it means, and what to do next."""

    title: str
    meaning: str
    advice: str


VERDICTS = {
    "backdoored": VerdictWords(
        "Backdoor found",
        "With a small change of the image, an attacker decides what this model answers.",
        "Do not use the model as it is. Ask where the file came from. Use the repaired model only "
        "after you have checked it on your own test images.",
    ),
    "suspicious": VerdictWords(
        "Suspicious",
        "Some evidence points to a backdoor, but less than known backdoored models show.",
        "Hold the model back, look at the evidence, and scan again with another seed or more clean "
        "images.",
    ),
    "no_evidence": VerdictWords(
        "No evidence found by these checks",
        "These checks found nothing unusual. That does not prove that the model is clean.",
        "Read the limits below before you rely on it.",
    ),
    "inconclusive": VerdictWords(
        "Inconclusive",
        "At least one check that the verdict rests on did not work on this model, so its silence "
        "means nothing.",
        "Repair what the reason names (images or settings), and scan again.",
    ),
    "error": VerdictWords(
        "The scan failed",
        "There is no result for this model.",
        "Read the reason, and scan again.",
    ),
}

LIMITS = (
    "No scan can prove that a model is free of backdoors. The mildest verdict is “no evidence "
    "found by these checks”.",
    "Backdoors that work for images of one or two classes only (source-specific) are mostly "
    "missed, and those for a few classes where there are more than 16.",
    "A wave over the whole image with clean labels (SIG) is found up to six cycles, "
    "and where waves mislead the network to no other label; on traffic signs it is missed.",
    "A warp as faint as in the paper, or a trigger that covers the whole image, may escape.",
    "Once a model was repaired, suspects that get no suspected label are never flagged. Where the "
    "suspected labels are wrong or one is missing, so are the flags.",
    "Without BatchNorm layers the evidence of unlearning weighs little.",
    "Few clean images, or images unlike the training data, weaken every step.",
    "Flip rates and the accuracy after removal are estimated with recovered triggers and held-out "
    "clean images. The true trigger of an attacker is not known to the scan.",
    "Attributions show what a method measures about a network. They are hints, not proofs.",
)
"""What a reader must know before relying on a verdict."""

METHODS = {
    "integrated_gradients": "Integrated gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "Occlusion",
}

STAGE_WORDS = {
    "load": "reading the file and the images",
    "unlearn": "unlearning the clean images",
    "recover": "learning a mask per filter",
    "margins": "measuring how sure each label can get",
    "triggers": "recovering triggers",
    "target label": "weighing the labels",
    "removal": "removing the backdoor",
    "samples": "triage of the suspects",
    "attributions": "attribution maps",
}


DEPENDS_ON_IMAGE = "depends on the image"
"""What stands for the target label of an all-to-all backdoor."""


def words(report: ScanReport) -> VerdictWords:
    """The words for the verdict of a report."""
    return VERDICTS[report.verdict]


def method_name(method: str) -> str:
    """An attribution method for people; ``filters:LAYER`` is about filters that
    were pruned, or where none were, that recovered least."""
    if method.startswith("filters:"):
        return f"What drives the suspect filters of {method.removeprefix('filters:')}"
    return METHODS.get(method, method)


def limits_of(report: ScanReport) -> list[str]:
    """:data:`LIMITS`, and what this scan in particular leaves open."""
    own = []
    undone = [stage for stage in report.stages if stage.status == "failed"]
    if undone:
        names = ", ".join(shown(stage.name, most=30) for stage in undone[:10])
        own.append(f"In this scan a stage failed ({names}), so its evidence is missing.")
    if report.data.clean.count < 300:
        own.append(
            f"This scan had only {report.data.clean.count} clean images; about 500 are advised."
        )
    if report.config.get("preset") == "quick":
        own.append("This scan used the quick preset, which looks less hard for triggers.")
    return [*own, *LIMITS]
