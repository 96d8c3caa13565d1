# SPDX-License-Identifier: LGPL-2.1-or-later
"""One crash, watched from outside: what the console shows when, and when the machine ends."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.vm.guest import Guest

PANIC = "Kernel panic - not syncing"
POLL = 0.02


@dataclass(frozen=True, kw_only=True)
class Crash:
    """Seconds after the line of the panic: for each mark on the console that came, and for the end, None when it never came."""

    marks: Mapping[str, float] = field(default_factory=dict)
    ended: float | None = None
    console: str = ""

    def between(self, first: str, second: str) -> float | None:
        """Seconds from one mark to another; "panic" and "end" are marks too."""
        times = {**self.marks, "panic": 0.0, **({} if self.ended is None else {"end": self.ended})}
        return times[second] - times[first] if first in times and second in times else None


class CrashingGuest(Guest):
    """A guest whose crashes are timed."""

    def crash(self, marks: Mapping[str, re.Pattern[str]], *, deadline: float) -> Crash:
        """Panics, and watches until the machine ends itself, panics a second time, or the deadline (seconds) has passed."""
        self.panic()
        watch = Watch(marks)
        ended = None
        end = time.monotonic() + deadline
        while time.monotonic() < end and ended is None and not watch.died_again:
            event = self._control().wait_event({"SHUTDOWN", "RESET"}, deadline=POLL)
            now = time.monotonic()
            watch.look(self.console(), now)
            ended = now if event else None
        return watch.crash(ended)


class Watch:
    """Notes when something was first seen on a growing console."""

    def __init__(self, marks: Mapping[str, re.Pattern[str]]) -> None:
        self._marks = {"panic": re.compile(PANIC), **marks}
        self._seen: dict[str, float] = {}
        self._console = ""

    @property
    def died_again(self) -> bool:
        """Whether the dump kernel has panicked too, after which some just stand there."""
        return self._console.count(PANIC) > 1

    def look(self, console: str, now: float) -> None:
        if len(console) == len(self._console):
            return
        self._console = console
        for name, mark in self._marks.items():
            if name not in self._seen and mark.search(console):
                self._seen[name] = now

    def crash(self, ended: float | None) -> Crash:
        began = self._seen.get("panic")
        if began is None:
            return Crash(console=self._console)
        marks = {name: seen - began for name, seen in self._seen.items() if name != "panic"}
        return Crash(marks=marks, ended=None if ended is None else ended - began, console=self._console)
