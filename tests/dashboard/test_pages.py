"""Every page in its states, without a browser."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import cache, charts
from dashboard.requests import demo_request
from dashboard.views import live
from dashboard.wording import FAILED_ADVICE, TABS, VERDICTS
from rnp_core import (
    DataError,
    IsolationError,
    Job,
    JobEngine,
    JobError,
    ScanRequest,
    find_demo,
)
from rnp_core import report as r
from tests.dashboard.conftest import Page
from tests.dashboard.folders import make_report, write_folder
from tests.dashboard.homes import add_scan, begin, fail
from tests.helpers.hostile_report import HOSTILE_NAMES, HOSTILE_SOURCES


def words(test: AppTest) -> str:
    """All text of a page."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "error", "warning", "info",
             "success", "text")
    return "\n".join(str(item.value) for kind in kinds for item in getattr(test, kind))


def links(test: AppTest) -> list[str]:
    return [item.label for item in test.page_link]


def fine(test: AppTest) -> AppTest:
    assert not test.exception
    assert "went wrong" not in words(test)
    return test


def test_the_first_visit_offers_demo_models(page: Page) -> None:
    test = fine(page("scan"))
    buttons = [button for button in test.button if button.label == "Scan this model"]
    assert len(buttons) == 6
    assert [b.key for b in buttons if b.proto.type == "primary"] == ["demo-patch-vgg"]


def test_one_button_starts_a_scan(page: Page, engine: JobEngine) -> None:
    test = page("scan")
    test.button(key="demo-patch-vgg").click().run()
    (job,) = engine.jobs()
    assert job.state == "queued" and job.checkpoint_name == "patch-vgg.safetensors"


def test_the_own_model_asks_for_a_file_first(page: Page) -> None:
    test = fine(page("scan", **{"from": "own"}))
    assert test.button(key="start").disabled
    assert "Choose a model first." in words(test)


@pytest.fixture
def own(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page of the own model with a file of the server folder, which nobody looks into."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("model.pt", "clean.npz"):
        (folder / name).touch()
    monkeypatch.setenv("RNP_MODELS", str(folder))
    monkeypatch.setattr(cache, "triage", lambda path, stamp: {
        "file_name": "model.pt", "sha256": "3" * 64, "refusal": None, "findings": [],
        "globals": [], "architecture": None, "format": "zip", "size_bytes": 9, "layout": "",
        "tensors": [],
    })
    test = page("scan", **{"from": "own"})
    test.segmented_control(key="model-source").set_value("server").run()
    return test.selectbox(key="model-server").set_value("model.pt").run()


def test_a_digest_is_shown_whole(own: AppTest) -> None:
    assert "3" * 64 in [item.value for item in fine(own).code]


def test_a_preview_that_takes_too_long_is_no_obstacle(
    own: AppTest, engine: JobEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does anybody wait for it twice."""
    asked = []

    def out_of_time(task: str, payload: dict[str, Any]) -> dict[str, Any]:
        asked.append(payload["request"]["clean"])
        raise IsolationError("the time limit of 120 s was reached", reason="time")

    monkeypatch.setattr(cache, "_child", out_of_time)
    own.segmented_control(key="clean-source").set_value("server").run()
    own.selectbox(key="clean-server").set_value("clean.npz").run()
    assert "the time limit of 120 s" in words(fine(own))
    own.button(key="start").click().run()
    assert len(asked) == 1 and len(engine.jobs()) == 1


def test_images_inside_the_checkpoint_are_looked_at_too(
    own: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_there(task: str, payload: dict[str, Any]) -> dict[str, Any]:
        assert payload["request"]["clean"] is None
        raise DataError("the checkpoint brings none")

    monkeypatch.setattr(cache, "_child", none_there)
    own.segmented_control(key="clean-source").set_value("inside").run()
    assert "the checkpoint brings none" in words(fine(own))
    assert own.button(key="start").disabled


@pytest.mark.parametrize("name", ["live", "verdict", "history", "compare", "fleet"])
def test_an_empty_history_is_friendly(page: Page, name: str) -> None:
    assert "**" in words(fine(page(name)))


def test_a_waiting_scan_says_its_place(page: Page, engine: JobEngine) -> None:
    first = engine.submit(demo_request(find_demo("patch-vgg")))
    second = engine.submit(demo_request(find_demo("patch-vgg")))
    test = fine(page("live", job=second))
    assert "Waiting" in words(test)
    test.button(key="cancel").click().run()
    assert engine.job(second).state == "cancelled"
    assert engine.job(first).state == "queued"


def test_a_running_scan_says_how_long_it_still_takes(page: Page, engine: JobEngine) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")))
    begin(engine, job, fraction=0.3, seconds_left=41.0)
    bar = fine(page("live", job=job)).get("progress")[0].proto
    assert "about 40 s left" in bar.text and bar.value == 30
    assert engine.job(job).fraction == 0.3


def test_a_cancelled_scan_can_go_on(page: Page, engine: JobEngine) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")))
    engine.cancel(job)
    test = fine(page("live", job=job))
    assert "cancelled" in words(test)
    next(b for b in test.button if b.label == "Go on").click().run()
    assert engine.job(job).state == "queued"


def test_a_failed_scan_keeps_what_it_did(page: Page, engine: JobEngine) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")))
    begin(engine, job, stage="unlearn", accuracy=0.5, shares=[0.2, 0.8])
    fail(engine, job, "the process ended")
    test = fine(page("live", job=job))
    shown = words(test)
    assert "the process ended" in shown and FAILED_ADVICE in shown
    assert "**Unlearn**, failed" in shown and "Not measured." in shown
    assert len(test.get("plotly_chart")) == 2
    next(b for b in test.button if b.label == "Try again").click().run()
    assert engine.job(job).state == "queued"


def test_a_scan_that_failed_at_once_shows_no_stages(page: Page, engine: JobEngine) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")))
    engine.cancel(job)
    assert "Unlearn" not in words(fine(page("live", job=job)))


def test_suspects_may_lie_inside_the_checkpoint(page: Page, engine: JobEngine) -> None:
    request = dataclasses.replace(demo_request(find_demo("patch-vgg")), suspects=None)
    job = engine.submit(request)
    begin(engine, job, stage="attributions")
    shown = words(fine(page("live", job=job)))
    assert "Remove, not needed" in shown and "Check your images, if there are any" in shown


def test_a_watched_scan_may_be_deleted_elsewhere(
    page: Page, engine: JobEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [engine.job(engine.submit(demo_request(find_demo("patch-vgg"))))]

    def once(job_id: str) -> Job:
        if not found:
            raise JobError("no such job")
        return found.pop()

    monkeypatch.setattr(engine, "job", once)
    assert "There is no such scan" in words(fine(page("live", job=found[0].id)))


def test_an_error_in_a_fragment_is_told_once(
    page: Page, engine: JobEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(live, "render_progress", fails)
    test = page("live", job=engine.submit(demo_request(find_demo("patch-vgg"))))
    assert len(test.exception) == 1 and "went wrong" not in words(test)


def test_an_expected_error_of_a_fragment_is_told_as_such() -> None:
    def script() -> None:
        from dashboard.views.frame import render_unexpected
        from rnp_core import DataError

        render_unexpected(DataError("no such image"))

    shown = words(AppTest.from_function(script).run())
    assert "no such image" in shown and "server's log" not in shown


@pytest.mark.parametrize("name", ["backdoored", "clean", "failed"])
def test_every_tab_of_every_kind_of_scan(page: Page, scans: dict[str, str], name: str) -> None:
    test = page("verdict", scan=scans[name])
    for tab in TABS:
        test.query_params["tab"] = tab
        fine(test.run())


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("backdoored", "backdoored"), ("clean", "no_evidence"), ("failed", "inconclusive")],
)
def test_the_first_screen_says_the_verdict(
    page: Page, scans: dict[str, str], name: str, verdict: str
) -> None:
    shown = words(fine(page("verdict", scan=scans[name])))
    assert VERDICTS[verdict].title in shown
    assert VERDICTS[verdict].advice in shown


def test_a_scan_without_evidence_by_label_shows_no_score(
    page: Page, scans: dict[str, str]
) -> None:
    """Nought would look like a harmless model."""
    test = fine(page("verdict", scan=scans["failed"]))
    (score,) = [metric.value for metric in test.metric if metric.label == "Backdoor score"]
    assert score == "–" and "There is no score" in words(test)


def test_the_first_screen_leads_to_the_evidence(page: Page, scans: dict[str, str]) -> None:
    assert "Of 40 suspect images, 10 are flagged" in words(page("verdict",
                                                                scan=scans["backdoored"]))
    assert "suspect image" not in words(page("verdict", scan=scans["clean"]))


def test_a_deep_link_opens_one_sample(page: Page, scans: dict[str, str]) -> None:
    shown = words(fine(page("verdict", scan=scans["backdoored"], tab="samples", sample="8")))
    assert "Image 8" in shown and "no entry" in shown


def test_steps_go_from_sample_to_sample(page: Page, scans: dict[str, str]) -> None:
    test = page("verdict", scan=scans["backdoored"], tab="samples", sample="0")
    next(b for b in test.button if b.label == "Next").click().run()
    assert test.query_params["sample"] in ("4", ["4"])
    next(b for b in test.button if b.label == "Previous").click().run()
    assert test.query_params["sample"] in ("0", ["0"])


def test_the_threshold_in_the_address_decides_the_flags(
    page: Page, scans: dict[str, str]
) -> None:
    shown = words(fine(page("verdict", scan=scans["backdoored"], tab="samples", threshold="0.8")))
    assert "4 of 40 images flagged" in shown and "The scan chose 0.30" in shown
    test = page("verdict", scan=scans["backdoored"], tab="samples", threshold="0.99")
    rates = {metric.label: (metric.value, metric.delta) for metric in test.metric}
    assert rates["False positives"] == ("0.0%", "0 of 100 clean images")
    next(b for b in test.button if b.label == "Back to the scan's threshold").click().run()
    assert "threshold" not in test.query_params
    assert "10 of 40 images flagged" in words(fine(test))


@pytest.mark.parametrize("threshold", ["x", "-1", "2", "nan", "0.3"])
def test_a_wrong_threshold_is_the_scans_own(
    page: Page, scans: dict[str, str], threshold: str
) -> None:
    shown = words(fine(page("verdict", scan=scans["backdoored"], tab="samples",
                            threshold=threshold)))
    assert "10 of 40 images flagged" in shown


def test_an_image_without_maps_says_why(page: Page, scans: dict[str, str]) -> None:
    """The files of this scan are elsewhere, so none can be made."""
    shown = words(fine(page("verdict", scan=scans["backdoored"], tab="samples", sample="1")))
    assert "most suspicious flagged images only" in shown


def test_a_model_that_was_not_repaired_has_no_repaired_numbers(
    page: Page, engine: JobEngine, tmp_path: Path
) -> None:
    report = dataclasses.replace(make_report(), pruned_filters=[], findings=[
        r.Finding("high", "removal", "Nothing was removed.", rule="RNP008")])
    job = add_scan(engine, write_folder(tmp_path / "run", report), title="As it was")
    test = fine(page("verdict", scan=job))
    assert "Accuracy, repaired" not in [metric.label for metric in test.metric]
    test.query_params["tab"] = "samples"
    assert "nothing was removed" in words(fine(test.run()))


def test_a_deep_link_opens_one_label(page: Page, scans: dict[str, str]) -> None:
    assert "roundabout" in words(fine(page("verdict", scan=scans["backdoored"], tab="labels",
                                           label="4")))


@pytest.mark.parametrize(
    "parameters",
    [{"scan": "nothing"}, {"tab": "nothing"}, {"tab": "samples", "sample": "999999"},
     {"tab": "samples", "sample": "-1"}, {"tab": "labels", "label": "<b>"},
     {"scan": "../../etc/passwd"}],
)
def test_a_wrong_address_is_no_error(
    page: Page, scans: dict[str, str], parameters: dict[str, str]
) -> None:
    fine(page("verdict", **{"scan": scans["backdoored"], **parameters}))


def test_a_decision_is_kept(page: Page, scans: dict[str, str], engine: JobEngine) -> None:
    test = page("verdict", scan=scans["backdoored"])
    name = next(item for item in test.text_input if item.label == "Your name")
    name.set_value("Ada")
    next(item for item in test.text_area if item.label == "Note").set_value("Checked twice.")
    next(b for b in test.button if b.label == "Save the decision").click().run()
    (decision,) = engine.dispositions(scans["backdoored"])
    assert (decision.reviewer, decision.note) == ("Ada", "Checked twice.")
    assert "Ada" in words(fine(test))


def test_decisions_that_came_with_a_file_are_marked(
    page: Page, run_folders: dict[str, Path], engine: JobEngine
) -> None:
    shown = {}
    for tags in ((), ("imported",)):
        job = add_scan(engine, run_folders["clean"], title="A scan", tags=tags)
        engine.set_disposition(job, "confirmed", reviewer="Ada")
        shown[tags] = words(fine(page("verdict", scan=job)))
    assert "as the imported file says" in shown["imported",]
    assert "as the imported file says" not in shown[()]
    decisions = fine(page("history")).dataframe[0].value["decision"]
    assert sorted(decisions) == ["Confirmed", "Confirmed (imported scan)"]


def test_a_scan_is_repeated_with_another_preset_and_seed(
    page: Page, engine: JobEngine, run_folders: dict[str, Path]
) -> None:
    request = demo_request(find_demo("patch-vgg"))
    first = add_scan(engine, run_folders["backdoored"], title="Again", request=request)
    test = fine(page("verdict", scan=first))
    assert next(item for item in test.number_input if item.label == "Seed").value == 1
    next(item for item in test.segmented_control if item.label == "Preset").set_value("thorough")
    next(b for b in test.button if b.label == "Scan again").click().run()
    (second,) = engine.jobs(state="queued")
    assert (second.request.preset, second.request.seed) == ("thorough", 1)
    assert second.request.clean == request.clean and second.title == "Again"
    test = fine(page("verdict", scan=first))
    assert "See the thorough scan with seed 1" in links(test)
    assert next(item for item in test.number_input if item.label == "Seed").value == 2
    assert next(item for item in test.multiselect if item.label == "Tags").value == []


def test_scans_of_the_same_files_lead_to_their_comparison(
    page: Page, engine: JobEngine, run_folders: dict[str, Path]
) -> None:
    scans = [add_scan(engine, run_folders["clean"], title="Again", seed=seed, tags=("again:1",))
             for seed in (3, 4)]
    for job, other in zip(scans, (4, 3), strict=True):
        test = fine(page("verdict", scan=job))
        assert f"Compare with the standard scan with seed {other}" in links(test)


def test_the_request_of_an_imported_scan_is_never_followed(
    page: Page, engine: JobEngine, tmp_path: Path
) -> None:
    """Its file may name any path of this machine, and code; a scan of our own offers all this."""
    folder = write_folder(tmp_path / "run", make_report())
    paths = {name: str(tmp_path / name) for name in ("checkpoint", "clean", "suspects")}
    for path in paths.values():
        Path(path).touch()
    request = ScanRequest(**paths, out="run", arch=f"{tmp_path / 'code.py'}:build")
    ours = add_scan(engine, folder, title="Ours", request=request)
    theirs = add_scan(engine, folder, title="Theirs", request=request, tags=("imported",))
    for tab, label in (("summary", "Scan the repaired model"), ("summary", "Scan again"),
                       ("samples", "Which pixels decided?"),
                       ("triggers", "What do the models say?")):
        shown = {}
        for job in (ours, theirs):
            test = fine(page("verdict", scan=job, tab=tab, sample="1"))
            shown[job] = label in [item.label for item in (*test.button, *test.toggle)]
        assert shown == {ours: True, theirs: False}, tab


def test_the_history_finds_by_text_verdict_and_decision(
    page: Page, scans: dict[str, str], engine: JobEngine
) -> None:
    test = fine(page("history", q="clean"))
    assert len(test.dataframe[0].value) == 1
    test = fine(page("history", verdict="backdoored"))
    (verdict,) = test.dataframe[0].value["verdict"]
    assert "Backdoored" in verdict
    engine.set_disposition(scans["clean"], "escalate", reviewer="Ada")
    test = fine(page("history", disposition="escalate"))
    assert test.dataframe[0].value["name"].tolist() == ["The clean one"]
    assert "No scan fits" in words(fine(page("history", q="nothing like this")))


def test_two_scans_side_by_side(page: Page, scans: dict[str, str]) -> None:
    shown = words(fine(page("compare", a=scans["backdoored"], b=scans["clean"])))
    assert "The backdoored one" in shown and "The clean one" in shown


def test_an_unfinished_scan_is_not_compared(
    page: Page, scans: dict[str, str], engine: JobEngine
) -> None:
    job = engine.submit(demo_request(find_demo("patch-vgg")), title="The next one")
    test = fine(page("compare", a=job, b=scans["clean"]))
    assert "The next one** is not finished (waiting)" in words(test)
    assert "See how it stands" in links(test)


def test_a_scan_of_our_own_is_ranked_before_an_imported_one(
    page: Page, run_folders: dict[str, Path], engine: JobEngine
) -> None:
    for title, name, sha256, tags in (
        ("Ours", "backdoored", "a", ()), ("Theirs", "clean", "a", ("imported",)),
        ("Theirs alone", "clean", "b", ("imported",)),
    ):
        add_scan(engine, run_folders[name], title=title, sha256=sha256 * 64, tags=tags)
    table = fine(page("fleet")).dataframe[0].value
    assert table["model"].tolist() == ["Ours", "Theirs alone"]
    assert table["origin"].tolist() == ["", "imported"]


def test_models_without_a_result_are_counted(
    page: Page, scans: dict[str, str], engine: JobEngine
) -> None:
    engine.cancel(engine.submit(demo_request(find_demo("patch-vgg"))))
    failed = engine.submit(demo_request(find_demo("patch")))
    begin(engine, failed)
    fail(engine, failed, "")
    numbers = {metric.label: metric.value for metric in fine(page("fleet")).metric}
    assert numbers["Models"] == "5" and numbers["Undecided or failed"] == "3"


def test_the_fleet_is_ranked(page: Page, scans: dict[str, str]) -> None:
    table = fine(page("fleet")).dataframe[0].value
    assert [verdict.split()[-1] for verdict in table["verdict"]] == [
        "Backdoored", "Inconclusive", "evidence"]


def test_models_of_a_fleet_that_were_only_triaged_are_listed(
    page: Page, scans: dict[str, str], engine: JobEngine
) -> None:
    """Between what could not be decided and what is harmless; a scan of the same file wins."""
    found = {name: engine.job(job) for name, job in scans.items()}
    triaged = dataclasses.replace(found["clean"], kind="triage", verdict=None, backdoor_score=0.9)
    other = dataclasses.replace(triaged, checkpoint_sha256="7" * 64)
    ranked = charts.rank([triaged, other, *found.values()])
    assert [job.verdict for job in ranked] == ["backdoored", "inconclusive", None, "no_evidence"]
    assert charts.rank_table(ranked)["verdict"][2] == "· Triaged only"


def test_help_explains(page: Page) -> None:
    shown = words(fine(page("help")))
    assert "Backdoor" in shown and "Flip rate" in shown


def test_hostile_names_are_text(page: Page, engine: JobEngine, tmp_path: Path) -> None:
    """In Markdown every sign of HTML, links and pictures is escaped or inside code."""
    report = make_report(samples=12)
    names = [name[:80].encode("utf-8", "replace").decode() for name in HOSTILE_NAMES]
    names = [*names[:5], names[8]]
    masks = dict(zip(names, report.curves.filter_masks.values(), strict=False))
    report = dataclasses.replace(
        report,
        model=dataclasses.replace(report.model, file_name=names[0], class_names=names,
                                  architecture=names[1]),
        findings=[r.Finding("high", "file", name, {}) for name in names],
        samples=[dataclasses.replace(row, id=names[i % 6])
                 for i, row in enumerate(report.samples)],
        verdict_reason=" ".join(names),
        triggers=[dataclasses.replace(row, sources=HOSTILE_SOURCES) for row in report.triggers],
        labels=[dataclasses.replace(row, sources=HOSTILE_SOURCES) for row in report.labels],
        curves=dataclasses.replace(report.curves, filter_masks=masks),
        pruned_filters=[],
    )
    job = add_scan(engine, write_folder(tmp_path / "run", report), title=names[1], tags=names[:1])
    test = page("verdict", scan=job, sample="0")
    for tab in TABS:
        test.query_params["tab"] = tab
        fine(test.run())
        for item in (*test.markdown, *test.caption, *test.header, *test.title):
            text = re.sub(r"`[^`]*`", "", str(item.value))
            assert not re.search(r"(?<!\\)<", text), text
            assert "](javascript" not in text


def test_a_damaged_report_is_an_error_without_a_traceback(
    page: Page, scans: dict[str, str], engine: JobEngine
) -> None:
    (engine.job(scans["clean"]).run_folder / "report.json").write_text("{")
    test = page("verdict", scan=scans["clean"])
    assert not test.exception
    assert "missing or damaged" in words(test) and "Traceback" not in words(test)


def test_an_unexpected_error_shows_a_number_only(
    page: Page, scans: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_run(folder: Path) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(cache, "run", no_run)
    test = page("verdict", scan=scans["clean"])
    assert not test.exception
    assert "server's log" in words(test) and "secret" not in words(test)
