# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures how much memory the capture needed, so that the reservation can be judged by facts."""

import threading
from pathlib import Path

from .status import Memory

INTERVAL = 0.1


class MemoryMeter:
    """Samples /proc/meminfo in a thread from its creation on."""

    def __init__(self, meminfo: Path) -> None:
        self._meminfo = meminfo
        self._total, self._lowest = 0, 0
        self._sample()
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self) -> Memory:
        """The peak so far; zeros when /proc/meminfo could not be read."""
        self._sample()
        return Memory(total=self._total, lowest_available=self._lowest, peak_used=self._total - self._lowest)

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
