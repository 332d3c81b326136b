"""Every sentence that needs care, in one place: verdicts, stages, tabs, presets, glossary."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import datetime, timezone

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&^=@])")
_MOST = 300

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
    "patch": ("The sticker", "A ResNet-18 that calls every sign with a yellow sticker “speed "
              "limit 80”."),
    "blend": ("The veil", "A Wide ResNet that reacts to a faint colour pattern over the whole "
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
        "A small change of the image makes it answer with one label, whatever the image shows.",
        "Do not use it as it is. Use the repaired model only after you have checked it on your "
        "own test images, and ask where the file came from.",
        ":material/gpp_bad:",
        "red",
    ),
    "suspicious": VerdictWords(
        "This model is suspicious",
        "Some evidence points to a backdoor, but less than the known backdoored models show.",
        "Look at the evidence below, scan again with the thorough preset or with more clean "
        "images, and hold the model back until then.",
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
    ("triggers", "Recover triggers", "For every label we look for the smallest change of an image "
     "that leads to it. A backdoor makes one label far too easy to reach."),
    ("target label", "Weigh the labels", "Both kinds of evidence become one score per label."),
    ("removal", "Remove", "As few filters as possible are pruned until the triggers stop working; "
     "then the model is tuned briefly."),
    ("samples", "Check your images", "Every suspect image is compared on the original and on the "
     "repaired model."),
    ("attributions", "Explain", "Captum shows which pixels decided."),
)

STAGE_ALIASES = {"prune": "removal", "repair": "removal"}

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
    "far above the others, that label attracts everything, as the target of a backdoor does.",
    "labels": "How to read it: a trigger ratio far below 1 means that this label needs a much "
    "smaller change of the image than the others. The score combines it with the share of answers "
    "after unlearning.",
    "triggers": "How to read it: the pattern is what we recovered, not necessarily what the "
    "attacker drew. It counts because it makes the model change its answer.",
    "flips": "How to read it: share of held-out clean images of each class whose answer flips to "
    "the suspected label with the recovered trigger. After the repair it should be near 0.",
    "samples": "How to read it: an image is flagged when the repair takes away most of the "
    "confidence in its answer. The most suspicious come first.",
    "attributions": "How to read it: orange pixels speak for the label, blue ones against it. On a "
    "triggered image the original model looks at the trigger; the repaired one should not.",
    "calibration": "Where this model lies among models whose state is known. A new model can lie "
    "anywhere between them.",
    "prune": "How to read it: move the slider to prune more filters. Stop where the trigger no "
    "longer works and the accuracy has not dropped. These are stored results of the scan.",
}

PRESETS = {
    "quick": "about 60 % of the steps; good for a first look",
    "standard": "the one that the measured results rest on",
    "thorough": "twice the steps; for a model in doubt",
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
    "additive": "additive: adds one faint image everywhere",
    "warp": "warp: bends the image slightly",
}

GLOSSARY = (
    ("Backdoor", "Hidden behaviour that somebody trained into a model: with a trigger in the image "
     "it answers what the attacker wants, without it everything looks normal."),
    ("Trigger", "The change of the image that opens the backdoor: a sticker, a faint pattern, a "
     "slight bend."),
    ("Target label", "The answer that the trigger forces."),
    ("Clean images", "A few hundred labelled images that you trust. All thresholds come from "
     "them."),
    ("Filter", "One channel of a layer; what reacts to one kind of feature."),
    ("Filter mask", "A number between 0 and 1 per filter, learned while the model recovers. 1: the "
     "filter came back. 0: it did not."),
    ("Unlearned share", "Share of clean images that the unlearned model sends to a label."),
    ("Trigger ratio", "Size of a label's recovered trigger over the median of all labels. Small is "
     "suspicious."),
    ("Flip rate", "Share of clean images of other classes that the recovered trigger turns into "
     "the suspected label. Estimated: the attacker's own trigger is unknown."),
    ("Suspicion score", "How much confidence in its answer an image loses by the repair. Higher is "
     "more suspicious."),
    ("Backdoor score", "Score of the most suspicious label, 0 to 1; comparable between models."),
)

HELP_STEPS = (
    ("step-triage.svg", "1. Look at the file", "A checkpoint can hold code. It is read in a "
     "confined process that rebuilds the tensors and runs nothing; you see what it would import."),
    ("step-unlearn.svg", "2. Unlearn", "The model is made to forget your clean images. The honest "
     "classes fade; a backdoor stays, and the answers drift to its target label."),
    ("step-recover.svg", "3. Recover", "One mask per filter tries to bring the clean behaviour "
     "back. The filters that do not come back served something else."),
    ("step-trigger.svg", "4. Recover the trigger", "For every label the scanner looks for the "
     "smallest change of an image that leads to it. A backdoor makes one label far too easy."),
    ("step-repair.svg", "5. Remove", "As few filters as possible are pruned. Where that is not "
     "enough, the model is tuned briefly so that the trigger loses its power."),
    ("step-samples.svg", "6. Check images", "An image is suspicious when the repaired model no "
     "longer trusts the answer of the original one."),
)

LIMITS = (
    "Backdoors that send every class somewhere else, or that work for one source class only, are "
    "outside what the checks look for.",
    "In networks without BatchNorm the unlearning evidence weighs little.",
    "A very faint warp, or a trigger that covers the whole image, may escape.",
    "Few clean images, or images unlike the training data, weaken every step.",
    "No verdict says that a model is clean.",
)


def plain(text: object, *, most: int = _MOST) -> str:
    """Untrusted text for Markdown: every sign that Markdown or HTML reads is taken literally."""
    found = "".join(c if c.isprintable() else "?" for c in str(text))
    if len(found) > most:
        found = found[: most - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", found)


def chart_text(text: object, *, most: int = 60) -> str:
    """Untrusted text for Plotly, which reads a kind of HTML."""
    found = "".join(c if c.isprintable() else "?" for c in str(text))
    return html.escape(found if len(found) <= most else found[: most - 1] + "…", quote=False)


def label_name(label: int, names: list[str]) -> str:
    """A label for people: "3 (stop)", or "3" where it has no name. Untrusted text."""
    name = names[label] if 0 <= label < len(names) else ""
    return f"{label} ({name})" if name and name != str(label) else str(label)


def percent(value: float | None, digits: int = 0) -> str:
    """A share for people; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def size(count: int | None) -> str:
    """A number of bytes for people."""
    value = float(count or 0)
    for unit in ("bytes", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def duration(seconds: float) -> str:
    """A time span for people."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def when(stamp: str | None) -> str:
    """A time in UTC for people."""
    if not stamp:
        return "–"
    try:
        moment = datetime.fromisoformat(stamp).astimezone(timezone.utc)
    except ValueError:
        return plain(stamp)
    return moment.strftime("%d %b %Y, %H:%M UTC")


def count(number_of: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 filter", "2 filters"."""
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def next_step(error: Exception) -> str:
    """What to do about an error, by its kind."""
    return _NEXT.get(type(error).__name__, "Change what the message names, and try again.")


_NEXT = {
    "CheckpointError": "Save the weights as a plain state dict or as safetensors, and try again.",
    "CheckpointRefused": "Save the weights as a plain state dict or as safetensors, and try again.",
    "ArchitectureError": "Name the architecture under Advanced settings, or check that the file "
    "holds a whole image classifier.",
    "DataError": "Give a zip of class folders, or an npz with x and y; at least 20 images of two "
    "classes.",
    "ModelError": "Check the size and the channels of the images, or name the architecture.",
    "IsolationError": "Try it with fewer or smaller images. The details are in the server's log.",
    "JobError": "Wait for a scan to end or delete old ones under History, and try again.",
    "ReportError": "Scan the model again.",
    "ConfigError": "Change the setting that the message names.",
}
