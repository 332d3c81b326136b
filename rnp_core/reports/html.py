"""The report as one HTML file that works offline, and the same text prepared for paper."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files

from rnp_core.errors import ReportError
from rnp_core.reports.charts import plotly_script, specification
from rnp_core.reports.text import number, percent, shown, size
from rnp_core.reports.view import IN_GRID, MOST_SAMPLES, ReportView, build_view
from rnp_core.reports.wording import STAGE_WORDS
from rnp_core.run_reader import RunFolder
from rnp_core.taxonomy import ATLAS_NAMES, CWE_NAMES, OWASP_NAMES


def write_html(run: RunFolder) -> bytes:
    """The report as one file: pictures, styles and scripts are in it, and it loads nothing.

    Charts are interactive where the plotly package is installed when the file is written, else
    still drawings. Below 10 MB, whatever the scan.

    Raises:
        ReportError: when jinja2 is not installed, or the report holds values of the wrong kind.
    """
    return page(run, paper=False).encode("utf-8", "replace")


def page(run: RunFolder, *, paper: bool) -> str:
    """The HTML text. For ``paper`` it has a table of contents, no scripts, and page styles.

    Raises:
        ReportError: when jinja2 is not installed, or the report holds values of the wrong kind.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise ReportError(
            "an HTML or PDF report needs the package jinja2; install it with: pip install jinja2"
        ) from None
    from rnp_core.reports.svg import draw

    environment = Environment(
        loader=PackageLoader("rnp_core.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shown=shown, percent=percent, number=number, size=size, draw=draw)
    try:
        view = build_view(run, most_samples=IN_GRID if paper else MOST_SAMPLES)
        scripts = [] if paper else _scripts(view)
        return environment.get_template("report.html.jinja").render(
            view=view,
            report=view.report,
            paper=paper,
            style=Markup(_resource("report.css") + (_resource("paper.css") if paper else "")),
            scripts=[Markup(script) for script in scripts],
            chart_data=Markup(_chart_data(view)) if scripts else None,
            hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'",
            stage_words=STAGE_WORDS,
            catalogue={**ATLAS_NAMES, **OWASP_NAMES, **CWE_NAMES},
        )
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise ReportError(f"the report holds a value of the wrong kind: {shown(error)}") from error


def _scripts(view: ReportView) -> list[str]:
    """Plotly's script and the one that draws the charts with it; none without charts."""
    plotly = plotly_script()
    if plotly is None or not view.figures:
        return []
    return [plotly, _resource("report.js")]


def _chart_data(view: ReportView) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps({name: specification(figure) for name, figure in view.figures.items()})
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _resource(name: str) -> str:
    return files("rnp_core.reports").joinpath("templates", name).read_text(encoding="utf-8")
