"""The method in pictures, a glossary, the limits."""

from dashboard.views import frame, guide

frame.render_header("Help", "What the scanner does, what its words mean, and what it cannot see.")
guide.render_method()
guide.render_verdicts()
guide.render_glossary()
guide.render_limits()
