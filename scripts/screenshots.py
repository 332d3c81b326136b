"""Pictures of every page of the dashboard: ``python -m scripts.screenshots --out FOLDER``.

Starts a dashboard of its own on a history with real scans, opens its pages in chromium and writes
``PAGE-VARIANT.webp``: those of the documents, with ``--all`` every page in light, dark, on a phone
and on a wide screen. Beside what the navigation reaches there are the page of the own model with
its files chosen (``filled``) and with a file that is refused (``refused``), a scan that failed
(``failed``) and a model beside its repaired copy (``repaired``). What ``--home`` lacks of these
scans is scanned first: four models at most, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from dashboard.requests import demo_request, make_request
from dashboard.wording import DEMO_WORDS
from rnp_core import FINAL_STATES, Job, JobEngine, ScanRequest, find_demo

ROOT = Path(__file__).resolve().parents[1]
SCANNED = ("clean-a", "blend", "patch-vgg")
VARIANTS: Mapping[str, tuple[int, int, int, str]] = {
    "light": (1280, 860, 2400, "light"),
    "dark": (1280, 860, 2400, "dark"),
    "narrow": (390, 844, 8000, "light"),
    "wide": (1920, 1080, 2400, "light"),
}
"""Width, height and greatest height in pixels of the screen, and the theme."""
PAGES: Mapping[str, str] = {
    "scan": "",
    "own": "?from=own",
    "filled": "?from=own",
    "refused": "?from=own",
    "live": "",
    "failed": "live?job={failed}",
    "summary": "verdict?scan={bad}",
    "neurons": "verdict?scan={bad}&tab=neurons",
    "labels": "verdict?scan={bad}&tab=labels",
    "triggers": "verdict?scan={bad}&tab=triggers",
    "samples": "verdict?scan={bad}&tab=samples",
    "sample": "verdict?scan={bad}&tab=samples&sample={flagged}",
    "reproduce": "verdict?scan={bad}&tab=reproduce",
    "plain": "verdict?scan={bad}&tab=plain",
    "clean": "verdict?scan={good}",
    "history": "history",
    "compare": "compare?a={bad}&b={good}",
    "repaired": "compare?a={bad}&b={repaired}",
    "fleet": "fleet",
    "help": "help",
}
DOCUMENTS: Mapping[str, Sequence[str]] = {
    "light": ("scan", "own", "live", "summary", "neurons", "labels", "triggers", "sample", "plain",
              "compare", "fleet", "help"),
    "dark": ("summary", "samples", "history"),
    "narrow": ("scan", "summary"),
}
"""Pages of each variant that README and docs/ show."""

_READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pictures; returns the exit code."""
    options = _parser().parse_args(arguments)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("screenshots: expected chromium on the path, found none", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = dict.fromkeys(VARIANTS, tuple(PAGES)) if options.all else DOCUMENTS
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch) / "home"
        evil = Path(scratch) / "weights.pt"
        evil.write_bytes(pickle.dumps(_Command()))
        ids = _prepare(home, evil)
        with _serving(home) as address, sync_playwright() as tools:
            browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for variant, names in chosen.items():
                _take(browser, address, names, variant, ids, evil, options.out, home)
            browser.close()
    return 0


class _Command:
    """Pickled, what no model file should hold: a command for whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def _prepare(home: Path, evil: Path) -> dict[str, str]:
    """Scan what is missing; what the addresses of the pages name.

    Args:
        evil: a file whose scan fails.
    """
    with JobEngine(home, scheduler="direct") as engine:
        done = {job.checkpoint_name: job for job in engine.jobs(state="done", limit=1000)}
        for name in SCANNED:
            demo = find_demo(name)
            if demo.checkpoint.name not in done:
                done[demo.checkpoint.name] = _scan(engine, demo_request(demo), DEMO_WORDS[name][0],
                                                   "demo")
        bad, good = done["patch-vgg.safetensors"], done["clean-a.safetensors"]
        report = _report(bad.run_folder)
        tag = f"repaired:{bad.id}"
        weights = bad.run_folder / report["files"]["repaired_model"]
        repaired = next(iter(engine.jobs(state="done", tag=tag, limit=1)), None) or _scan(
            engine, dataclasses.replace(bad.request, checkpoint=str(weights)),
            f"Repaired: {bad.title}", tag,
        )
        failed = next(iter(engine.jobs(state="failed", limit=1)), None) or _scan(
            engine, make_request(evil, find_demo("patch").clean, None), "An unknown file",
        )
    flagged = [row for row in report["samples"] if row["flagged"]]
    first = max(flagged, key=lambda row: row["suspicion_score"], default={"index": 0})
    return {"bad": bad.id, "good": good.id, "repaired": repaired.id, "failed": failed.id,
            "flagged": str(first["index"])}


def _scan(engine: JobEngine, request: ScanRequest, title: str, *tags: str) -> Job:
    """Run a scan and wait for its end."""
    job_id = engine.submit(request, title=title, tags=tags)
    while engine.job(job_id).state not in FINAL_STATES:
        time.sleep(1)
    return engine.job(job_id)


def _report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    """A dashboard on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--home", str(home)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        _wait(f"{address}/api/v1/health")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(address: str) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    raise SystemExit("screenshots: the dashboard did not start")


def _take(
    browser: Any, address: str, names: Sequence[str], variant: str, ids: Mapping[str, str],
    evil: Path, out: Path, home: Path,
) -> None:
    width, height, tallest, scheme = VARIANTS[variant]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                  reduced_motion="reduce")
    context.set_default_timeout(120_000)
    page = context.new_page()
    for name in names:
        page.goto(f"{address}/{PAGES[name].format(**ids)}")
        page.wait_for_selector(_READY)
        page.wait_for_load_state("networkidle")
        if name == "live":
            _start_scan(page)
        else:
            if name == "filled":
                _choose_files(page)
            if name == "refused":
                _choose_refused(page, evil)
            page.wait_for_selector(_READY)
            page.wait_for_selector('[data-testid="stSkeleton"]', state="detached")
        page.wait_for_timeout(1500)
        inner = "() => document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 0"
        tall = min(tallest, max(height, int(page.evaluate(inner)) + 60))
        page.set_viewport_size({"width": width, "height": tall})
        page.wait_for_timeout(800)
        target = out / f"{name}-{variant}.webp"
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            picture.convert("RGB").save(target, quality=78, method=6)
        page.set_viewport_size({"width": width, "height": height})
        print(f"{target.name:24} {target.stat().st_size / 1000:6.0f} KB")
        if name == "live":
            _forget(home, page.url.rpartition("job=")[2])
    context.close()


def _start_scan(page: Any) -> None:
    """Start a scan of a demo model and wait until it has curves."""
    page.get_by_role("button", name="Scan this model").first.click()
    page.wait_for_url("**/live?job=*")
    page.locator(".js-plotly-plot").nth(1).wait_for(timeout=240_000)
    page.wait_for_timeout(3000)


def _choose_files(page: Any) -> None:
    """Choose a model and clean images, and wait for what the model makes of them."""
    model = find_demo("patch-vgg").checkpoint
    page.locator('input[type="file"]').first.set_input_files(model)
    page.get_by_role("radio", name="Demo images").first.click()
    page.get_by_text("Images by class").wait_for()


def _choose_refused(page: Any, evil: Path) -> None:
    """Choose a file that is refused, and wait for the refusal."""
    page.locator('input[type="file"]').first.set_input_files(evil)
    page.get_by_text("This file is not scanned").wait_for()


def _forget(home: Path, job_id: str) -> None:
    """Cancel the scan of the live page and take it out of the history."""
    with JobEngine(home, run_jobs=False) as engine:
        engine.cancel(job_id)
        while engine.job(job_id).state not in FINAL_STATES:
            time.sleep(0.2)
        engine.delete(job_id)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots",
                                     description="Pictures of every page of the dashboard.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--home", type=Path, help="history with scans of the demo models")
    parser.add_argument("--all", action="store_true", help="every page in every variant")
    return parser


if __name__ == "__main__":
    sys.exit(main())
