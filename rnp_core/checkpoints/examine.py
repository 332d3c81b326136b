"""Triage: what a file is and what is wrong with it, before any weight is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from rnp_core.checkpoints.architecture_guess import guess_architecture
from rnp_core.checkpoints.archive import open_archive
from rnp_core.checkpoints.bounded_stream import BoundedStream
from rnp_core.checkpoints.container import REFUSED, TORCH_ZIP, identify
from rnp_core.checkpoints.folder import Place
from rnp_core.checkpoints.global_risk import MALWARE, pickle_findings
from rnp_core.checkpoints.layouts import Context, Leaf, Match, recognise
from rnp_core.checkpoints.layouts.pruned import has_masks, merge_masks
from rnp_core.checkpoints.layouts.unsupported import refuse_quantised
from rnp_core.checkpoints.limits import ReadLimits
from rnp_core.checkpoints.prefixes import remove_prefix, wrapper_prefix
from rnp_core.checkpoints.readers import READERS, Contents
from rnp_core.checkpoints.readers.weights_only import takes_weights_only
from rnp_core.checkpoints.records import printable
from rnp_core.checkpoints.result import (
    SEVERITIES,
    CheckpointHints,
    FileFinding,
    Inspection,
    TensorInfo,
)
from rnp_core.checkpoints.second_opinion import second_opinions
from rnp_core.checkpoints.source import Source
from rnp_core.checkpoints.stray_pickles import trace_archive, trace_streams
from rnp_core.checkpoints.trace import Trace
from rnp_core.errors import CheckpointError

_ODD_ARCHIVE = ("hidden-member", "appended-data")
_RUNS_CODE = ("torchscript", "torch-export")


@dataclass(eq=False)
class Examination:
    """Facts about one open file, filled stage by stage; a refusal ends them.

    Attributes:
        container: the format.
        trace: what its pickles would import and call.
        contents: the tree, or None when it could not be read.
        match: the layout, or None.
        findings: so far.
        refusal: why the file cannot be used, or None.
    """

    source: Source
    place: Place
    container: str
    trace: Trace = field(default_factory=Trace)
    contents: Contents | None = None
    match: Match | None = None
    findings: list[FileFinding] = field(default_factory=list)
    refusal: str | None = None

    @property
    def reader(self) -> str | None:
        """The reader that suits the file, or None when it is refused."""
        if self.refusal is not None:
            return None
        if self.container == "safetensors":
            return "safetensors"
        return "weights_only" if takes_weights_only(self.trace) else "inert"

    def inspection(self, path: Path) -> Inspection:
        """The facts as a value."""
        entries: dict[str, Leaf] = self.match.entries if self.match else {}
        prefix = wrapper_prefix(entries)
        plain = remove_prefix(entries, prefix)
        if has_masks(plain):
            plain = merge_masks(plain, lambda name, original, mask: original)
        return Inspection(
            path=path,
            file_name=self.source.path.name,
            sha256=self.source.sha256,
            size_bytes=self.source.size,
            format=self.container,
            reader=self.reader,
            layout=layout_name(self.match, masked=has_masks(entries)) if self.match else None,
            removed_prefix=prefix,
            globals=tuple(sorted(printable(name.dotted[:200]) for name in self.trace.globals)),
            tensors=tuple(
                TensorInfo(name, tuple(leaf.shape), str(leaf.dtype).removeprefix("torch."))
                for name, leaf in plain.items()
            ),
            hints=self.match.hints if self.match else CheckpointHints(),
            findings=by_severity(self.findings),
            refusal=self.refusal,
            architecture=guess_architecture({n: tuple(leaf.shape) for n, leaf in plain.items()})
            if self.refusal is None
            else None,
        )


def examine(source: Source, place: Place, limits: ReadLimits) -> Examination:
    """Everything about the file that can be known without using a weight. Does not raise."""
    facts = Examination(source, place, identify(source, limits))
    try:
        _read(facts, limits)
    except CheckpointError as error:
        facts.refusal = str(error)
    except MemoryError:
        facts.refusal = "reading the file needs more memory than there is"
    _trace_rest(facts, limits)
    facts.findings += pickle_findings(facts.trace)
    if facts.refusal is not None:
        facts.findings.append(
            FileFinding("medium", "refused", facts.refusal, {"format": facts.container})
        )
    return facts


def _read(facts: Examination, limits: ReadLimits) -> None:
    source = facts.source
    if facts.container in REFUSED:
        if facts.container in _RUNS_CODE:
            facts.findings.append(_code_archive(facts.container))
        raise CheckpointError(f"{REFUSED[facts.container]} ({facts.container})")
    if facts.container == TORCH_ZIP:
        facts.findings += open_archive(source, limits).findings
    facts.contents = READERS[facts.container](source, limits, facts.trace)
    facts.findings += second_opinions(source, facts.container, facts.contents.stream)
    refuse_quantised(facts.trace, {})
    context = Context(limits, None, facts.place.folder, facts.place.configs)
    match = recognise(facts.contents.root, context)
    check_names(match.entries, limits)
    facts.match = match
    refuse_quantised(facts.trace, match.entries)


def _trace_rest(facts: Examination, limits: ReadLimits) -> None:
    """Names in pickles that were not read: in a plain pickle, a refused or an odd archive."""
    source = facts.source
    strays = any(finding.rule in _ODD_ARCHIVE for finding in facts.findings)
    if source.head.startswith(b"PK") and (facts.refusal is not None or strays):
        trace_archive(source, limits, facts.trace)
    elif facts.container == "pickle":
        source.file.seek(0)
        stream = BoundedStream(source.file, source.size, limits)
        trace_streams(cast(BinaryIO, stream), limits, facts.trace)


def check_names(entries: Mapping[str, Any], limits: ReadLimits) -> None:
    """Refuse tensor names that are no text for people.

    Raises:
        CheckpointError: for the first name that is empty, too long or not printable.
    """
    for name in entries:
        if not name or len(name) > limits.name_length or not name.isprintable():
            raise CheckpointError(
                f"expected printable tensor names of at most {limits.name_length} characters, "
                f"got {printable(name[:60])!r}"
            )


def layout_name(match: Match, *, masked: bool) -> str:
    """The name of a layout, with a note when pruning masks were merged."""
    return f"{match.name}, pruned with masks" if masked else match.name


def by_severity(findings: list[FileFinding]) -> tuple[FileFinding, ...]:
    """``findings``, most severe first, otherwise in the order they were made."""
    return tuple(sorted(findings, key=lambda f: -SEVERITIES.index(f.severity)))


def _code_archive(container: str) -> FileFinding:
    return FileFinding(
        "high",
        "code-archive",
        "the archive carries a program, which runs when the file is loaded the usual way",
        {"format": container},
        MALWARE,
        ("CWE-502",),
    )
