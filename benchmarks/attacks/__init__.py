"""Backdoor attacks, one a module, written from their papers for the model zoo of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from benchmarks.attacks.adaptive_blend import AdaptiveBlend
from benchmarks.attacks.all_to_all import AllToAll
from benchmarks.attacks.badnets import BadNets
from benchmarks.attacks.base import Attack, PoisonedSet, Setting
from benchmarks.attacks.blend import Blend
from benchmarks.attacks.input_aware import InputAware
from benchmarks.attacks.label_consistent import LabelConsistent
from benchmarks.attacks.sig import Sig
from benchmarks.attacks.source_specific import SourceSpecific
from benchmarks.attacks.trojan import Trojan
from benchmarks.attacks.two_targets import TwoTargets
from benchmarks.attacks.wanet import WaNet
from rnp_core.errors import ConfigError, DataError

__all__ = [
    "ATTACKS",
    "Attack",
    "PoisonedSet",
    "Setting",
    "make_attack",
    "restore_attack",
]

ATTACKS: Mapping[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        BadNets,
        Trojan,
        Blend,
        Sig,
        WaNet,
        InputAware,
        LabelConsistent,
        AdaptiveBlend,
        AllToAll,
        SourceSpecific,
        TwoTargets,
    )
}
"""Every attack by name."""


def make_attack(name: str, setting: Setting, parameters: Mapping[str, Any]) -> Attack:
    """The attack called ``name``, its patterns drawn from ``setting``.

    Args:
        parameters: arguments of the attack's ``create``; ``poison_rate`` among them.

    Raises:
        ConfigError: for an unknown name or argument, or a value outside its range.
    """
    if name not in ATTACKS:
        raise ConfigError(f"expected an attack among {', '.join(ATTACKS)}, got {name!r}")
    try:
        attack = ATTACKS[name].create(setting, **parameters)
    except (TypeError, KeyError) as error:
        raise ConfigError(f"cannot make the attack {name}: {error}") from error
    classes = (*attack.targets, *attack.sources)
    if any(label >= setting.num_classes for label in classes):
        raise ConfigError(
            f"expected target and source classes below {setting.num_classes}, got {classes}"
        )
    return attack


def restore_attack(parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Attack:
    """The attack that :meth:`Attack.to_dict` and :meth:`Attack.tensors` wrote.

    Raises:
        DataError: when they do not describe an attack.
    """
    values = dict(parameters)
    name = values.pop("name", None)
    if name not in ATTACKS:
        raise DataError(f"expected an attack among {', '.join(ATTACKS)}, got {name!r}")
    try:
        return ATTACKS[name].restored(values, tensors)
    except (TypeError, KeyError, RuntimeError, ConfigError) as error:
        raise DataError(f"cannot restore the attack {name}: {error}") from error
