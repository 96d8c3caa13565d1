# SPDX-License-Identifier: LGPL-2.1-or-later
"""status.json: what a capture tried, with which result. Written in the dump kernel, read after the next boot."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
FILE = "status.json"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that the capture tried."""

    name: str
    ok: bool
    seconds: float
    bytes: int = 0
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the dump kernel had and needed, in KiB.

    `given` is all memory that it found, so about what was reserved; `total` its MemTotal, which lacks what the kernel
    took for itself; `peak_used` is `total` minus the lowest MemAvailable seen.
    """

    given: int = 0
    total: int = 0
    peak_used: int = 0
    lowest_available: int = 0


@dataclass(kw_only=True)
class Status:
    """The story of one capture; it grows step by step, and is on disk from the first saved byte on.

    `crash_loop` says why only the log was saved, when the machine had crashed again and again; else it is empty.
    """

    started: str
    kernel: str
    store: str = ""
    steps: list[Step] = field(default_factory=list)
    memory_kib: Memory = field(default_factory=Memory)
    seconds: float = 0.0
    uptime: float = 0.0
    final_action: str = ""
    crash_loop: str = ""

    @property
    def dmesg_saved(self) -> bool:
        return self.saved("dmesg")

    def saved(self, name: str) -> bool:
        """Whether a step of this name has worked."""
        return any(step.name == name and step.ok for step in self.steps)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, "dmesg_saved": self.dmesg_saved, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Status":
        """The status in the text of a status.json; what an older kdumpd did not write keeps its default.

        Raises:
            ValueError: it is not such a text.
        """
        try:
            found: dict[str, Any] = dict(json.loads(text))
            return cls(
                started=str(found["started"]),
                kernel=str(found["kernel"]),
                store=str(found.get("store", "")),
                steps=[Step(**step) for step in found.get("steps", [])],
                memory_kib=Memory(**found.get("memory_kib", {})),
                seconds=float(found.get("seconds", 0)),
                uptime=float(found.get("uptime", 0)),
                final_action=str(found.get("final_action", "")),
                crash_loop=str(found.get("crash_loop", "")),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a status.json of version {VERSION}: {problem!r}") from problem
