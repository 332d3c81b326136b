"""All scans: find, open, decide, compare, delete, import."""

import streamlit as st

from dashboard import cache, state
from dashboard.views import frame, history

PER_PAGE = 100

engine = cache.engine()
with st.container(horizontal=True, vertical_alignment="bottom"):
    frame.render_header("History", "Every scan stays here until you delete it.")
    archive = history.render_import()
if archive is not None and state.get("imported") != archive.file_id:
    state.put("imported", archive.file_id)
    state.go("verdict", scan=cache.import_run(archive))

text = state.parameter("q")
which = {
    field: state.one_of(field, words, "") or None for field, (_, words) in history.NARROWED.items()
}
history.render_filters(lambda name: state.linked(name, {"q": text, **which}[name]))
narrowed = any((text, *which.values()))
total = engine.count(text=text, **which)
if not total:
    if narrowed:
        frame.render_empty(":material/search_off:", "No scan fits",
                           "Change the search or the filter.")
    else:
        frame.render_empty(":material/history:", "No scan yet",
                           "", page="scan", label="Start a scan")
    st.stop()

pages = -(-total // PER_PAGE)
page = st.pagination(pages, key="history-page") if pages > 1 else 1
jobs = engine.jobs(text=text, **which, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
history.render_total(len(jobs), total)
picked = history.render_table(jobs, key=f"history-{text}-{which}-{page}-{total}")
history.render_chosen(
    [jobs[row] for row in picked], archive=cache.export_run,
    on_delete=frame.told(engine.delete), on_resume=frame.told(engine.resume),
    on_cancel=frame.told(engine.cancel),
)
