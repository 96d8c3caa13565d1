# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads for what takes its time, so that the loop never waits."""

import traceback
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.loop import Mailbox
from kdumpd.errors import BusyError, KdumpdError, in_words

Work = Callable[[], Any]
Done = Callable[[Any], None]
MAX_WAITING = 200


class Worker:
    """One thread that does one thing after the other, and sleeps when there is nothing to do. The journal is told of defects."""

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._tasks: SimpleQueue[tuple[Work, Done]] = SimpleQueue()
        # A thread that hangs in a read of a dead disk must not keep the process from ending.
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Work, done: Done) -> None:
        """Lets the thread do `work`; the loop then calls `done` with what it returned, or with the exception.

        Raises:
            BusyError: too much is waiting already.
        """
        if self._tasks.qsize() >= MAX_WAITING:
            raise BusyError(f"{MAX_WAITING} requests are waiting already", hint="journalctl -u kdumpd; try again later")
        self._tasks.put((work, done))

    def _run(self) -> None:
        while True:
            self._do(*self._tasks.get())

    def _do(self, work: Work, done: Done) -> None:
        try:
            result = work()
        except (KdumpdError, OSError) as problem:
            result = in_words(problem)
        except Exception as problem:  # noqa: BLE001 - a defect must not end the daemon; whoever asked is told
            log(Priority.ERROR, traceback.format_exc())
            result = problem
        self._mailbox.post(done, result)
