"""A small report with a row in every table."""

from __future__ import annotations

from rnp_core import report as r


def example_report() -> r.ScanReport:
    """A backdoored model with one trigger, one pruned filter and one flagged sample."""
    return r.ScanReport(
        tool_version="0",
        created_at="2026-01-01T00:00:00+00:00",
        seed=0,
        config={"preset": "standard"},
        environment=dict.fromkeys(("torch", "python", "device", "threads", "precision"), "x"),
        model=r.ModelFacts(
            path="m.pth",
            file_name="m.pth",
            sha256="00",
            size_bytes=1,
            format="torch-zip",
            architecture="mlp",
            num_classes=2,
            class_names=["a", "b"],
            input_shape=[3, 8, 8],
            normalization=r.NormalizationFacts([0.0] * 3, [1.0] * 3, "none"),
        ),
        data=r.DataFacts(r.CleanFacts(40, "00", [20, 20]), r.SuspectFacts(2, "00")),
        verdict="backdoored",
        backdoor_score=0.9,
        verdict_reason="Because.",
        findings=[r.Finding("critical", "target label", "Label 1.", {"label": 1})],
        suspected_target_labels=[1],
        labels=[r.LabelRow(1, "b", 0.9, 4.0, 0.2, 5.0, 0.9, 1.1, "patch")],
        triggers=[r.TriggerRow(1, "patch", 4.0, 0.9, 0.0, "m.png", "p.png", "v.png")],
        pruned_filters=[r.FilterRow("conv1", 3, 0.0, 1.0)],
        accuracy=r.AccuracyFacts(0.9, 0.89, [0.8, 0.95], [0.8, 0.95], 12, 0.9, 0.0),
        samples=[
            r.SampleRow(0, "0.png", 1, 0, 0.8, True),
            r.SampleRow(1, "1.png", 0, None, 0.0, False),
        ],
        sample_threshold=0.1,
        attributions=[r.AttributionRow(0, "occlusion", 1, "original", "o.png")],
        stages=[r.StageRow("unlearn", "done", 1.5)],
        curves=r.Curves([0.9, 0.1], [[0.5, 0.5], [0.0, 1.0]], [0.5], {"conv1": [0.0]}, [[0, None]]),
        files={"repaired_model": "repaired.safetensors"},
    )
