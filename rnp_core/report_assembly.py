"""From the results of all stages to the report."""

from __future__ import annotations

import datetime

from rnp_core.evidence_pictures import DrawnMaps
from rnp_core.preparation import ScanInputs
from rnp_core.report import FilterRow, Finding, ScanReport, StageRow, TriggerRow, UniversalRow
from rnp_core.report_rows import (
    accuracy_facts,
    curves,
    data_facts,
    environment,
    label_row,
    model_facts,
    sample_rows,
)
from rnp_core.stage_findings import (
    failed_stage_findings,
    removal_findings,
    sample_findings,
    screening_findings,
    skipped_map_findings,
)
from rnp_core.stage_results import StageResults
from rnp_core.version import VERSION


def assemble_report(
    inputs: ScanInputs,
    results: StageResults,
    *,
    triggers: list[TriggerRow],
    maps: DrawnMaps,
    stages: list[StageRow],
) -> ScanReport:
    """The report of a scan.

    Args:
        triggers: rows of the triggers that it shows, in their order.
        maps: attributions; empty where they failed.
        stages: how every stage ended.
    """
    model, suspects, config = inputs.model, inputs.suspects, inputs.config
    judgement, removal, scores = results.judgement, results.removal, results.scores
    names = inputs.class_names
    return ScanReport(
        tool_version=VERSION,
        created_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seed=config.seed,
        config=config.to_dict(),
        environment=environment(model),
        model=model_facts(model),
        data=data_facts(inputs.clean, suspects, model.num_classes),
        verdict=judgement.verdict,
        backdoor_score=judgement.backdoor_score,
        verdict_reason=judgement.reason,
        findings=_findings(inputs, results, triggers, maps, stages),
        suspected_target_labels=list(judgement.suspected_target_labels),
        labels=[label_row(row, names[row.label]) for row in results.labels],
        triggers=triggers,
        pruned_filters=[
            FilterRow(f.layer, f.index, f.mask_value, f.score)
            for f in (removal.pruned.filters if removal else ())
        ],
        accuracy=accuracy_facts(model, results.repaired, inputs.held_out, triggers),
        samples=sample_rows(suspects, scores),
        sample_threshold=scores.threshold if scores else None,
        sample_clean_scores=scores.clean_scores.tolist() if scores else [],
        universal=UniversalRow(results.universal.norm_ratio, results.universal.score)
        if results.universal
        else None,
        attributions=maps.rows,
        stages=stages,
        curves=curves(results.unlearned, results.recovered, removal),
        files={},
    )


def _findings(
    inputs: ScanInputs,
    results: StageResults,
    triggers: list[TriggerRow],
    maps: DrawnMaps,
    stages: list[StageRow],
) -> list[Finding]:
    warning, judgement = inputs.warning, results.judgement
    removing = next(row for row in stages if row.name == "removal")
    return [
        *([Finding("high", "data", warning, rule="RNP003")] if warning else []),
        *judgement.findings,
        *removal_findings(judgement.accuses, results.removal, removing, triggers),
        *screening_findings(results.search, inputs.model.num_classes),
        *sample_findings(results.scores),
        *failed_stage_findings(stages),
        *skipped_map_findings(maps.skipped),
    ]
