# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the text of a crash tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from kdumpd.crashes.taint import TaintReport, decode_letters
from kdumpd.decode import decode


class Kind(StrEnum):
    """What the kernel died of."""

    NULL_DEREF = "null-deref"
    PAGE_FAULT = "page-fault"
    GPF = "gpf"
    BUG = "bug"
    WARN_PANIC = "warn-panic"
    DIVIDE = "divide"
    WILD_JUMP = "wild-jump"
    STACK_OVERFLOW = "stack-overflow"
    DOUBLE_FAULT = "double-fault"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    HUNG_TASK = "hung-task"
    RCU_STALL = "rcu-stall"
    OOM_PANIC = "oom-panic"
    MACHINE_CHECK = "machine-check"
    INIT_DIED = "init-died"
    SYSRQ = "sysrq"
    PANIC_OTHER = "panic-other"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a call trace. Not `reliable`: only found on the stack. `interrupt`: on the stack of an interrupt."""

    function: str
    module: str | None
    reliable: bool
    interrupt: bool = False


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded module. `flags` as the kernel writes them: the letters of its taints, + loading, - unloading."""

    name: str
    flags: str


@dataclass(frozen=True, kw_only=True)
class Process:
    """Who was running, or, for a task that hung, who hung."""

    comm: str | None = None
    pid: int | None = None
    cpu: int | None = None


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A fault of the same boot that the kernel survived."""

    title: str
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What else this boot told before its end: the first lines of each sort, and how many there were."""

    first_fault: Earlier | None = None
    hardware_errors: tuple[str, ...] = ()
    hardware_error_count: int = 0
    oom_kills: tuple[str, ...] = ()
    oom_kill_count: int = 0


@dataclass(frozen=True, kw_only=True)
class CrashText:
    """The answer. `fatal` is false for a lockup or a hung task that the log does not show to have ended the kernel.

    `frames` are what the signature is made of. `low_confidence`: the function is a guess from the stack.
    """

    kind: Kind
    title: str
    function: str | None
    module: str | None
    signature: str
    fatal: bool = True
    low_confidence: bool = False
    panic: str | None = None
    address: str | None = None
    process: Process = Process()
    release: str | None = None
    hardware: str | None = None
    uptime: float | None = None
    taint: TaintReport | None = None
    trace: tuple[Frame, ...] = ()
    frames: tuple[str, ...] = ()
    registers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    modules: tuple[Module, ...] = ()
    before: Notes = Notes()
    ftrace: tuple[str, ...] = ()
    ftrace_lines: int = 0
    test: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"taint": self.taint.to_json() if self.taint else None}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "CrashText":
        """What `to_json` has made.

        Raises:
            ValueError: it is something else.
        """
        told = decode(cls, {**found, "taint": None})
        taint = found.get("taint")
        if taint is None:
            return told
        if not isinstance(taint, dict) or not isinstance(letters := taint.get("string"), str):
            raise ValueError(f"the taint is {taint!r:.60}, not an object with a string")
        return replace(told, taint=decode_letters(letters, [(module.name, module.flags) for module in told.modules]))
