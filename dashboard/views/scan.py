"""Choosing what to scan: demo cards, uploads, the file's triage, clean images, settings."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.requests import is_imported
from dashboard.text import code, count, label_name, percent, plain, size, when
from dashboard.uploads import CHECKPOINT_SUFFIXES, IMAGE_SUFFIXES, PICTURE_SUFFIXES, Listing
from dashboard.views.parts import (
    file_findings,
    link,
    plotly,
    preset_choice,
    reading,
    seed_choice,
    verdict_badge,
)
from dashboard.wording import DEMO_WORDS
from rnp_core import PRESETS, DemoModel, Job

NORMALIZATIONS = ("auto", "none", "half", "cifar10", "imagenet", "mnist")
_MOST_GLOBALS = 12


def render_demo_cards(
    demos: Sequence[DemoModel], pictures: Mapping[str, bytes], *, first: str,
    on_scan: Callable[[str], None],
) -> None:
    """The built-in demo models as cards; ``first`` has the one strong button."""
    place_of = {name: place for place, name in enumerate(DEMO_WORDS)}
    order = sorted(demos, key=lambda demo: (demo.name != first, place_of.get(demo.name, 99)))
    columns: list[Any] = []
    for place, demo in enumerate(order):
        if place % 3 == 0:
            columns = list(st.columns(3))
        title, text = DEMO_WORDS.get(demo.name, (demo.name, demo.title))
        with columns[place % 3].container(border=True, height="stretch", gap="small",
                                          key=f"card-{demo.name}"):
            st.image(pictures[demo.name], width="stretch",
                     alt=f"Images of the demo model {demo.name}")
            with st.container(gap="xxsmall"):
                st.markdown(f"**{plain(title)}**")
                st.markdown(f":small[:gray[{plain(text)}]]")
            with st.container(height="stretch", vertical_alignment="bottom"):
                st.button(
                    "Scan this model", key=f"demo-{demo.name}", width="stretch",
                    icon=":material/play_arrow:", on_click=on_scan, args=(demo.name,),
                    type="primary" if demo.name == first else "secondary",
                )


def render_file_choice(
    name: str, *, listing: Listing, kind: str, extra: Sequence[str] = (), key: str,
) -> tuple[str, Any]:
    """Where a file comes from, and which.

    Args:
        name: what is chosen, for labels.
        listing: files of the server folder; that source is hidden where there are none.
        kind: "checkpoint" or "images".
        extra: further sources, chosen by their name alone.

    Returns:
        ("upload", uploaded file or None), ("folder", uploaded files), ("server", path or None), or
        one of ``extra`` with None.
    """
    sources = ["upload", *(["folder"] if kind == "images" else []),
               *([] if listing == Listing([]) else ["server"]), *extra]
    words = {"upload": ":material/upload: Upload", "folder": ":material/folder_open: Folder",
             "server": ":material/dns: Server folder", "demo": ":material/traffic: Demo images",
             "none": "None", "inside": ":material/inventory_2: From the checkpoint"}
    source = "upload"
    if len(sources) > 1:
        start = extra[0] if "none" in extra else "upload"
        source = str(st.segmented_control(
            f"{name} from", sources, default=start, required=True, format_func=words.__getitem__,
            key=f"{key}-source", label_visibility="collapsed",
        ))
    if source == "upload":
        suffixes = CHECKPOINT_SUFFIXES if kind == "checkpoint" else IMAGE_SUFFIXES
        return source, st.file_uploader(
            f"{name} file", type=list(suffixes), key=f"{key}-upload",
        )
    if source == "folder":
        return source, st.file_uploader(
            f"{name}: a folder with one folder of pictures per class",
            type=list(PICTURE_SUFFIXES), accept_multiple_files="directory", key=f"{key}-folder",
        )
    if source == "server":
        picked = st.selectbox(f"{name} in the server folder", listing.names, index=None,
                              placeholder="Pick one", key=f"{key}-server")
        if not listing.is_whole:
            st.caption(f"The folder is too large to list all of it: {len(listing.names):,} entries "
                       "are shown. Start the dashboard with a smaller --models folder for the "
                       "others.")
        return source, picked
    return source, None


def render_triage(found: Mapping[str, Any], earlier: Sequence[Job]) -> None:
    """What a checkpoint file is; every text of it is untrusted."""
    with st.container(border=True, key="triage"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/description: **{plain(found['file_name'], most=80)}**",
                        width="content")
            if found["refusal"]:
                st.badge("Refused", icon=":material/block:", color="red")
            elif any(row["severity"] in ("high", "critical") for row in found["findings"]):
                st.badge("Look closely", icon=":material/warning:", color="orange")
            else:
                st.badge("Can be read", icon=":material/check:", color="green")
        left, right = st.columns([1, 1.3], gap="medium")
        with left:
            _facts(found)
        with right:
            _imports(found["globals"])
            file_findings(found["findings"])
            if found["refusal"]:
                st.error(plain(found["refusal"], most=600), title="This file is not scanned",
                         icon=":material/block:")
                st.markdown("**What to do:** ask for the weights as safetensors or as a plain "
                            "state dict. Nothing in the file was run.")
        _earlier(earlier)


def _facts(found: Mapping[str, Any]) -> None:
    guess = found["architecture"]
    shown = [
        ("Format", f"{plain(found['format'])}, {size(found['size_bytes'])}"),
        ("Layout", plain(found["layout"] or "–")),
        ("Tensors", f"{len(found['tensors']):,}"),
    ]
    if guess is not None and guess["miss"] is None:
        shown.append(("Architecture", f"{plain(guess['name'])}, "
                                      f"{count(guess['num_classes'], 'class', 'classes')}, "
                                      f"{count(guess['in_channels'], 'channel')}"))
    elif guess is not None:
        shown.append(("Architecture", f"not recognised: {plain(guess['miss'])}"))
    for name, text in shown:
        st.markdown(f":gray[{name}]  \n{text}")
    with st.container(gap="xxsmall"):
        st.markdown(":gray[SHA-256]")
        st.code(found["sha256"], language=None, wrap_lines=True)


def _imports(names: Sequence[str]) -> None:
    if not names:
        st.markdown(":green-badge[:material/check: imports] It would import nothing.")
        return
    listed = " · ".join(f"`{code(name, most=80)}`" for name in names[:_MOST_GLOBALS])
    more = f" and {len(names) - _MOST_GLOBALS} more" if len(names) > _MOST_GLOBALS else ""
    st.markdown(f":gray[A full unpickling would import]  \n{listed}{more}")


def _earlier(earlier: Sequence[Job]) -> None:
    if not earlier:
        st.caption("Never scanned here before.")
        return
    st.markdown(f"**Scanned before**, {count(len(earlier), 'time')}:")
    for job in earlier[:5]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(verdict_badge(job.verdict, job.state), width="content")
            link("verdict", plain(job.title, most=60), scan=job.id)
            origin = " · imported" if is_imported(job) else ""
            st.caption(f"{when(job.finished_at)} · {job.request.preset}, seed {job.request.seed}"
                       f"{origin}", width="content")


def render_image_preview(found: Mapping[str, Any]) -> None:
    """The clean images as they were read, and how well the model does on them."""
    with st.container(border=True, key="preview"):
        grid = st.grid(3, min_column_width=150)
        grid.metric("Clean images", f"{found['count']:,}", help="Images that the scan uses.")
        grid.metric("Accuracy on them", percent(found["accuracy"], 1),
                    help="With the normalisation that is named beside.")
        grid.metric("Normalisation", plain(found["normalization"]),
                    help="The known one of the least loss on these images, unless you chose "
                    "another.")
        if found["accuracy"] < 0.5:
            st.warning(
                "The model is wrong on most of these images, so the scan will not decide. Check "
                "that the class folders are in the model's order (class names below), and that the "
                "images are of its kind.", title="Low accuracy", icon=":material/warning:",
            )
        for text in found["warnings"]:
            st.caption(f":material/info: {plain(text)}")
        left, right = st.columns([1.2, 1], gap="medium")
        with left:
            st.markdown("**As they were read**")
            st.image(base64.b64decode(found["grid"]), width="stretch", output_format="PNG",
                     alt=f"{len(found['grid_labels'])} of the clean images, ordered by class")
        with right:
            st.markdown("**Images by class**")
            plotly(charts.class_counts(found["per_class"], found["class_names"]),
                   key="class-counts", alt=_counts_alt(found))
        missing = [i for i, n in enumerate(found["per_class"]) if n == 0]
        if missing:
            names = ", ".join(label_name(i, found["class_names"]) for i in missing[:8])
            reading(f"No image of: {plain(names)}")


def render_no_preview(reason: str) -> None:
    """The clean images could not be tried, which a scan may do without."""
    st.warning(
        f"{plain(reason, most=600)}\n\nA scan has more time and memory and reads the images "
        "again, so you can start it all the same.",
        title="There is no preview of the clean images", icon=":material/warning:",
    )


def _counts_alt(found: Mapping[str, Any]) -> str:
    lowest, highest = min(found["per_class"]), max(found["per_class"])
    return f"Images by class: {len(found['per_class'])} classes, {lowest} to {highest} images each"


def render_settings() -> dict[str, Any]:
    """Preset and advanced settings; values for :class:`rnp_core.ScanRequest`."""
    preset = preset_choice("standard", key="preset", persist_state="session")
    st.caption(f"{PRESETS[preset]} Times are of a demo model on two cores.")
    chosen: dict[str, Any] = {"preset": preset}
    with st.expander("Advanced settings", icon=":material/tune:"):
        st.caption("The defaults suit almost every model. Change one only for a reason.")
        left, right = st.columns(2, gap="large")
        with left:
            chosen["arch"] = st.text_input(
                "Architecture", placeholder="recognised from the tensors", max_chars=60,
                help="Name of a known network, for example resnet18-cifar. Only needed when the "
                "recognition fails.", key="set-arch",
            ).strip() or None
            classes = st.number_input(
                "Number of classes", min_value=2, max_value=65_536, value=None, step=1,
                placeholder="from the last layer", key="set-classes",
                help="Checks that the file holds the model that you expect.",
            )
            chosen["num_classes"] = int(classes) if classes is not None else None
            chosen["seed"] = seed_choice(0, key="set-seed")
            chosen["repair"] = st.toggle(
                "Fine-tune the repaired model", value=True, key="set-repair",
                help="Where pruning alone does not disarm the trigger, tune the model briefly on "
                "the clean images. Off: prune only.",
            )
        with right:
            chosen["normalization"] = st.selectbox(
                "Normalisation", NORMALIZATIONS, key="set-normalization",
                help="Auto tries the known ones and takes the one of the least loss.",
            )
            with st.container(horizontal=True):
                mean = st.text_input("Mean", placeholder="0.49, 0.48, 0.45", max_chars=80,
                                     key="set-mean", help="Overrules the one above.")
                std = st.text_input("Standard deviation", placeholder="0.25, 0.24, 0.26",
                                    max_chars=80, key="set-std")
            chosen["mean"], chosen["std"] = mean, std
            names = st.text_area(
                "Class names, one a line, in the order of the labels", height=140,
                max_chars=200_000, key="set-names",
                placeholder="sorted names of the class folders",
                help="Needed when the sorted order of the class folders is not the model's.",
            )
            chosen["class_names"] = [line.strip() for line in names.splitlines() if line.strip()]
    return chosen


def render_start(*, ready: bool, missing: str, title: str) -> tuple[bool, str]:
    """Name of the scan, ``title`` where none is typed, and the button that starts it; (pressed,
    name)."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of this scan", max_chars=120, width=380, key="scan-title",
                             placeholder=title or "the file's name")
        pressed = st.button("Start the scan", type="primary", icon=":material/radar:",
                            disabled=not ready, key="start")
    if not ready:
        st.caption(missing)
    return pressed, name.strip() or title


def render_running(jobs: Sequence[Job]) -> None:
    """Scans that run or wait, with links."""
    for job in jobs:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(verdict_badge(None, job.state), width="content")
            link("live", plain(job.title, most=60), job=job.id)


def render_step(place: int, title: str, text: str) -> None:
    """Heading of one step."""
    st.header(f":primary[{place}] {title}", anchor=False)
    st.caption(text)


def suggested_title(path: Path | None) -> str:
    """Name of a scan from its file."""
    return path.stem[:80] if path is not None else ""
