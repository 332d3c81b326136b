"""``python -m tests.rnp_core.jobs.program HOME [--scheduler S] [--workers N] [--stand-ins]``:
a program that runs the jobs of a home until it is killed."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rnp_core.jobs import JobEngine
from rnp_core.jobs.attempt import TASKS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("--scheduler")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stand-ins", action="store_true")
    options = parser.parse_args()
    if options.stand_ins:
        for kind in ("scan", "triage"):
            TASKS[kind] = f"tests.rnp_core.jobs.tasks:{kind}"
    with JobEngine(options.home, scheduler=options.scheduler, workers=options.workers):
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
