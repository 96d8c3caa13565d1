# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crash after crash, each from the same snapshot; one that hangs is a failure, not the end of the benchmark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.bench.crash import Crash, CrashingGuest
from tests.bench.report import UNKNOWN
from tests.bench.tools import KDUMPD, Job, Tool, step_seconds, succeeded
from tests.vm.channel import ChannelError
from tests.vm.guest import TIMEOUT_FACTOR, Guest, VmError

# Several times what the slower one of the two needs, and all that a capture that hangs may hold up the rest.
DEADLINE = 180 * TIMEOUT_FACTOR


def one_crash(guest: CrashingGuest, tool: Tool, snapshot: str, *, before: Callable[[Guest], None] = lambda _: None) -> Crash:
    """A crash of the machine in this snapshot; `before` may still change it. The guest is without power afterwards."""
    guest.kill()
    try:
        guest.restore(snapshot)
        before(guest)
        return guest.crash(tool.marks, deadline=DEADLINE)
    except (VmError, ChannelError, TimeoutError) as problem:
        print(f"  {tool.name}: {problem}", flush=True)
        return Crash()
    finally:
        guest.kill()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One round of one tool. `status` is kdumpd's status.json, empty for kdump-tools, or when there is none."""

    tool: Tool
    job: Job
    crash: Crash
    status: Mapping[str, object] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """What the console says, and for kdumpd what it has put on record too."""
        on_record = self.tool is not KDUMPD or step_seconds(self.status, self.job) is not None
        return succeeded(self.crash, self.job) and on_record

    def __str__(self) -> str:
        end = UNKNOWN if self.crash.ended is None else f"{self.crash.ended:.2f} s"
        marks = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.crash.marks.items())
        return f"  {self.tool.name}, {self.job}: {marks or 'nothing'}, end {end}"
