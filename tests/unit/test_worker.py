# SPDX-License-Identifier: LGPL-2.1-or-later
"""The threads of the daemon, and the way back into its loop."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gi.repository import GLib

from kdumpd.daemon.loop import Alarm, Mailbox
from kdumpd.daemon.service import Snapshot
from kdumpd.daemon.worker import MAX_WAITING, Worker
from kdumpd.errors import BusyError, HostError


def loop_until(ready: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end
        GLib.MainContext.default().iteration(False)
        time.sleep(0.001)


def test_what_a_worker_returns_or_raises_comes_back_in_the_loop(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker("test", Mailbox())
    found: list[Any] = []
    threads: set[threading.Thread] = set()

    def done(result: object) -> None:
        threads.add(threading.current_thread())
        found.append(result)

    def fail() -> None:
        raise HostError("no /proc")

    worker.submit(lambda: 42, done)
    worker.submit(fail, done)
    worker.submit(Path("/nonexistent").read_text, done)
    worker.submit(lambda: 1 // 0, done)
    loop_until(lambda: len(found) == 4)

    assert found[0] == 42
    assert str(found[1]) == "no /proc"
    assert str(found[2]) == "/nonexistent: No such file or directory"
    assert isinstance(found[2], HostError)
    assert isinstance(found[3], ZeroDivisionError)
    assert threads == {threading.current_thread()}
    # A defect is told whole, and only that.
    assert capfd.readouterr().err.count("Traceback") == 1


def test_a_worker_that_hangs_does_not_gather_work_without_end() -> None:
    worker = Worker("test", Mailbox())
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    worker.submit(hang, lambda result: None)
    begun.wait()
    for _ in range(MAX_WAITING):
        worker.submit(lambda: None, lambda result: None)

    with pytest.raises(BusyError, match="requests are waiting already"):
        worker.submit(lambda: None, lambda result: None)
    go_on.set()


def test_letters_posted_by_threads_are_all_opened_in_order() -> None:
    mailbox = Mailbox()
    opened: list[tuple[int, int]] = []

    def post(name: int) -> None:
        for number in range(20_000):
            mailbox.post(opened.append, (name, number))

    threads = [threading.Thread(target=post, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    loop_until(lambda: len(opened) == 40_000)

    for name in range(2):
        assert [number for who, number in opened if who == name] == list(range(20_000))


def test_a_letter_that_is_a_defect_does_not_keep_the_next_one_shut(capfd: pytest.CaptureFixture[str]) -> None:
    mailbox = Mailbox()
    opened: list[str] = []
    mailbox.post({}.__getitem__, "nothing")
    mailbox.post(opened.append, "second")
    loop_until(lambda: opened)

    assert "KeyError" in capfd.readouterr().err


def test_an_alarm_rings_at_the_time_that_was_set_last() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(time.monotonic()))
    began = time.monotonic()
    alarm.set(60)
    alarm.set(0.1)
    loop_until(lambda: rung)

    assert 0.1 <= rung[0] - began < 2


def test_one_look_serves_all_who_ask_within_a_second() -> None:
    numbers = itertools.count(1)
    snapshot = Snapshot(lambda: {"looks": next(numbers)})

    assert [snapshot.get()["looks"] for _ in range(3)] == [1, 1, 1]
    snapshot.invalidate()
    assert snapshot.get()["looks"] == 2


def test_a_look_that_began_before_a_job_ended_serves_nobody_afterwards() -> None:
    numbers = itertools.count(1)

    def look() -> dict[str, int]:
        number = next(numbers)
        if number == 1:
            snapshot.invalidate()
        return {"looks": number}

    snapshot = Snapshot(look)

    assert [snapshot.get()["looks"] for _ in range(3)] == [1, 2, 2]
