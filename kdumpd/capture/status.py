# SPDX-License-Identifier: LGPL-2.1-or-later
"""status.json: what a capture tried, with which result. Written in the dump kernel, read after the next boot."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .plain import parse_object, plain, restore

VERSION = 1
FILE = "status.json"


class Step(NamedTuple):
    """One thing that the capture tried, and through which door it had come."""

    name: str
    ok: bool
    seconds: float
    bytes: int = 0
    detail: str = ""
    door: str = ""


class Memory(NamedTuple):
    """What the dump kernel had and needed, in KiB.

    `given` is all memory that it found, so about what was reserved; `total` its MemTotal, which lacks what the kernel
    took for itself; `peak_used` is `total` minus the lowest MemAvailable seen.
    """

    given: int = 0
    total: int = 0
    peak_used: int = 0
    lowest_available: int = 0


class CrashFacts(NamedTuple):
    """What the dead kernel left about itself and its end; None is what it did not."""

    time: str | None = None
    release: str | None = None
    build_id: str | None = None
    kaslr_offset: int | None = None
    page_size: int | None = None


NOTHING_LEFT, NOT_MEASURED = CrashFacts(), Memory()


class Status:
    """The story of one capture, through all its doors; it grows step by step, and is on disk from the first saved byte on.

    `milestones` are seconds since the dump kernel started: `init` and `root` (the initrd began; it had the root file system),
    `python` (this program began), `systemd` (it began once more, through the second door), `log_safe` and `end`.
    `seconds` is the time from `python` to the moment of `uptime`. `crash_loop` says why a machine that crashes again and
    again is powered off.
    """

    def __init__(
        self,
        *,
        started: str,
        kernel: str,
        crash: CrashFacts = NOTHING_LEFT,
        doors: Iterable[str] = (),
        milestones: Mapping[str, float] | None = None,
        store: str = "",
        folder: str = "",
        steps: Iterable[Step] = (),
        memory_kib: Memory = NOT_MEASURED,
        seconds: float = 0.0,
        uptime: float = 0.0,
        crash_loop: str = "",
        final_action: str = "",
    ) -> None:
        self.started = started
        self.kernel = kernel
        self.crash = crash
        self.doors = list(doors)
        self.milestones = dict(milestones or {})
        self.store = store
        self.folder = folder
        self.steps = list(steps)
        self.memory_kib = memory_kib
        self.seconds = seconds
        self.uptime = uptime
        self.crash_loop = crash_loop
        self.final_action = final_action

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def dmesg_saved(self) -> bool:
        return self.saved("dmesg")

    def saved(self, name: str) -> bool:
        """Whether a step of this name has worked."""
        return any(step.name == name and step.ok for step in self.steps)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, "dmesg_saved": self.dmesg_saved, **plain(vars(self))}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Status":
        """Return the status in the text of a status.json; what an older kdumpd did not write keeps its default.

        Raises:
            ValueError: it is no such text.
        """
        found = parse_object(text)
        if missing := [name for name in REQUIRED if name not in found]:
            raise ValueError(f"it has no {missing[0]}")
        return cls(**{name: restore(kind, found[name], name) for name, kind in KINDS.items() if name in found})


REQUIRED = ("started", "kernel")
KINDS: dict[str, Any] = {
    "started": str,
    "kernel": str,
    "crash": CrashFacts,
    "doors": tuple[str, ...],
    "milestones": dict[str, float],
    "store": str,
    "folder": str,
    "steps": tuple[Step, ...],
    "memory_kib": Memory,
    "seconds": float,
    "uptime": float,
    "crash_loop": str,
    "final_action": str,
}
