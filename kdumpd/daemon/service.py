# SPDX-License-Identifier: LGPL-2.1-or-later
"""What org.kdumpd1.xml describes: who may do what, and what does it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any

from kdumpd.apply.look import is_private
from kdumpd.daemon.authority import authorize, identify
from kdumpd.daemon.bus import Bus
from kdumpd.daemon.call import Call
from kdumpd.daemon.changes import ACTIONS, Outcome, change
from kdumpd.daemon.jobs import Jobs
from kdumpd.daemon.loop import Mailbox
from kdumpd.daemon.told import check_json, crash_contents, crashes, plan_json, read_properties
from kdumpd.daemon.worker import Work, Worker
from kdumpd.errors import BusyError, NotAuthorizedError

# A client that asks for all properties one by one gets them from one look.
FRESH_SECONDS = 1.0


class Tell(Enum):
    """Whether systemd's status becomes what a look finds. NOTHING: the job has told more than a look can tell."""

    ALWAYS = auto()
    CHANGES = auto()
    NOTHING = auto()


class Service:
    """The backend of the bus. Looks at this machine in a thread of its own: a job may take minutes, an answer may not."""

    def __init__(
        self,
        root: Path,
        policy_file: Path,
        jobs: Jobs,
        mailbox: Mailbox,
        *,
        on_settled: Callable[[], None],
        on_change: Callable[[str], None],
    ) -> None:
        self._root = root
        self._policy_file = policy_file
        self._jobs = jobs
        self._reader = Worker("reader", mailbox)
        self._snapshot = Snapshot(partial(read_properties, root, policy_file))
        self._told: Mapping[str, Any] = {}
        # What a look has found last, in one line.
        self._summary: str | None = None
        self._untold_crashes: list[dict[str, str]] = []
        self._on_settled = on_settled
        self._on_change = on_change
        self._bus = Bus(self, mailbox, self._settled)

    def start(self) -> None:
        self._bus.connect()

    def refresh(self, done: Callable[[Mapping[str, Any] | Exception], None]) -> None:
        self._look(done, Tell.CHANGES)

    def call(self, method: str, arguments: tuple[Any, ...], call: Call) -> None:
        if method in ACTIONS:
            authorize(call, ACTIONS[method], partial(self._queue, method, call))
        elif method == "Plan":
            identify(call, partial(self._plan, call))
        elif method == "Check":
            self._read(call, partial(check_json, self._root, self._policy_file))
        elif method == "ListCrashes":
            self._read(call, partial(crashes, self._root))
        elif method == "GetCrash":
            identify(call, partial(self._show_crash, call, *arguments))

    def machine_changed(self, tell: Tell) -> None:
        """After a job: no answer may come from an older look, and who listens is told what is different; `tell` is for systemd."""
        self._snapshot.invalidate()
        with contextlib.suppress(BusyError):
            # So many ask that the next of them will find out.
            self._look(lambda _: None, tell)

    def crash_found(self, crash: dict[str, str]) -> None:
        self._untold_crashes.append(crash)
        self._tell_crashes()

    def stop(self) -> None:
        self._bus.flush()

    def _queue(self, method: str, call: Call) -> None:
        work = partial(change, method, self._root, self._policy_file)
        call.answer(self._jobs.add(method, work, partial(self._job_done, method), from_caller=True))

    def _job_done(self, method: str, number: int, result: Outcome | Exception) -> None:
        outcome = result if isinstance(result, Outcome) else Outcome(ok=False, message=f"internal error: {result}")
        self._bus.job_done(number, method, outcome.ok, outcome.message, outcome.hint)
        self.machine_changed(Tell.ALWAYS)

    def _plan(self, call: Call, uid: int) -> None:
        read = partial(self._read, call, partial(plan_json, self._root, self._policy_file, details=uid == 0))
        if uid != 0 and is_private(self._policy_file):
            # Who may apply a policy may also see what that would change.
            authorize(call, ACTIONS["Apply"], read)
        else:
            read()

    def _show_crash(self, call: Call, name: str, uid: int) -> None:
        if uid != 0:
            raise NotAuthorizedError("only root may see what was saved of a crash", hint="see what there is: ListCrashes()")
        self._read(call, partial(crash_contents, self._root, name))

    def _read(self, call: Call, work: Work) -> None:
        def answer(found: Any) -> None:
            if isinstance(found, Exception):
                raise found
            call.answer(found)

        self._reader.submit(work, partial(call.guard, answer))

    def _settled(self) -> None:
        self._tell_crashes()
        self._on_settled()

    def _look(self, done: Callable[[Mapping[str, Any] | Exception], None], tell: Tell) -> None:
        def looked(found: Mapping[str, Any] | Exception) -> None:
            if not isinstance(found, Exception):
                self._tell_changes(found)
                self._sum_up(found, tell)
            done(found)

        self._reader.submit(self._snapshot.get, looked)

    def _sum_up(self, now: Mapping[str, Any], tell: Tell) -> None:
        before, self._summary = self._summary, _summary(now)
        if tell is Tell.ALWAYS or (tell is Tell.CHANGES and before not in (None, self._summary)):
            self._on_change(self._summary)

    def _tell_changes(self, now: Mapping[str, Any]) -> None:
        changed = {name: value for name, value in now.items() if self._told and self._told[name] != value}
        self._told = now
        if changed:
            self._bus.properties_changed(changed)

    def _tell_crashes(self) -> None:
        if self._bus.is_up:
            for crash in self._untold_crashes:
                self._bus.crash_found(crash)
            self._untold_crashes.clear()


def _summary(now: Mapping[str, Any]) -> str:
    """The state in one line, for systemd's status."""
    first = now["Problems"][0][0] if now["Problems"] else ""
    if not now["Armed"]:
        return f"not armed: {first}"
    return f"armed, but {first}" if first else "armed"


class Snapshot:
    """One look at this machine, for all who ask within a second. `get` belongs into the reader's thread."""

    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look
        self._generation = 0
        # Of which generation the last look is, and until when it serves.
        self._valid = (-1, 0.0)
        self._found: Mapping[str, Any] = {}

    def get(self) -> Mapping[str, Any]:
        now, generation = time.monotonic(), self._generation
        if self._valid[0] != generation or now >= self._valid[1]:
            self._found = self._look()
            # A job that ended while it looked has begun another generation.
            self._valid = (generation, now + FRESH_SECONDS)
        return self._found

    def invalidate(self) -> None:
        self._generation += 1
