"""Reports in the forms that reviewers and pipelines use, all from the run folder alone.

Nothing in here imports torch or reads a model.
"""

from rnp_core.reports.formats import FORMATS, ReportFormat, render_report

__all__ = ["FORMATS", "ReportFormat", "render_report"]
