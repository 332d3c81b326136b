"""The cases of the cost benchmark: a network, how many classes and images, and how it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.cost.networks import NETWORKS

Learned = Literal["nothing", "clean", "backdoor"]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        classes, clean, suspects: how many classes, clean images and suspect images.
        threads: of the processor.
        precision: as in :class:`rnp_core.config.ScanConfig`.
        learned: what the network knows: nothing, signs (a clean demo model), or a backdoor.
        brief: a few steps of every search only.
    """

    network: str
    classes: int = 10
    clean: int = 500
    suspects: int = 0
    threads: int = 2
    precision: str = "auto"
    learned: Learned = "nothing"
    brief: bool = False

    @property
    def name(self) -> str:
        """The case in one word."""
        parts = [self.network, f"{self.classes}c", f"{self.clean}i", f"{self.suspects}s"]
        parts += [f"{self.threads}t", self.precision]
        parts += [self.learned] * (self.learned != "nothing") + ["brief"] * self.brief
        return "-".join(parts)

    @property
    def is_counted(self) -> bool:
        """Whether its multiply-adds are counted, which takes a scan of its own."""
        return self == Case(self.network, learned=self.learned)


CASES: tuple[Case, ...] = (
    *(Case(network) for network in NETWORKS),
    *(Case(network, precision="float32") for network in ("wrn16-1", "resnet18")),
    *(Case("wrn16-1", classes=count) for count in (43, 200, 1000)),
    *(Case("resnet18", classes=count) for count in (43, 200, 1000)),
    *(Case(network, clean=count) for network in ("wrn16-1", "resnet18") for count in (50, 2000)),
    *(Case("resnet18", suspects=count, learned="backdoor") for count in (1000, 10000)),
    *(Case(network, threads=1) for network in ("wrn16-1", "resnet18")),
    *(Case(network, learned="clean") for network in ("wrn16-1", "resnet18")),
    *(
        Case(network, learned="backdoor")
        for network in ("wrn16-1", "resnet18", "vgg16-bn", "mobilenetv2")
    ),
    Case("resnet50-224", brief=True),
)
