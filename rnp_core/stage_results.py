"""What the stages of one scan up to the triage found, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from rnp_core.model import SuspectModel
from rnp_core.stages.recover import RecoverResult
from rnp_core.stages.removal import RemovalResult
from rnp_core.stages.samples import SampleScores
from rnp_core.stages.target_label import LabelEvidence, UniversalEvidence
from rnp_core.stages.triggers import TriggerSearch
from rnp_core.stages.unlearn import UnlearnResult
from rnp_core.stages.verdict import Judgement


@dataclass(frozen=True, eq=False)
class StageResults:
    """What later steps read of the stages; None for one that failed or had nothing to do.

    Attributes:
        labels: evidence by label, in their order; empty where it failed.
        universal: what a trigger to any other class says.
    """

    unlearned: UnlearnResult | None
    recovered: RecoverResult | None
    search: TriggerSearch | None
    labels: tuple[LabelEvidence, ...]
    universal: UniversalEvidence | None
    judgement: Judgement
    removal: RemovalResult | None
    scores: SampleScores | None

    @property
    def repaired(self) -> SuspectModel | None:
        """The repaired model; None where nothing was removed."""
        return self.removal.repaired if self.removal else None
