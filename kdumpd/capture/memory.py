# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures how much memory the capture needed, so that the reservation can be judged by facts."""

import os
import threading
from pathlib import Path

from .status import Memory

INTERVAL = 0.1


class MemoryMeter:
    """Samples /proc/meminfo in a thread from its creation on."""

    def __init__(self, proc: Path) -> None:
        self._meminfo = proc / "meminfo"
        self._given = _present_memory(proc / "zoneinfo")
        self._total, self._lowest = 0, 0
        self._sample()
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self) -> Memory:
        """The peak so far; zeros when /proc/meminfo could not be read."""
        self._sample()
        peak = self._total - self._lowest
        return Memory(given=self._given, total=self._total, lowest_available=self._lowest, peak_used=peak)

    def stop(self) -> None:
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        try:
            fields = dict(line.split(":", 1) for line in self._meminfo.read_text().splitlines() if ":" in line)
            total, available = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        except (OSError, KeyError, ValueError):
            return
        self._total = total
        self._lowest = min(available, self._lowest or available)


def _present_memory(zoneinfo: Path) -> int:
    """KiB of physical memory in all zones; 0 when that can't be read."""
    try:
        words = [line.split() for line in zoneinfo.read_text().splitlines()]
        pages = sum(int(line[1]) for line in words if len(line) == 2 and line[0] == "present")  # noqa: PLR2004 - name and value
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
