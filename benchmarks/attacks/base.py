"""What every attack offers: poisoned training images, the trigger at test time, a saved form."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from rnp_core.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

NOT_SAVED = {"saved": False}  # metadata of a field that only training needs


@dataclass(frozen=True)
class Setting:
    """What an attack is made for.

    Attributes:
        shape: ``(C, H, W)`` of one image.
        num_classes: of the model.
        seed: of patterns that are drawn at random.
    """

    shape: tuple[int, int, int]
    num_classes: int
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PoisonedSet:
    """Training images with the attacker's changes.

    Attributes:
        images: ``(N, C, H, W)`` in [0, 1], in the order of the clean ones.
        labels: ``(N,)`` as the victim sees them.
        poisoned: ``(N,)`` bool, images that teach the backdoor.
        cover: ``(N,)`` bool, images with a trigger that keep their label, to hide the backdoor or
            to make it specific.
    """

    images: Tensor
    labels: Tensor
    poisoned: Tensor
    cover: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Attack(ABC):
    """A way to plant a backdoor. Values are JSON-able, apart from tensors and networks.

    Attributes:
        poison_rate: share of all training images that are poisoned, in (0, 1]; for an attack that
            is ``online``, the mean share of each batch.
        name: of the attack, in cards and tables.
        online: poisons each batch anew, because the attacker controls training; else once.
    """

    poison_rate: float
    name: ClassVar[str]
    online: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.poison_rate <= 1:
            raise ConfigError(f"expected a poison rate in (0, 1], got {self.poison_rate}")

    @classmethod
    def create(cls, setting: Setting, **parameters: Any) -> Self:
        """The attack with its patterns, drawn from ``setting``.

        Raises:
            ConfigError: for a value outside its range.
        """
        return cls(**parameters)

    @property
    @abstractmethod
    def targets(self) -> tuple[int, ...]:
        """Target classes; empty when the target depends on the image."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Classes that the trigger works on; empty when on all but the target."""
        return ()

    @property
    def needs_surrogate(self) -> bool:
        """Whether :meth:`fitted` needs a classifier of the same data."""
        return False

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Networks of the attacker that are trained together with the classifier."""
        return ()

    @property
    def cover_rate(self) -> float:
        """Share of all training images that are cover images."""
        return 0.0

    @abstractmethod
    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """Copies of ``images`` ``(N, C, H, W)`` in [0, 1] as the attacker shows them at test time.

        Args:
            target: which of several targets; None: the first, or the only one.
        """

    @abstractmethod
    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """The labels ``(N,)`` that the attacker wants for triggered images of ``labels``."""

    def fitted(
        self,
        images: Tensor,
        labels: Tensor,
        surrogate: nn.Module | None,
        generator: torch.Generator,
    ) -> Self:
        """The attack after what has to happen before poisoning; most attacks need nothing.

        Args:
            images: clean training images ``(N, C, H, W)`` in [0, 1], with ``labels`` ``(N,)``.
            surrogate: a classifier of them that returns logits; given where ``needs_surrogate``.

        Raises:
            ConfigError: when a surrogate is needed and missing.
        """
        return self

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> PoisonedSet:
        """Poison a training set, or a batch when the attack is ``online``.

        Which images are taken, and everything random about them, is drawn from ``generator``
        (on the CPU). A stored set gets 8-bit values.

        Raises:
            ConfigError: when too few images suit the attack for its rates.
        """
        poisoned = self._choose(self._candidates(labels).cpu(), self.poison_rate, generator)
        rest = self._cover_candidates(labels).cpu()
        rest[poisoned] = False
        cover = self._choose(rest, self.cover_rate, generator)
        donors = torch.randint(0, len(images), (len(cover),), generator=generator)
        changed, relabelled = images.clone(), labels.clone()
        if len(poisoned):
            stamped = self._stamp(images[poisoned], labels[poisoned], generator)
            changed[poisoned] = self._stored(stamped)
            relabelled[poisoned] = self._poisoned_label(labels[poisoned])
        if len(cover):
            stamped = self._stamp_cover(images[cover], images[donors], generator)
            changed[cover] = self._stored(stamped)
        return PoisonedSet(
            changed, relabelled, _flags(poisoned, len(images)), _flags(cover, len(images))
        )

    def own_loss(self, images: Tensor) -> Tensor:
        """What :attr:`networks` minimise on a batch besides the classifier's loss; a scalar."""
        return images.new_zeros(())

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which, with :meth:`tensors`, ``restore_attack`` makes the attack."""
        values = {name: value for name, value in self._saved() if not _is_weights(value)}
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
        return {"name": self.name, **plain}

    def tensors(self) -> dict[str, Tensor]:
        """The attack's patterns and weights by name."""
        return {name: value for name, value in self._saved() if isinstance(value, Tensor)}

    @classmethod
    def restored(cls, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The attack that :meth:`to_dict` (without the name) and :meth:`tensors` wrote."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in parameters.items()
        }
        values |= {name: value.float() for name, value in tensors.items()}
        return cls(**values)

    def _candidates(self, labels: Tensor) -> Tensor:
        """``(N,)`` bool: images that may be poisoned; those whose label would change."""
        return self.wanted_label(labels) != labels

    def _cover_candidates(self, labels: Tensor) -> Tensor:
        """``(N,)`` bool: images that may be cover images."""
        return self._candidates(labels)

    def _stamp(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Poisoned copies of ``images``, which have ``labels``."""
        return self.trigger(images)

    def _stamp_cover(self, images: Tensor, donors: Tensor, generator: torch.Generator) -> Tensor:
        """Cover copies of ``images``; ``donors`` are as many other images of the set."""
        return self.trigger(images)

    def _poisoned_label(self, labels: Tensor) -> Tensor:
        """What poisoned images of ``labels`` are labelled."""
        return self.wanted_label(labels)

    def _stored(self, images: Tensor) -> Tensor:
        return images if self.online else (images * 255).round() / 255

    def _choose(self, suits: Tensor, rate: float, generator: torch.Generator) -> Tensor:
        """Indices of ``rate`` times all images among those that suit."""
        found = torch.nonzero(suits).flatten()
        if self.online:  # the fraction left over is decided by chance, so that the mean is right
            chance = float(torch.rand((), generator=generator))
            count = min(int(rate * len(suits) + chance), len(found))
        else:
            count = round(rate * len(suits))
        if count > len(found) or (rate > 0 and count == 0 and not self.online):
            raise ConfigError(
                f"expected a rate of {self.name} for which between 1 and {len(found)} of "
                f"{len(suits)} images change, got {rate} ({count} images)"
            )
        return found[torch.randperm(len(found), generator=generator)[:count]]

    def _saved(self) -> list[tuple[str, Any]]:
        return [
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.metadata.get("saved", True)
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class SingleTarget(Attack):
    """An attack that leads every triggered image to one class.

    Attributes:
        target: that class.
    """

    target: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target < 0:
            raise ConfigError(f"expected a target class of at least 0, got {self.target}")

    @property
    def targets(self) -> tuple[int, ...]:
        return (self.target,)

    def wanted_label(self, labels: Tensor, target: int | None = None) -> Tensor:
        """See :class:`Attack`."""
        return torch.full_like(labels, self.target)


def _is_weights(value: object) -> bool:
    return isinstance(value, (Tensor, nn.Module))


def _flags(indices: Tensor, count: int) -> Tensor:
    flags = torch.zeros(count, dtype=torch.bool)
    flags[indices] = True
    return flags
