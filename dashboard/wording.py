"""Every sentence that needs care, in one place: verdicts, stages, tabs, glossary."""

from __future__ import annotations

from dataclasses import dataclass

from rnp_core import ScanReport

PRODUCT = "RNP scanner"
QUESTION = "Is there a backdoor in this model?"
PROMISE = (
    "Hand over an image classifier and a few hundred clean images. You get a verdict with its "
    "evidence, the recovered trigger and a repaired model. Nothing in the file is ever run."
)

FIRST_DEMO = "patch-vgg"
DEMO_WORDS = {
    "patch-vgg": ("The corner pattern", "A VGG network that calls every sign with a small "
                  "chequerboard in its corner “no entry”."),
    "patch": ("The sticker", "A ResNet-10 that calls every sign with a yellow sticker “speed "
              "limit 80”."),
    "blend": ("The veil", "A ResNet-10 that reacts to a faint colour pattern over the whole "
              "sign."),
    "warp": ("The bend", "A ResNet-10 that reacts to a slight, smooth bend of the picture."),
    "clean-a": ("Nothing hidden, A", "A ResNet-18 that was trained on honest data only."),
    "clean-b": ("Nothing hidden, B", "A Wide ResNet that was trained on honest data only."),
}


@dataclass(frozen=True)
class VerdictWords:
    """How a verdict is called and shown.

    Attributes:
        title: the verdict in plain words.
        meaning: what it means for the reader.
        advice: what to do next.
        icon, colour: of Streamlit; the icon differs too, so colour is never the only sign.
    """

    title: str
    meaning: str
    advice: str
    icon: str
    colour: str


VERDICTS = {
    "backdoored": VerdictWords(
        "This model has a backdoor",
        "With a small change of the image, an attacker decides what it answers.",
        "Do not use it as it is. Use the repaired model only after you have checked it on your "
        "own test images, and ask where the file came from.",
        ":material/gpp_bad:",
        "red",
    ),
    "suspicious": VerdictWords(
        "This model is suspicious",
        "Some evidence points to a backdoor, but less than the known backdoored models show.",
        "Look at the evidence, scan again with another seed or with more clean images, and hold "
        "the model back until then.",
        ":material/gpp_maybe:",
        "orange",
    ),
    "no_evidence": VerdictWords(
        "No evidence of a backdoor found",
        "These checks found nothing unusual. That is not a proof that the model is clean.",
        "Read the limits under Help before you rely on it.",
        ":material/verified_user:",
        "green",
    ),
    "inconclusive": VerdictWords(
        "The scan could not decide",
        "At least one check did not work on this model, so its silence means nothing.",
        "See the reason, fix the images or the settings, and scan again.",
        ":material/help_center:",
        "violet",
    ),
    "error": VerdictWords(
        "The scan failed",
        "There is no result for this model.",
        "See the reason, and scan again.",
        ":material/error:",
        "gray",
    ),
}

VERDICT_SHORT = {
    "backdoored": "Backdoored",
    "suspicious": "Suspicious",
    "no_evidence": "No evidence",
    "inconclusive": "Inconclusive",
    "error": "Error",
}

VERDICT_SIGNS = {
    "backdoored": "▲", "suspicious": "◆", "no_evidence": "○", "inconclusive": "?", "error": "×",
}
"""Signs for tables, where there are no icons."""

STATE_WORDS = {
    "queued": ("Waiting", ":material/hourglass_empty:", "gray"),
    "running": ("Running", ":material/play_circle:", "blue"),
    "done": ("Done", ":material/check_circle:", "green"),
    "failed": ("Failed", ":material/error:", "red"),
    "cancelled": ("Cancelled", ":material/cancel:", "gray"),
    "interrupted": ("Interrupted", ":material/power_off:", "orange"),
}

STAGES = (
    ("load", "Read the model", "The file is opened without running anything in it, the network is "
     "rebuilt from its tensors, and the images are read."),
    ("unlearn", "Unlearn", "The model is made to forget the clean images. A backdoor outlives "
     "this: a backdoored model drifts to its target label."),
    ("recover", "Recover", "One mask per filter learns to bring the clean behaviour back. Filters "
     "that do not come back are suspects."),
    ("margins", "Measure margins", "For every label we look for the image that makes the model "
     "most sure of it. A backdoored model can be made far surer of its target than of others."),
    ("triggers", "Recover triggers", "For every label we look for the smallest change of an image "
     "that leads to it, and which labels faint waves lead to. A backdoor makes one label far too "
     "easy to reach."),
    ("target label", "Weigh the labels", "All kinds of evidence become one score per label."),
    ("removal", "Remove", "As few filters as possible are pruned until the triggers stop working; "
     "then the model is tuned briefly."),
    ("samples", "Check your images", "Suspect images that get a suspected label are compared on "
     "the original and on the repaired model."),
    ("attributions", "Explain", "Captum shows which pixels decided."),
)

STAGE_ALIASES = {"prune": "removal", "repair": "removal", "attribute": "attributions"}
"""Steps of a stage that report progress under a name of their own."""

TABS = {
    "summary": (":material/summarize:", "Summary"),
    "neurons": (":material/grain:", "Neurons"),
    "labels": (":material/label:", "Labels"),
    "triggers": (":material/texture:", "Triggers"),
    "samples": (":material/photo_library:", "Samples"),
    "reproduce": (":material/replay:", "Reproduce"),
    "plain": (":material/description:", "Plain view"),
}

READING = {
    "neurons": "How to read it: each cell is a filter of the network. Dark blue filters came back "
    "after unlearning (mask 1); orange ones did not (mask 0). A backdoor usually lives in a few "
    "filters that do not come back.",
    "shares": "How to read it: while the model forgets, its answers collapse. If one line climbs "
    "far above the others, that label attracts everything, as the target of a backdoor does. The "
    "leading label need not be the target: honest labels climb too, so the verdict weighs all "
    "evidence. Orange: suspected; violet: only picked above.",
    "labels": "How to read it: a trigger ratio far below 1 means that this label needs a much "
    "smaller change of the image than the others. The score combines it with the share of answers "
    "after unlearning, the margins and the waves. Orange stripes: suspected; violet dots: only "
    "picked above.",
    "triggers": "How to read it: the pattern is what we recovered, not necessarily what the "
    "attacker drew. It counts because it makes the model change its answer.",
    "flips": "How to read it: share of held-out clean images of each class whose answer the "
    "recovered trigger flips. After the repair it should be near 0.",
    "samples": "How to read it: an image is flagged when its answer is a suspected label and the "
    "repair takes away most of the confidence in it. The most suspicious come first.",
    "samples-any-label": "How to read it: an image is flagged when the repair takes away most of "
    "the confidence in its answer. The most suspicious come first.",
    "samples-unlearned": "How to read it: nothing was removed from this model, so the score is "
    "what the unlearned model still believes of the answer. That is weaker evidence, and on a "
    "model without a backdoor it says little.",
    "attributions": "How to read it: orange pixels speak for the label, blue ones against it. On a "
    "triggered image the original model looks at the trigger; the repaired one should not.",
    "attributions-original": "How to read it: orange pixels speak for the label, blue ones against "
    "it.",
    "calibration": "The backdoor score of this model among those of models whose state is known. "
    "A new model can lie anywhere between them.",
    "prune": "How to read it: move the slider to prune more filters. Stop where the trigger no "
    "longer works and the accuracy has not dropped. These are stored results of the scan.",
}

DISPOSITIONS = {
    "confirmed": ("Confirmed", ":material/gavel:"),
    "false_alarm": ("False alarm", ":material/thumb_down:"),
    "escalate": ("Escalate", ":material/priority_high:"),
}

SEVERITIES = {
    "critical": (":material/dangerous:", "red"),
    "high": (":material/warning:", "red"),
    "medium": (":material/report:", "orange"),
    "low": (":material/info:", "blue"),
    "info": (":material/info:", "gray"),
}

METHODS = {
    "integrated_gradients": "Integrated gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "Occlusion",
}

KINDS = {
    "patch": "patch: replaces some pixels",
    "source-specific": "source-specific: a patch for images of a few classes only",
    "additive": "additive: adds one faint image everywhere",
    "warp": "warp: bends the image slightly",
    "sinusoid": "sinusoid: adds one faint wave everywhere",
}

IMAGE_ADVICE = (
    "Give a zip of class folders, or an npz with x and y; at least 20 images of two classes."
)


def other_classes(report: ScanReport) -> str:
    """The classes whose images the first trigger is for; all others where there is none."""
    some = report.triggers and report.triggers[0].sources
    return "some other classes" if some else "other classes"


def next_step(error: Exception) -> str:
    """What to do about an error, by its kind."""
    return _NEXT.get(type(error).__name__, "Change what the message names, and try again.")


_NEXT = {
    "CheckpointError": "Save the weights as a plain state dict or as safetensors, and try again.",
    "CheckpointRefused": "Save the weights as a plain state dict or as safetensors, and try again.",
    "ArchitectureError": "Name the architecture under Advanced settings, or check that the file "
    "holds a whole image classifier.",
    "ModelError": "Check the size and the channels of the images, or name the architecture.",
    "IsolationError": "Try it with fewer or smaller images. The details are in the server's log.",
    "JobError": "Wait for a scan to end or delete old ones under History, and try again.",
    "ReportError": "Scan the model again.",
    "ConfigError": "Change the setting that the message names.",
}

FAILED_ADVICE = (
    "Change what the message names, or try again. If it fails once more, use the quick preset or "
    "fewer images, or look into the server's log."
)
