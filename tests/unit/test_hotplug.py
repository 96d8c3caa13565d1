# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory and CPUs that come and go. That real ones are heard of is shown in a virtual machine."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from gi.repository import GLib
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.daemon import hotplug
from kdumpd.daemon.hotplug import Burst, HotplugWatch, open_monitor


def test_a_burst_is_over_a_second_after_its_last_event() -> None:
    assert Burst(10.0, 10.0).and_one_at(10.5).due == 11.5


def test_a_burst_that_does_not_end_is_acted_upon_after_five_seconds() -> None:
    assert Burst(10.0, 14.9).and_one_at(20.0).due == 15.0


@given(st.lists(st.floats(min_value=0, max_value=10), min_size=1))
def test_no_event_waits_longer_than_five_seconds(gaps: list[float]) -> None:
    now = 0.0
    burst = Burst(now, now)
    for gap in gaps:
        now += gap
        if now >= burst.due:
            burst = Burst(now, now)
        burst = burst.and_one_at(now)

        assert now <= burst.due <= burst.first + 5


class FakeMonitor:
    """A pyudev.Monitor whose events a test makes up."""

    def __init__(self) -> None:
        self._ours, self._kernels = socket.socketpair()
        self._events: deque[str] = deque()
        self.overflowed = False
        self.polls = 0

    def tell(self, *actions: str) -> None:
        self._events.extend(actions)
        self._kernels.send(b"." * len(actions))

    def overflow(self) -> None:
        """From now on poll() raises, as pyudev's does."""
        self.overflowed = True
        self._kernels.send(b".")

    def fileno(self) -> int:
        return self._ours.fileno()

    def poll(self, timeout: float) -> SimpleNamespace | None:
        self.polls += 1
        if self.overflowed:
            raise OSError("Error while polling fd: 3")
        if not self._events:
            return None
        self._ours.recv(1)
        return SimpleNamespace(action=self._events.popleft())

    def close(self) -> None:
        self._ours.close()
        self._kernels.close()


class Listening:
    """A HotplugWatch in a real loop, the monitors that it opened, and how often it found a change."""

    def __init__(self) -> None:
        self.monitors: list[FakeMonitor] = []
        self.failures = 0
        self.changes = 0
        self.watch = HotplugWatch(self._changed, open_monitor=self._open)

    def _open(self) -> FakeMonitor:
        if self.failures:
            self.failures -= 1
            raise OSError("no buffer space")
        self.monitors.append(FakeMonitor())
        return self.monitors[-1]

    def _changed(self) -> None:
        self.changes += 1

    def until(self, done: Callable[[], bool], patience: float = 10.0) -> bool:
        context = GLib.MainContext.default()
        end = time.monotonic() + patience
        while not done() and time.monotonic() < end:
            context.iteration(False)
            time.sleep(0.001)
        return done()

    def until_a_change(self) -> bool:
        before = self.changes
        return self.until(lambda: self.changes > before)

    def hears_nothing_more(self) -> bool:
        before = self.changes
        return not self.until(lambda: self.changes > before, patience=4 * hotplug.SETTLE)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr(hotplug, "SETTLE", 0.05)
    monkeypatch.setattr(hotplug, "PAUSE", 0.02)
    listening = Listening()
    yield listening
    listening.watch.stop()
    for monitor in listening.monitors:
        monitor.close()


def test_a_thousand_events_are_one_change(listening: Listening, capfd: pytest.CaptureFixture[str]) -> None:
    listening.watch.start()
    listening.monitors[0].tell(*["online", "offline", "add", "remove"] * 250)

    assert listening.until_a_change()
    assert listening.hears_nothing_more()
    assert capfd.readouterr().err == ("<6>memory or CPUs have come or gone: looking whether the dump kernel must be loaded again\n")


def test_after_a_change_the_next_one_is_heard(listening: Listening) -> None:
    listening.watch.start()
    for _ in range(2):
        listening.monitors[0].tell("online")
        assert listening.until_a_change()

    assert listening.changes == 2


def test_events_that_do_not_end_are_not_waited_for(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "SETTLE", 3600.0)
    monkeypatch.setattr(hotplug, "CAP", 0.2)
    listening.watch.start()
    listening.monitors[0].tell("online")
    assert listening.until_a_change()

    # The next burst is timed by its own first event.
    begin = time.monotonic()
    listening.monitors[0].tell("online")
    assert listening.until_a_change()
    assert time.monotonic() - begin > 0.15


def test_events_that_change_neither_memory_nor_cpus_are_passed_over(listening: Listening) -> None:
    listening.watch.start()
    listening.monitors[0].tell("change", "bind", "unbind", "move")

    assert listening.hears_nothing_more()


def test_lost_events_are_taken_for_a_change_and_listening_goes_on(listening: Listening) -> None:
    listening.watch.start()
    listening.monitors[0].overflow()

    assert listening.until_a_change()
    assert len(listening.monitors) == 2
    listening.monitors[1].tell("offline")
    assert listening.until_a_change()
    # The loop does not turn on a monitor that never reads again.
    assert listening.monitors[0].polls == 1


def test_who_may_not_listen_yet_tries_again_and_then_looks(listening: Listening, capfd: pytest.CaptureFixture[str]) -> None:
    listening.failures = 2
    listening.watch.start()

    assert listening.until_a_change()
    assert len(listening.monitors) == 1
    warning = "<4>cannot hear of memory and CPUs that come and go, will try again: no buffer space\n"
    assert capfd.readouterr().err.count(warning) == 2


def test_a_monitor_that_never_works_is_tried_less_and_less_often(listening: Listening) -> None:
    listening.failures = 1000
    listening.watch.start()
    listening.until(lambda: False, patience=1.0)

    assert 990 < listening.failures < 999


@pytest.mark.parametrize("pending", ["event", "overflow"])
def test_nothing_is_heard_after_the_stop(listening: Listening, pending: str) -> None:
    listening.watch.start()
    if pending == "event":
        listening.monitors[0].tell("online")
    else:
        listening.monitors[0].overflow()
    listening.until(lambda: listening.monitors[0].polls > 0)
    listening.watch.stop()

    assert listening.hears_nothing_more()
    assert len(listening.monitors) == 1


def test_the_kernel_can_be_listened_to() -> None:
    monitor = open_monitor()

    assert monitor.fileno() > 0
    assert monitor.poll(timeout=0) is None
