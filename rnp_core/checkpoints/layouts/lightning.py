"""Lightning checkpoints: a state dict whose names start with the attribute of the trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rnp_core.checkpoints.layouts.base import Context, Match, count, names, text
from rnp_core.checkpoints.layouts.modules import module_attributes
from rnp_core.checkpoints.layouts.state_dict import tensor_entries
from rnp_core.checkpoints.records import CallRecord
from rnp_core.checkpoints.result import CheckpointHints
from rnp_core.errors import CheckpointError

_NOT_NETWORK = ("loss", "criterion", "metric", "acc", "auroc", "f1", "ema", "val_", "train_")


def match_lightning(root: Any, context: Context) -> Match | None:
    """``{state_dict, hyper_parameters, pytorch-lightning_version, ...}``, else None.

    Tensors of losses and metrics, which a LightningModule keeps beside its network, are left out
    when all others share one attribute.
    """
    if not isinstance(root, Mapping) or "pytorch-lightning_version" not in root:
        return None
    entries = tensor_entries(root.get("state_dict"))
    if not entries:
        raise CheckpointError("the Lightning checkpoint has no weights in its state_dict")
    groups = Counter(name.split(".", 1)[0] for name in entries)
    network = [group for group in groups if not group.lower().startswith(_NOT_NETWORK)]
    if len(network) == 1 and len(groups) > 1:
        entries = {k: v for k, v in entries.items() if k.split(".", 1)[0] == network[0]}
    return Match("Lightning", entries, _hints(root.get("hyper_parameters")))


def _text_entries(record: CallRecord) -> dict[str, Any]:
    return {key: value for key, value in record.entries if isinstance(key, str)}


def _hints(values: Any) -> CheckpointHints:
    if isinstance(values, CallRecord):  # an AttributeDict or a Namespace
        values = {**module_attributes(values), **_text_entries(values)}
    values = values if isinstance(values, Mapping) else {}

    def first(keys: str, take: Any) -> Any:
        return next((found for key in keys.split() if (found := take(values.get(key)))), None)

    return CheckpointHints(
        architecture=first("arch model_name architecture backbone model", text),
        num_classes=first("num_classes n_classes num_labels", count),
        class_names=first("class_names classes label_names", names) or (),
    )
