# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a crash means, in three lines, and what to do now."""

from collections.abc import Iterator

from kdumpd.crashes.archive import Crash
from kdumpd.crashes.statistics import Seen
from kdumpd.crashes.text.model import CrashText, Kind

WORDS = {
    Kind.NULL_DEREF: "the use of a NULL pointer",
    Kind.PAGE_FAULT: "an access to memory that is not there",
    Kind.GPF: "an access that the processor forbids (general protection fault)",
    Kind.BUG: "a check in its own code that failed (BUG)",
    Kind.WARN_PANIC: "a warning, at which it is told to panic",
    Kind.DIVIDE: "a division by zero",
    Kind.WILD_JUMP: "a jump to where no code is",
    Kind.STACK_OVERFLOW: "a stack that overflowed",
    Kind.DOUBLE_FAULT: "a fault in the handling of a fault",
    Kind.SOFT_LOCKUP: "a processor that was stuck in the kernel (soft lockup)",
    Kind.HARD_LOCKUP: "a processor that took no interrupt any more (hard lockup)",
    Kind.HUNG_TASK: "a process that was stuck in the kernel (hung task)",
    Kind.RCU_STALL: "a processor or a task that held up all others (RCU stall)",
    Kind.OOM_PANIC: "a lack of memory",
    Kind.MACHINE_CHECK: "an error of the hardware (machine check)",
    Kind.INIT_DIED: "the death of init, the first process",
    Kind.SYSRQ: "a crash that was asked for (SysRq)",
    Kind.PANIC_OTHER: "a panic",
}
# The taints of code that the kernel's own developers have not seen: proprietary, forced, out of tree, unsigned.
_FOREIGN = frozenset("PFOE")
_HARDWARE = "what the machine recorded: ras-mc-ctl --errors (package rasdaemon), its BMC's event log; test its memory (memtest86+)"
_REPORTED = "search for the title and the function in the bug tracker of the distribution; try its newest kernel"
_STUCK = "look for what it waited for: storage or a network file system that did not answer, a driver, a starved virtual machine"
ADVICE = {
    Kind.WARN_PANIC: f"{_REPORTED}; a warning ends this machine only because kernel.panic_on_warn is set",
    Kind.DOUBLE_FAULT: f"{_REPORTED}; where it comes at ever new places, suspect the hardware: test its memory (memtest86+)",
    Kind.SOFT_LOCKUP: _STUCK,
    Kind.HARD_LOCKUP: f"{_STUCK}; or the hardware: see the event log of its BMC",
    Kind.HUNG_TASK: _STUCK,
    Kind.RCU_STALL: _STUCK,
    Kind.OOM_PANIC: "find what took the memory: the log lists all processes with their sizes before the end",
    Kind.MACHINE_CHECK: f"look at the machine, not at the kernel: {_HARDWARE}",
    Kind.INIT_DIED: "find what killed init, in the last lines of the log: a broken library or a root file system that went away",
    Kind.SYSRQ: "nothing: somebody asked for this crash",
    Kind.PANIC_OTHER: "read what the panic itself says, and the lines of the log before it",
}


def verdict_lines(crash: Crash, seen: Seen | None) -> tuple[str, str, str]:
    """What died and of what; where, and whose fault; and whether it has happened before."""
    told = crash.report.told if crash.report else None
    if told is None:
        return f"{crash.time}: {crash.verdict}", "nothing is known of where, or of whose fault it was", _often(seen)
    kernel = f"kernel {told.release}" if told.release else "the kernel"
    end = "died of" if told.fatal else "had, and the log does not show that it died of it,"
    return f"{crash.time}: {kernel} {end} {WORDS[told.kind]}: {crash.verdict}", f"{where(told)}; {fault(told)}", _often(seen)


def where(told: CrashText) -> str:
    """The function, its module, and who ran it."""
    if told.function is None:
        place = "the log does not tell where"
    else:
        guess = " (a guess from the stack)" if told.low_confidence else ""
        place = f"in {told.function}()" + (f" of module {told.module}" if told.module else "") + guess
    return f"{place}, run by {who}" if (who := process(told)) else place


def process(told: CrashText) -> str:
    """Who was running, as in: insmod, PID 143, CPU 1."""
    parts = (("", told.process.comm), ("PID ", told.process.pid), ("CPU ", told.process.cpu))
    return ", ".join(f"{label}{value}" for label, value in parts if value is not None)


def fault(told: CrashText) -> str:
    """Whose fault it is, as far as that can be told from here."""
    if told.kind is Kind.SYSRQ:
        return "nobody's fault: it was asked for"
    if told.kind is Kind.MACHINE_CHECK:
        return "the hardware's fault"
    sure = _foreign_suspects(told)
    if sure:
        return f"suspect {', '.join(sure)}: not of the kernel's own modules"
    if told.before.hardware_error_count:
        return "suspect the hardware, which reported errors before"
    own = f"suspect {told.module}, a module of the kernel itself" if told.module else "suspect the kernel itself, or the hardware"
    return own + _bystanders(told)


def _foreign(told: CrashText) -> list[str]:
    return [module.name for module in told.modules if _FOREIGN & set(module.flags)]


def _foreign_suspects(told: CrashText) -> list[str]:
    """The modules that are not of the kernel itself, where it happened or on the way there."""
    involved = {told.module, *(frame.module for frame in told.trace if frame.reliable)}
    return [name for name in _foreign(told) if name in involved]


def _bystanders(told: CrashText) -> str:
    """Modules that may have done the damage before, somewhere else."""
    if foreign := _foreign(told):
        return f"; or what is loaded beside the kernel's own modules: {', '.join(foreign)}"
    if told.taint and _FOREIGN & {blame.flag.letter for blame in told.taint.blames}:
        return "; or a module that is not the kernel's own, but the log does not tell which"
    return ""


def _often(seen: Seen | None) -> str:
    if seen is None:
        return "without a signature nobody can tell whether it has happened before"
    if seen.count > 1:
        return f"{seen.signature}: it has happened {seen.count} times, first {seen.first}, the last time before {seen.before}"
    others = f"{seen.others} other crash{'es' if seen.others > 1 else ''}" if seen.others else "no other crash"
    return f"{seen.signature}: it has not happened before; there {'are' if seen.others > 1 else 'is'} {others} here"


def next_steps(crash: Crash, by_hand: str) -> Iterator[str]:
    """What to do now: advice, then the commands for what there is of this crash. `by_hand` is what reads its memory, if that was
    saved.
    """
    told = crash.report.told if crash.report else None
    if crash.broken:
        yield f"see what is left: ls -l {crash.folder}; the disk may be damaged: fsck, smartctl"
        return
    if crash.test:
        yield "nothing: this was a test; its result: kdumpd status"
        return
    if told is None:
        yield "see what the capture tried: kdumpd crashes show --json; and whether the next one would work: kdumpd check"
    else:
        yield _advice(told)
        if told.before.hardware_error_count and told.kind is not Kind.MACHINE_CHECK:
            yield f"the hardware reported errors before, see {_HARDWARE}"
    if told is None or told.kind is not Kind.SYSRQ:
        yield from _commands(crash, by_hand)


def _advice(told: CrashText) -> str:
    if told.kind not in (Kind.SYSRQ, Kind.MACHINE_CHECK) and (suspects := _foreign_suspects(told)):
        return f"update {', '.join(suspects)}, or do without; the maker, not the distribution, can tell what is wrong there"
    return ADVICE.get(told.kind, _REPORTED)


def _commands(crash: Crash, by_hand: str) -> Iterator[str]:
    if crash.log:
        yield f"read the whole log: kdumpd crashes log {crash.id}"
    if by_hand:
        yield f"look into the memory: kdumpd crashes analyse {crash.id}"
        yield f"or by hand: {by_hand}"
