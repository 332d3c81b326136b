"""The own model: file, triage, clean images, suspects, settings, start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import cache, state, uploads
from dashboard.requests import check_settings, make_request
from dashboard.views import frame, scan
from dashboard.wording import IMAGE_ADVICE
from rnp_core import DataError, RnpError, find_demo

_READING = ("arch", "num_classes", "class_names", "normalization", "mean", "std", "seed")
"""Settings that decide how files are read."""


def show() -> None:
    """Draw the steps; each one appears at once when the one before is done."""
    scan.render_step(1, "The model", "A checkpoint file. It is looked at in a confined process, "
                     "and nothing in it is run.")
    model, sha256, usable = _model()
    scan.render_step(2, "Clean images", "About 500 labelled images that you trust: a zip or a "
                     "folder of class folders, or an npz with x and y.")
    clean, inside = _images("Clean images", "clean")
    preview_place = st.container()
    scan.render_step(3, "Suspect images", "Optional: images to sort by suspicion, for example "
                     "those that the model met in use.")
    suspects, _ = _images("Suspect images", "suspects")
    scan.render_step(4, "Settings", "How thorough the scan is.")
    options = _options(scan.render_settings())
    if options is None:
        return
    if model is not None and usable and (clean is not None or inside):
        with preview_place:
            usable = _preview(model, sha256, clean, options)
    missing = ("Choose a model first." if model is None else "This model cannot be scanned."
               if not usable else "Choose clean images first.")
    ready = model is not None and usable and (clean is not None or inside)
    pressed, title = scan.render_start(ready=ready, missing=missing,
                                       title=scan.suggested_title(model))
    if pressed and ready and model is not None:
        request = make_request(model, clean, suspects, **options)
        state.go("live", job=cache.engine().submit(request, title=title))


def _model() -> tuple[Path | None, str, bool]:
    """(path, digest, whether it can be scanned) of the chosen checkpoint, with its triage."""
    settings = cache.settings()
    source, value = scan.render_file_choice(
        "Checkpoint", kind="checkpoint", key="model",
        listing=cache.server_files(settings.models, uploads.CHECKPOINT_SUFFIXES),
    )
    if value is None:
        return None, "", False
    try:
        if source == "upload":
            path, sha256 = state.kept_upload(value, settings.uploads)
        else:
            path = uploads.confine(value, settings.models)
            sha256 = ""
        with st.spinner("Looking at the file …", show_time=True):
            found = cache.triage(str(path), sha256 or cache.stamp(path))
    except RnpError as error:
        frame.render_error(error, title="This file cannot be looked at")
        return None, "", False
    scan.render_triage(found, cache.engine().find_scans(found["sha256"]))
    return path, found["sha256"], found["refusal"] is None


def _images(name: str, key: str) -> tuple[Path | None, bool]:
    """The chosen images, and whether those inside the checkpoint are wanted."""
    settings = cache.settings()
    extra = ("demo", "inside") if key == "clean" else ("none", "demo")
    source, value = scan.render_file_choice(
        name, kind="images", key=key, extra=extra,
        listing=cache.server_files(settings.models, uploads.IMAGE_SUFFIXES, classes=True,
                                   flat=key == "suspects"),
    )
    if source == "inside":
        st.caption("Some collections put clean images beside the model (TrojAI rounds, "
                   "BackdoorBench results).")
        return None, True
    if source == "demo":
        demo = find_demo("patch")
        return (demo.clean if key == "clean" else demo.suspects), False
    try:
        if source == "upload" and value is not None:
            return state.kept_upload(value, settings.uploads)[0], False
        if source == "folder" and value:
            return state.kept_folder(value, settings.uploads), False
        if source == "server" and value is not None:
            return uploads.confine(value, settings.models), False
    except DataError as error:
        frame.render_error(error, title="These images cannot be used", advice=IMAGE_ADVICE)
    return None, False


def _options(chosen: dict[str, Any]) -> dict[str, Any] | None:
    """Settings as a request takes them; None after an error was shown."""
    try:
        options = {
            **chosen,
            "mean": uploads.numbers(chosen["mean"]),
            "std": uploads.numbers(chosen["std"]),
            "class_names": tuple(chosen["class_names"]) or None,
        }
        check_settings(options)
    except RnpError as error:
        frame.render_error(error, title="Check the advanced settings")
        return None
    return options


def _preview(model: Path, sha256: str, clean: Path | None, options: dict[str, Any]) -> bool:
    """Show the clean images on the model; whether a scan can use them.

    Args:
        clean: None for those that came with the checkpoint.
    """
    try:
        with st.spinner("Reading the images and trying the model on them …", show_time=True):
            request = make_request(model, clean, None, **{name: options[name] for name in _READING})
            found = cache.image_preview(request, sha256, cache.stamp(clean or model.parent))
    except RnpError as error:
        frame.render_error(error, title="The model cannot be tried on these images",
                           advice=IMAGE_ADVICE if isinstance(error, DataError) else None)
        return False
    if isinstance(found, str):
        scan.render_no_preview(found)
    else:
        scan.render_image_preview(found)
    return True
