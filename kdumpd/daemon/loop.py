# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ways into the GLib loop that may be used as often as one likes.

GLib.idle_add() and GLib.timeout_add() of PyGObject leave 112 bytes behind each time (measured with 3.42). What is here is set up
once.
"""

import contextlib
import importlib
import os
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import gi
from gi.repository import GLib

from kdumpd.daemon.journal import Priority, log

# The longest interval that there is, 49 days.
NEVER = (1 << 32) - 1
# What a callback returns to stay: GLib.SOURCE_CONTINUE, which has no type.
CONTINUE = True


def on_signal(number: int, priority: int, act: Callable[[], bool]) -> None:
    """Lets the loop call `act` after each signal, for as long as that returns True."""
    # PyGObject 3.50 knows the old name only, 3.58 warns of it.
    add = getattr(_glib_unix(), "signal_add", None) or GLib.unix_signal_add
    add(priority, number, act)


def _glib_unix() -> Any:
    """GLibUnix, into which GLib 2.80 moves what only Unix has, or None."""
    try:
        gi.require_version("GLibUnix", "2.0")
        return importlib.import_module("gi.repository.GLibUnix")
    except (ValueError, ImportError):
        return None


class Mailbox:
    """Any thread may have something done in the loop."""

    def __init__(self) -> None:
        self._letters: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        door, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        GLib.io_add_watch(door, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN, self._open)

    def post(self, act: Callable[..., None], *arguments: Any) -> None:
        self._letters.append((act, arguments))
        # A full pipe rings, too.
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"\0")

    def _open(self, door: int, _condition: Any) -> bool:
        os.read(door, 1 << 16)
        # What is posted from now on rings again.
        for _ in range(len(self._letters)):
            act, arguments = self._letters.popleft()
            try:
                act(*arguments)
            except Exception:  # noqa: BLE001 - a defect must not leave the letters behind it unopened
                log(Priority.ERROR, traceback.format_exc())
        return CONTINUE


class Alarm:
    """Rings at the time that was set last; does not wake anybody up before."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._source = GLib.timeout_source_new(NEVER)
        self._source.set_callback(self._due)
        self._source.attach(None)

    def set(self, seconds: float) -> None:
        """From now."""
        self._source.set_ready_time(GLib.get_monotonic_time() + int(seconds * 1_000_000))

    def _due(self, *_: Any) -> bool:
        self._ring()
        return CONTINUE
