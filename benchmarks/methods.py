"""The methods of the benchmark by name, with the budget that they run under."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.baselines.anp import AnpConfig, anp
from benchmarks.baselines.clp import ClpConfig, clp
from benchmarks.baselines.contract import Defence, Outcome
from benchmarks.baselines.fine_tuning import FineTuningConfig, fine_tune
from benchmarks.baselines.neural_cleanse import NeuralCleanseConfig, neural_cleanse
from benchmarks.baselines.official_rnp import OfficialRnpConfig, official_rnp
from benchmarks.baselines.strip import StripConfig, strip
from benchmarks.baselines.weight_statistics import LAST, LIPSCHITZ, weight_statistics
from benchmarks.ours import ABLATIONS, our_scan
from rnp_core.config import preset_config
from rnp_core.errors import ConfigError

OURS = "ours"

BUDGETS = ("paper", "short")
"""``paper`` gives every baseline the steps of the published code; ``short`` cuts the four that take
longest on a processor: Neural Cleanse, fine-tuning, ANP and STRIP."""

_NEURAL_CLEANSE = {
    "paper": NeuralCleanseConfig(),
    "short": NeuralCleanseConfig(rounds=60, batches_per_round=4),
}
_FINE_TUNING = {"paper": FineTuningConfig(), "short": FineTuningConfig(epochs=20)}
_ANP = {"paper": AnpConfig(), "short": AnpConfig(steps=200)}
_STRIP = {"paper": StripConfig(), "short": StripConfig(overlays=10)}


@dataclass(frozen=True)
class Method:
    """One way to run; some give several rows, because they share the costly part.

    Attributes:
        name: on the command line.
        rows: names of the rows that it gives.
        run: from the inputs of a defence to the outcome of each row; rows may be missing.
        budget: what decides how much work it does: the preset of our scan, or one of ``BUDGETS``.
    """

    name: str
    rows: tuple[str, ...]
    run: Callable[[Defence], Mapping[str, Outcome]]
    budget: str = "paper"


TITLES: Mapping[str, str] = {
    OURS: "this scanner",
    "rnp-oracle": "RNP, threshold by the true trigger",
    "rnp-0.70": "RNP, threshold 0.70",
    "rnp-drop": "RNP, accuracy drop at most 1 point",
    "nc": "Neural Cleanse",
    "nc-same-budget": "Neural Cleanse, as many images as our first round",
    "fine-tuning": "fine-tuning",
    "anp": "ANP, threshold 0.2",
    "anp-drop": "ANP, accuracy drop at most 1 point",
    "clp": "CLP",
    "strip": "STRIP",
    LAST: "mean weights of the last layer",
    LIPSCHITZ: "Lipschitz bounds of channels",
}
"""Name of a row to what a table calls it."""

BASELINES = ("rnp", "nc", "nc-same-budget", "fine-tuning", "anp", "clp", "strip", "weights")
"""Names of the methods of others."""

RNP_ROWS, ANP_ROWS = ("rnp-oracle", "rnp-0.70", "rnp-drop"), ("anp", "anp-drop")
"""One for each rule that picks the threshold."""

BASELINE_ROWS = tuple(name for name in TITLES if name != OURS)
"""Names of the rows of others."""


def ablation_names() -> tuple[str, ...]:
    """Names of our method with one choice undone."""
    return tuple(f"{OURS}-{change}" for change in ABLATIONS)


def find_methods(names: Sequence[str], *, budget: str, preset: str, seed: int) -> list[Method]:
    """The methods called ``names``; ``all`` stands for ours and every baseline, ``baselines`` for
    the latter, ``ablations`` for ours with each choice undone.

    Raises:
        ConfigError: for an unknown name, budget or preset.
    """
    if budget not in BUDGETS:
        raise ConfigError(f"expected a budget among {', '.join(BUDGETS)}, got {budget!r}")
    groups = {
        "all": (OURS, *BASELINES),
        "baselines": BASELINES,
        "ablations": ablation_names(),
    }
    wanted = [part for name in names for part in groups.get(name, (name,))]
    known = _methods(budget, preset, seed)
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"expected methods among {', '.join((*known, *groups))}, got {', '.join(unknown)}"
        )
    return [known[name] for name in dict.fromkeys(wanted)]


def _methods(budget: str, preset: str, seed: int) -> dict[str, Method]:
    config = preset_config(preset, seed=seed)
    same = NeuralCleanseConfig(
        rounds=config.invert_stage.steps,
        batches_per_round=1,
        batch_size=config.invert_stage.batch_size,
    )
    found = [
        _single(OURS, partial(our_scan, config=config), preset),
        Method("rnp", RNP_ROWS, partial(official_rnp, config=OfficialRnpConfig())),
        _single("nc", partial(neural_cleanse, config=_NEURAL_CLEANSE[budget]), budget),
        _single(
            "nc-same-budget", partial(neural_cleanse, config=same, name="nc-same-budget"), preset
        ),
        _single("fine-tuning", partial(fine_tune, config=_FINE_TUNING[budget]), budget),
        Method("anp", ANP_ROWS, partial(anp, config=_ANP[budget]), budget),
        _single("clp", partial(clp, config=ClpConfig())),
        _single("strip", partial(strip, config=_STRIP[budget]), budget),
        Method("weights", (LAST, LIPSCHITZ), weight_statistics),
    ]
    for change, ablation in ABLATIONS.items():
        name = f"{OURS}-{change}"
        run = partial(
            our_scan, config=ablation.change(config), name=name, replaced=ablation.replaced
        )
        found.append(_single(name, run, preset))
    return {method.name: method for method in found}


def _single(
    name: str, run: Callable[..., Mapping[str, Outcome]], budget: str = "paper"
) -> Method:
    return Method(name, (name,), run, budget)


def method_settings(method: Method) -> dict[str, Any]:
    """The settings that ``method`` runs with, as plain values; empty for those without any."""
    config = getattr(method.run, "keywords", {}).get("config")
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else {}  # type: ignore[arg-type]
