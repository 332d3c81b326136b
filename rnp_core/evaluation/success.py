"""How well an attack works, measured with its true trigger."""

from __future__ import annotations

from torch import Tensor

from rnp_core.evaluation.triggers import TrueTrigger
from rnp_core.metrics import predict
from rnp_core.model import SuspectModel


def attack_success_rate(
    model: SuspectModel, images: Tensor, labels: Tensor, trigger: TrueTrigger, target_label: int
) -> float:
    """Share of triggered images of other classes that are predicted as the target; [0, 1].

    Args:
        images: clean ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)`` true classes.

    Returns:
        NaN when every image already belongs to the target class.
    """
    others = labels != target_label
    if not others.any():
        return float("nan")
    predicted = predict(model, trigger.apply(images[others]))
    return float((predicted == target_label).float().mean())


def robust_accuracy(
    model: SuspectModel, images: Tensor, labels: Tensor, trigger: TrueTrigger, target_label: int
) -> float:
    """Share of triggered images of other classes that are still predicted as their class; [0, 1].

    NaN when every image belongs to the target class.
    """
    others = labels != target_label
    if not others.any():
        return float("nan")
    predicted = predict(model, trigger.apply(images[others]))
    return float((predicted == labels[others]).float().mean())
