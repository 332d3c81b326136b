"""What the weights alone say; images only show in which order layers run.

Two statistics of the literature, as detectors. ``weights-last`` is that of Fields et al., "Trojan
signatures in DNN weights", ICCV Workshops 2021: in the last layer, the mean weight of the target's
row lies above those of the others; the score is its distance in robust standard deviations instead
of Dixon's Q, so that label sets of any size compare. ``weights-lipschitz`` is the bound that CLP
prunes by (Zheng et al., ECCV 2022); the score is the largest distance of a channel from its layer's
mean, in standard deviations of the layer.
"""

from __future__ import annotations

from benchmarks.baselines.clp import convolutions_with_norm, lipschitz_bounds
from benchmarks.baselines.contract import Defence, NotApplicable, Outcome
from rnp_core.layers import WEIGHTED
from rnp_core.metrics import anomaly_index

LAST, LIPSCHITZ = "weights-last", "weights-lipschitz"
_FEWEST_CHANNELS = 4
_MOST = 1e6  # where half of the means are equal, the distance of another one is infinite


def weight_statistics(defence: Defence) -> dict[str, Outcome]:
    """Both scores, where the network has the layers for them.

    Raises:
        NotApplicable: when it has neither.
    """
    found: dict[str, Outcome] = {}
    modules = dict(defence.model.network.named_modules())
    last = [module for module in modules.values() if isinstance(module, WEIGHTED)][-1:]
    if last and len(last[0].weight) == defence.model.num_classes > 2:
        means = last[0].weight.detach().double().flatten(1).mean(1)
        above = -anomaly_index(means.numpy())
        label = int(above.argmax())
        score = min(float(above[label]), _MOST)
        found[LAST] = Outcome(score=score, labels=(label,))
    outliers = []
    for norm, convolution in convolutions_with_norm(
        defence.model, defence.clean.images[:2]
    ).items():
        bounds = lipschitz_bounds(modules[convolution], modules[norm])  # type: ignore[arg-type]
        if len(bounds) >= _FEWEST_CHANNELS and float(bounds.std()) > 0:
            outliers.append(float((bounds.max() - bounds.mean()) / bounds.std()))
    if outliers:
        found[LIPSCHITZ] = Outcome(score=max(outliers))
    if not found:
        raise NotApplicable("no last layer with a row a label, no BatchNorm behind convolutions")
    return found
