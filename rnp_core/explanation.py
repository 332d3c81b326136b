"""What a report shows of the evidence: which triggers, and what drives which answers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rnp_core.evidence_pictures import (
    DrawnMaps,
    draw_attributions,
    draw_filter_maps,
    first_meant,
)
from rnp_core.inversion import RecoveredTrigger
from rnp_core.preparation import ScanInputs
from rnp_core.progress import OnProgress
from rnp_core.stage_results import StageResults
from rnp_core.stages.prune import filter_order, group_by_layer
from rnp_core.stages.target_label import accusing_kind, best_trigger, by_suspicion

_LEAST_RECOVERED = 12  # filters that are explained where none was pruned


def shown_triggers(results: StageResults, *, min_flip_rate: float) -> list[RecoveredTrigger]:
    """Triggers for the report, most suspicious label first: every kind for suspected labels, the
    kind that speaks loudest for the others, and that of the short first round for labels which got
    no more; first of a label is the one that its score rests on. One to any other class comes
    before all where it alone accuses the model, and last where labels do too. Those that were
    trained on during the removal stand in for what they were made of.

    Args:
        min_flip_rate: share of images that a trigger should flip; smaller ones count as larger.
    """
    search, judgement = results.search, results.judgement
    if search is None:
        return []
    found, suspected = search.by_kind, judgement.suspected_target_labels
    shown: list[RecoveredTrigger] = []
    for row in by_suspicion(results.labels):
        kinds = [k for k, triggers in found.items() if any(t.label == row.label for t in triggers)]
        loudest = accusing_kind(row, found)
        kinds.sort(key=lambda kind: kind != loudest)
        shown += [
            best_trigger(found[kind], row.label, min_flip_rate=min_flip_rate)
            for kind in (kinds if row.label in suspected else kinds[:1])
        ]
        if not kinds:
            shown += [trigger for trigger in search.screened if trigger.label == row.label]
    if search.universal and judgement.target_depends_on_image:
        shown.insert(len(shown) if suspected else 0, search.universal)
    strong = results.removal.strong if results.removal else ()
    stand_ins = {(trigger.label, trigger.kind): trigger for trigger in strong}
    return [stand_ins.get((trigger.label, trigger.kind), trigger) for trigger in shown]


def explain(
    inputs: ScanInputs,
    results: StageResults,
    triggers: Sequence[RecoveredTrigger],
    on_progress: OnProgress,
) -> DrawnMaps:
    """Attributions for a triggered clean image and the most suspicious flagged samples, and for the
    first of them what drives the filters that were pruned or recovered least.

    Args:
        triggers: of the report, in its order.
    """
    model, repaired, seed = inputs.model, results.repaired, inputs.config.seed
    items = _explained_images(inputs, results, triggers)
    if not items:
        return DrawnMaps()
    drawn = draw_attributions(
        [("original", model), *([("repaired", repaired)] if repaired else [])],
        items,
        seed=seed,
        on_progress=on_progress,
    )
    if filters := suspect_filters(results):
        index, image, target = items[0]
        drawn += draw_filter_maps(model, image, index, target, filters, seed=seed)
    return drawn


def _explained_images(
    inputs: ScanInputs, results: StageResults, triggers: Sequence[RecoveredTrigger]
) -> list[tuple[int, Tensor, int]]:
    """Index among the suspects, -1 for a triggered clean image; image, and label to explain."""
    suspected = results.judgement.suspected_target_labels
    items: list[tuple[int, Tensor, int]] = []
    if suspected and triggers:
        trigger = triggers[0]
        image = trigger.apply(first_meant(inputs.held_out, trigger))[0]
        items.append((-1, image, trigger.label))
    suspects, scores = inputs.suspects, results.scores
    if suspects is not None and scores is not None:
        order = scores.suspicion_score.argsort(descending=True, stable=True).tolist()
        flagged = [i for i in order if scores.flagged[i]][: inputs.config.attributed_samples]
        predicted = scores.predicted.tolist()
        targets = [c if c in suspected or not suspected else suspected[0] for c in predicted]
        items += [(i, suspects.images[i], targets[i]) for i in flagged]
    return items


def suspect_filters(results: StageResults) -> dict[str, list[int]]:
    """By layer the pruned filters, or where none were, those that recovered least; none where
    there is nothing to remove."""
    removal, recovered = results.removal, results.recovered
    if removal is None or recovered is None:
        return {}
    if removal.pruned.filters:
        return group_by_layer((row.layer, row.index) for row in removal.pruned.filters)
    least = filter_order(recovered)[:_LEAST_RECOVERED]
    return group_by_layer((layer, index) for layer, index, _ in least)
