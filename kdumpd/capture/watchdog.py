# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hardware watchdog, which ends the machine when this program can't any more."""

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from .console import say

# include/uapi/linux/watchdog.h: _IOWR('W', 6, int), the same number on every architecture. The driver answers with what it set.
WDIOC_SETTIMEOUT = 0xC0045706
TIMEOUT = 60
INTERVAL = 10.0
PATIENCE = 1.0
# Documentation/watchdog/watchdog-api.rst: without this before the close, the timer goes on.
MAGIC_CLOSE = b"V"


class Watchdog:
    """Feeds an open watchdog from a thread, as long as `may_go_on` says so; then the hardware resets the machine."""

    def __init__(self, handle: int, may_go_on: Callable[[], bool]) -> None:
        self._handle = handle
        self._may_go_on = may_go_on
        self._released = threading.Event()
        self._writing = threading.Lock()
        self._interval = min(INTERVAL, _set_timeout(handle) / 3)
        threading.Thread(target=self._feed, daemon=True).start()

    def release(self) -> None:
        """Stops the watchdog, if its driver allows that, so that another program can take it over."""
        # Any write after the magic one would undo it; a driver that hangs in one is not waited for.
        if self._released.is_set() or not self._writing.acquire(timeout=PATIENCE):
            return
        self._released.set()
        with contextlib.suppress(OSError):
            os.write(self._handle, MAGIC_CLOSE)
            os.close(self._handle)
        self._writing.release()

    def _feed(self) -> None:
        while self._may_go_on():
            with self._writing, contextlib.suppress(OSError):
                if self._released.is_set():
                    return
                os.write(self._handle, b"\0")
            self._released.wait(self._interval)


def start_watchdog(device: Path, may_go_on: Callable[[], bool]) -> Watchdog | None:
    """Starts the watchdog; None where there is none, or where it is not ours to use."""
    try:
        return Watchdog(os.open(device, os.O_WRONLY), may_go_on)
    except FileNotFoundError:
        return None
    except OSError as problem:
        say(f"the watchdog can't be used: {problem.strerror}")
        return None


def _set_timeout(handle: int) -> int:
    try:
        (set_to,) = struct.unpack("i", fcntl.ioctl(handle, WDIOC_SETTIMEOUT, struct.pack("i", TIMEOUT)))
    except OSError:
        # It has a fixed one; what was asked for would be an ordinary one.
        return TIMEOUT
    return int(set_to)
