"""Seconds, memory and multiply-adds of every stage of a scan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnp_core.pipeline import ScanResult, scan
from rnp_core.stage_log import StageLog, T


class StageMeter:
    """What every stage of a scan takes beside seconds.

    Attributes:
        peak_mib: largest resident memory while a stage ran, looked up every 10 ms; with a GPU, the
            largest memory allocated there.
        multiply_adds: of the stage, where ``counter`` counts them.
    """

    _PAUSE = 0.01

    def __init__(self, device: torch.device, counter: FlopCounterMode | None = None) -> None:
        self.peak_mib: dict[str, float] = {}
        self.multiply_adds: dict[str, int] = {}
        self._device, self._counter = device, counter

    def scan(self, *arguments: Any, **settings: Any) -> ScanResult:
        """:func:`rnp_core.scan`, measured."""
        meter = self

        class MeasuredLog(StageLog):
            def run(self, name: str, stage: Callable[[], T]) -> T | None:
                return meter._measure(name, lambda: super(MeasuredLog, self).run(name, stage))

        with patch("rnp_core.pipeline.StageLog", MeasuredLog):
            return scan(*arguments, **settings)

    def _measure(self, name: str, stage: Callable[[], T]) -> T:
        before = self._counter.get_total_flops() if self._counter else 0
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        over, process, highest = threading.Event(), psutil.Process(), 0

        def look() -> None:
            nonlocal highest
            while True:
                highest = max(highest, process.memory_info().rss)
                if over.wait(self._PAUSE):
                    return

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            return stage()
        finally:
            over.set()
            watcher.join()
            peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else highest
            self.peak_mib[name] = round(peak / (1 << 20), 1)
            if self._counter:
                done = self._counter.get_total_flops() - before
                self.multiply_adds[name] = done // 2
