"""The tabs of a finished scan; each has a function ``show(job, report)``."""
