"""What ``rnp inspect`` prints for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TENSORS = 40
_FRAGMENT = 500  # characters


def print_inspection(inspection: Mapping[str, Any]) -> None:
    """The facts, the tensor table and the findings with their fragments, on standard output."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(_facts(inspection))
    if inspection["tensors"]:
        console.print(_tensors(inspection["tensors"]))
    if len(inspection["tensors"]) > _TENSORS:
        console.print(f"... and {len(inspection['tensors']) - _TENSORS} more, see --json")
    for finding in inspection["findings"]:
        ids = ", ".join((*finding["atlas"], *finding["cwe"]))
        console.print(
            escape(f"{finding['severity']}: {finding['rule']}: {finding['message']}")
            + (f" [dim]({escape(ids)})[/dim]" if ids else "")
        )
        if finding["evidence"] and finding["rule"] != "refused":
            console.print(f"    [dim]{escape(_fragment(finding['evidence']))}[/dim]")


def _facts(inspection: Mapping[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    hints = inspection["hints"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # a digest is never cut off
    for name, value in (
        ("file", inspection["path"]),
        ("sha256", inspection["sha256"]),
        ("size", f"{inspection['size_bytes']:,} bytes"),
        ("format", inspection["format"]),
        ("reader", inspection["reader"]),
        ("layout", inspection["layout"]),
        ("prefix removed", inspection["removed_prefix"] or None),
        ("claims to be", hints["architecture"]),
        ("claims to take", _feeding(hints)),
        ("claims classes", hints["num_classes"]),
        ("class names", ", ".join(hints["class_names"]) or None),
        ("holds classes", ", ".join(hints["module_classes"]) or None),
        ("architecture", _architecture(inspection["architecture"])),
        ("would import", ", ".join(inspection["globals"]) or "nothing"),
        ("refused", inspection["refusal"]),
    ):
        if value is not None:
            facts.add_row(name, escape(str(value)))
    return facts


def _feeding(hints: Mapping[str, Any]) -> str | None:
    """Image size and normalisation, as far as the file names them."""
    said = (("(C, H, W)", hints["input_size"]), ("mean", hints["mean"]), ("std", hints["std"]))
    return ", ".join(f"{name} {value}" for name, value in said if value) or None


def _architecture(guess: Mapping[str, Any] | None) -> str | None:
    if guess is None:
        return None
    if guess["miss"] is not None:
        return f"not known: {guess['miss']}"
    return (
        f"{guess['name']} (family {guess['family']}): {guess['depth']} layers with weights, up to "
        f"{guess['width']} wide, {guess['num_classes']} classes, {guess['in_channels']} channel(s)"
    )


def _tensors(tensors: list[Mapping[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(f"{len(tensors)} tensor(s)", "shape", "type", box=None, padding=(0, 2, 0, 0))
    for tensor in tensors[:_TENSORS]:
        shape = " x ".join(map(str, tensor["shape"])) or "one number"
        table.add_row(escape(tensor["name"]), shape, tensor["dtype"])
    return table


def _fragment(evidence: Mapping[str, Any]) -> str:
    text = json.dumps(evidence, ensure_ascii=False)
    return text if len(text) <= _FRAGMENT else f"{text[:_FRAGMENT]} ... (see --json)"
