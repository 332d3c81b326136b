"""The cases of the cost benchmark: a network, how many classes and images, and how it computes."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cost.networks import NETWORKS


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        classes, clean, suspects: how many classes, clean images and suspect images.
        threads: of the processor.
        precision: as in :class:`rnp_core.config.ScanConfig`.
        backdoored: whether the network is trained with a backdoor.
        brief: a few steps of every search only.
    """

    network: str
    classes: int = 10
    clean: int = 500
    suspects: int = 0
    threads: int = 2
    precision: str = "auto"
    backdoored: bool = False
    brief: bool = False

    @property
    def name(self) -> str:
        """The case in one word."""
        parts = [self.network, f"{self.classes}c", f"{self.clean}i", f"{self.suspects}s"]
        parts += [f"{self.threads}t", self.precision]
        parts += [name for name in ("backdoored", "brief") if getattr(self, name)]
        return "-".join(parts)

    @property
    def is_counted(self) -> bool:
        """Whether its multiply-adds are counted, which takes a scan of its own."""
        return self == Case(self.network, backdoored=self.backdoored)


CASES: tuple[Case, ...] = (
    *(Case(network) for network in NETWORKS),
    *(Case(network, precision="float32") for network in ("wrn16-1", "resnet18")),
    *(Case("wrn16-1", classes=count) for count in (43, 200, 1000)),
    *(Case("resnet18", classes=count) for count in (43, 200, 1000)),
    *(Case("resnet18", clean=count) for count in (50, 2000)),
    *(Case("resnet18", suspects=count, backdoored=True) for count in (1000, 10000)),
    *(Case(network, threads=1) for network in ("wrn16-1", "resnet18")),
    *(Case(network, backdoored=True) for network in ("wrn16-1", "resnet18")),
    Case("resnet50-224", brief=True),
)
