# SPDX-License-Identifier: LGPL-2.1-or-later
"""What changes this machine: one job after the other."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdumpd.daemon.loop import Mailbox
from kdumpd.daemon.worker import Work, Worker
from kdumpd.errors import BusyError

JobDone = Callable[[int, Any], None]
MAX_WAITING = 4


@dataclass(frozen=True, kw_only=True)
class Job:
    """`done` is called in the loop with the number and what `work` returned, or the exception."""

    number: int
    name: str
    work: Work
    done: JobDone


class Jobs:
    """A queue. What is asked for a second time, before the first has begun, is done once."""

    def __init__(self, mailbox: Mailbox, on_idle: Callable[[], None]) -> None:
        self._worker = Worker("jobs", mailbox)
        self._on_idle = on_idle
        self._running: Job | None = None
        self._waiting: deque[Job] = deque()
        self._last_number = 0
        self._closed = False

    @property
    def is_idle(self) -> bool:
        return self._running is None

    def add(self, name: str, work: Work, done: JobDone, *, from_caller: bool = False) -> int:
        """Starts the job when those before it are done. Returns its number.

        Raises:
            BusyError: the queue is closed; or a caller asks for it, and too many are waiting already. What the daemon wants
                itself always gets its turn.
        """
        if self._closed:
            raise BusyError("kdumpd is stopping", hint="the dump kernel stays loaded; systemctl start kdumpd")
        # Only the last in the queue: after "arm, disarm", another "arm" is no repetition.
        if self._waiting and self._waiting[-1].name == name:
            return self._waiting[-1].number
        if from_caller and len(self._waiting) >= MAX_WAITING:
            names = ", ".join(job.name for job in self._waiting)
            raise BusyError(f"{len(self._waiting)} jobs are waiting already: {names}", hint="wait for their JobDone")
        self._last_number += 1
        self._waiting.append(Job(number=self._last_number, name=name, work=work, done=done))
        self._start()
        return self._last_number

    def close(self) -> None:
        """Only what runs now is brought to its end."""
        self._closed = True
        self._waiting.clear()

    def _start(self) -> None:
        if self._running is None and self._waiting:
            self._running = self._waiting.popleft()
            self._worker.submit(self._running.work, self._ended)

    def _ended(self, result: object) -> None:
        job, self._running = self._running, None
        self._start()
        if job is not None:
            job.done(job.number, result)
        if self.is_idle:
            self._on_idle()
