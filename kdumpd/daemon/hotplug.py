# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hears of memory and CPUs that come and go, and says when it is quiet again. Nothing else knows pyudev."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyudev
from gi.repository import GLib

from kdumpd.daemon.journal import Priority, log

# Memory comes and goes one block after the other: ten thousand events are one change.
SETTLE, CAP = 1.0, 5.0
PAUSE, LONGEST_PAUSE = 0.2, 60.0
# Tools disagree on which of them matter; to look once too often costs nothing, what has not changed is not loaded again.
ACTIONS = {"add", "remove", "online", "offline"}
STAY, LEAVE = True, False


class Event(Protocol):
    """What is used of pyudev.Device."""

    @property
    def action(self) -> str | None: ...


class Monitor(Protocol):
    """What is used of pyudev.Monitor."""

    def fileno(self) -> int: ...

    def poll(self, timeout: float) -> Event | None: ...


def open_monitor() -> Monitor:
    """Listens to the kernel itself, not to what udevd passes on when it is done with the device node and links of an event.

    We need neither, and what sysfs and /proc do not show yet, as the folder of a device that is being removed (drivers/base/core.c,
    device_del), they show when the burst has settled. And the kernel is heard where udevd is not: when it does not run, is
    thousands of events behind, or sends in another network namespace than ours (PrivateNetwork=; what concerns no network
    interface the kernel tells in all of them: lib/kobject_uevent.c, uevent_net_broadcast_untagged).

    Raises:
        OSError: we are not allowed to listen, or there is no memory for it.
    """
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    for subsystem in ("memory", "cpu"):
        monitor.filter_by(subsystem)
    monitor.start()
    return monitor  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Burst:
    """Events that belong together, by the times of the first and of the last, in seconds."""

    first: float
    last: float

    def and_one_at(self, now: float) -> "Burst":
        return Burst(self.first, now)

    @property
    def due(self) -> float:
        """When to act: as soon as it is quiet, and in good time when it never is."""
        return min(self.last + SETTLE, self.first + CAP)


class HotplugWatch:
    """Calls `on_change` in the GLib loop, once for each burst of events. Has no timer while nothing happens."""

    def __init__(self, on_change: Callable[[], None], *, open_monitor: Callable[[], Monitor] = open_monitor) -> None:
        self._on_change = on_change
        self._open_monitor = open_monitor
        self._monitor: Monitor | None = None
        self._pause = PAUSE
        self._burst: Burst | None = None
        # Ids of GLib: what listens, or waits to listen again; and what waits for the end of the burst.
        self._listener = 0
        self._timer = 0

    def start(self) -> None:
        try:
            self._monitor = self._open_monitor()
        except OSError as problem:
            log(Priority.WARNING, f"cannot hear of memory and CPUs that come and go, will try again: {problem}")
            self._start_again_later()
            return
        conditions = GLib.IOCondition.IN | GLib.IOCondition.ERR | GLib.IOCondition.HUP
        self._listener = GLib.io_add_watch(self._monitor.fileno(), GLib.PRIORITY_DEFAULT, conditions, self._read, self._monitor)

    def stop(self) -> None:
        for source in filter(None, (self._listener, self._timer)):
            GLib.source_remove(source)
        self._listener = self._timer = 0
        self._monitor = self._burst = None

    def _read(self, _fd: int, _condition: GLib.IOCondition, monitor: Monitor) -> bool:
        try:
            # All of them, whatever they are: one that stays would wake us again at once.
            actions = {event.action for event in iter(partial(monitor.poll, timeout=0), None)}
        except OSError:
            # There were more events than the socket holds. pyudev never gets over that: poll() raises for ever without reading,
            # and the loop would turn at full speed (pyudev issue 194, open since 2016).
            self._monitor = None
            self._start_again_later()
            return LEAVE
        self._pause = PAUSE
        if actions & ACTIONS:
            self._note()
        return STAY

    def _start_again_later(self) -> None:
        self._listener = GLib.timeout_add(round(self._pause * 1000), self._start_again)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _start_again(self) -> bool:
        self.start()
        if self._monitor:
            # Whatever happened in between, nobody has told us.
            self._note()
        return LEAVE

    def _note(self) -> None:
        now = time.monotonic()
        self._burst = self._burst.and_one_at(now) if self._burst else Burst(now, now)
        if not self._timer:
            self._wait(self._burst.due - now)

    def _wait(self, seconds: float) -> None:
        self._timer = GLib.timeout_add(math.ceil(seconds * 1000), self._look_at_the_clock)

    def _look_at_the_clock(self) -> bool:
        left = self._burst.due - time.monotonic() if self._burst else 0.0
        if left > 0:
            self._wait(left)
            return LEAVE
        self._timer, self._burst = 0, None
        log(Priority.INFO, "memory or CPUs have come or gone: looking whether the dump kernel must be loaded again")
        self._on_change()
        return LEAVE
