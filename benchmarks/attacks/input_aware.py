"""Input-aware dynamic attack (Nguyen and Tran, NeurIPS 2020, arXiv 2010.08138)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.attacks.base import Setting, SingleTarget
from benchmarks.attacks.trigger_networks import mask_network, pattern_network

if TYPE_CHECKING:
    from typing import Self

_SMALLEST = 1e-7
_MASK_BATCH = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class InputAware(SingleTarget):
    """Two networks draw a trigger for each image: where (mask) and what (pattern).

    The mask network is trained first, to be sparse and different for different images. The pattern
    network is trained together with the classifier; images with the trigger of another image keep
    their label ("cross-trigger"), so that triggers cannot be reused.

    Differs from the paper: smaller networks with GroupNorm and a sharp sigmoid for the mask.

    Attributes:
        cross_ratio: cross-trigger images for each poisoned one; 1 in the paper.
        diversity: weight of the diversity loss; 1 in the paper.
        density: share of the image that a mask may cover at no cost; 0.032 in the paper.
        density_weight: weight of a larger mask; 100 in the paper.
        mask_steps: batches that train the mask network.
        channels: of the images.
        width: of the two networks.
        pattern_net, mask_net: the networks.
    """

    cross_ratio: float = 1.0
    diversity: float = 1.0
    density: float = 0.032
    density_weight: float = 100.0
    mask_steps: int = 300
    channels: int = 3
    width: int = 8
    pattern_net: nn.Module
    mask_net: nn.Module
    name: ClassVar[str] = "input-aware"
    online: ClassVar[bool] = True

    @classmethod
    def create(cls, setting: Setting, *, width: int = 8, **parameters: Any) -> Self:
        """The attack with random weights drawn from the seed of ``setting``."""
        channels = setting.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            nets = pattern_network(channels, width), mask_network(channels, width)
        return cls(
            channels=channels, width=width, pattern_net=nets[0], mask_net=nets[1], **parameters
        )

    @classmethod
    def restored(cls, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """See :class:`~benchmarks.attacks.base.Attack`."""
        channels, width = parameters["channels"], parameters["width"]
        nets: dict[str, Any] = {
            "pattern_net": pattern_network(channels, width),
            "mask_net": mask_network(channels, width),
        }
        for name, net in nets.items():
            own = {k: v.float() for k, v in tensors.items() if k.startswith(f"{name}.")}
            net.load_state_dict({k.removeprefix(f"{name}."): v for k, v in own.items()})
            net.requires_grad_(False)
        return cls(**parameters, **nets)

    def tensors(self) -> dict[str, Tensor]:
        """See :class:`~benchmarks.attacks.base.Attack`; in half precision."""
        nets = {"pattern_net": self.pattern_net, "mask_net": self.mask_net}
        return {
            f"{name}.{key}": value.detach().cpu().half()
            for name, net in nets.items()
            for key, value in net.state_dict().items()
        }

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.pattern_net, self.mask_net)

    @property
    def cover_rate(self) -> float:
        return self.poison_rate * self.cross_ratio

    def fitted(
        self,
        images: Tensor,
        labels: Tensor,
        surrogate: nn.Module | None,
        generator: torch.Generator,
    ) -> Self:
        """The attack with a trained mask network, which is fixed from then on."""
        optimizer = torch.optim.Adam(self.mask_net.parameters(), lr=0.01)
        device = next(self.mask_net.parameters()).device
        for _ in range(self.mask_steps):
            rows = torch.randint(0, len(images), (2, _MASK_BATCH), generator=generator)
            batch, other = images[rows[0]].to(device), images[rows[1]].to(device)
            mask, other_mask = self.mask_net(batch), self.mask_net(other)
            size = F.relu(mask - self.density).mean()
            different = _diversity_loss(batch, other, mask, other_mask)
            loss = self.density_weight * size + self.diversity * different
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.mask_net.requires_grad_(False)
        return self

    def own_loss(self, images: Tensor) -> Tensor:
        """How alike the patterns of different images are."""
        others = images.roll(1, 0)
        patterns = self.pattern_net(images)
        return self.diversity * _diversity_loss(images, others, patterns, patterns.roll(1, 0))

    def trigger(self, images: Tensor, target: int | None = None) -> Tensor:
        """See :class:`~benchmarks.attacks.base.Attack`. Differentiable in the pattern network."""
        return self._apply(images, images)

    def _stamp_cover(self, images: Tensor, donors: Tensor, generator: torch.Generator) -> Tensor:
        return self._apply(images, donors)

    def _apply(self, images: Tensor, donors: Tensor) -> Tensor:
        """``images`` with the triggers that ``donors`` get."""
        donors = donors.to(next(self.mask_net.parameters()).device)
        mask, pattern = (net(donors).to(images) for net in (self.mask_net, self.pattern_net))
        return (1 - mask) * images + mask * pattern


def _diversity_loss(images: Tensor, others: Tensor, drawn: Tensor, others_drawn: Tensor) -> Tensor:
    """Distance of images over distance of what is drawn for them (equation 5)."""
    distances = (images - others).flatten(1).square().mean(1).sqrt()
    drawn_distances = (drawn - others_drawn).flatten(1).square().mean(1).add(_SMALLEST).sqrt()
    return (distances / (drawn_distances + _SMALLEST)).mean()
