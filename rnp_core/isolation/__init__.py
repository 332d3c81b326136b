"""Running work on untrusted files in a child process with few rights and firm limits."""

from rnp_core.errors import IsolationError
from rnp_core.isolation.limits import INSPECT_LIMITS, SCAN_LIMITS, IsolationLimits
from rnp_core.isolation.run import run_isolated
from rnp_core.isolation.typed import isolated_inspect, isolated_scan, read_left_report

__all__ = [
    "INSPECT_LIMITS",
    "SCAN_LIMITS",
    "IsolationError",
    "IsolationLimits",
    "isolated_inspect",
    "isolated_scan",
    "read_left_report",
    "run_isolated",
]
