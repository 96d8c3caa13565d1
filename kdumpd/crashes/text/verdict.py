# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of the faults in a log ended the kernel, and what is to be said of it."""

import re
from collections.abc import Iterable, Sequence

from kdumpd.crashes.taint import decode_letters
from kdumpd.crashes.text.block import Block, is_fatal_alone
from kdumpd.crashes.text.boot import Boot
from kdumpd.crashes.text.grammar import OOPS_ENDS, STACK_PROTECTOR, Role
from kdumpd.crashes.text.model import CrashText, Earlier, Frame, Kind, Notes, Process
from kdumpd.crashes.text.signature import DEPTH, make_signature, normalise, relevant

# A kernel that goes on for so long after an oops has survived it: seconds, or bytes of log where it has no times.
SURVIVED_SECONDS = 10.0
SURVIVED_BYTES = 16 << 10
# One scan finds many hung tasks, one stall is told by many CPUs, and then the panic comes.
SAME_SECONDS = 10.0
NULL_PAGE = 4096
_OOPS_TAIL = re.compile(r"(?:: [0-9a-f]{4,16})? \[#\d+\].*$")
# Where no place is named: who asked for it is no news.
_PLACELESS = frozenset({Kind.SYSRQ, Kind.INIT_DIED, Kind.OOM_PANIC, Kind.MACHINE_CHECK})


def choose_boot(boots: Iterable[Boot]) -> Boot:
    """The last boot that died; the dump kernel's own boot only where no other did."""
    ordered = sorted(boots, key=lambda boot: (boot.died, not boot.dump_kernel))
    return ordered[-1]


def decide(boot: Boot) -> CrashText | None:
    """The answer for one boot; None when nothing ended it."""
    blocks = boot.blocks
    fatal, panic = _fatal(blocks)
    if fatal is None:
        return None
    return _tell(boot, fatal, panic, blocks[: blocks.index(fatal)])


def _fatal(blocks: Sequence[Block]) -> tuple[Block | None, Block | None]:
    """The fault that ended the kernel, and the panic that followed from it."""
    for number, block in enumerate(blocks):
        if block.role is Role.OOPS and not _survived(block, blocks[number + 1 :]):
            return block, next((later for later in blocks[number + 1 :] if later.role is Role.PANIC), None)
        if block.role is Role.PANIC:
            cause = _cause(block, blocks[:number])
            return cause or block, block
    suspect = next((block for block in blocks if block.role is Role.SUSPECT), None)
    # A part of a log that begins in the middle of a fault.
    return suspect or next(
        (block for block in blocks[:1] if block.role is Role.LOST and block.place and block.registers), None
    ), None


def _survived(oops: Block, later: Sequence[Block]) -> bool:
    """Whether the kernel went on after it, to die of something else."""
    if not oops.ended:
        return False
    for block in later:
        if block.role is Role.PANIC and OOPS_ENDS.search(block.panic or ""):
            return block.kind is Kind.INIT_DIED and oops.pid not in (1, None) and _long_after(oops, block)
        if is_fatal_alone(block):
            return block.kind is Kind.SYSRQ or _long_after(oops, block)
    return False


def _long_after(oops: Block, block: Block) -> bool:
    if oops.last_seconds is None or block.seconds is None:
        return block.offset - oops.last_offset > SURVIVED_BYTES
    return block.seconds - oops.last_seconds > SURVIVED_SECONDS


def _cause(panic: Block, earlier: Sequence[Block]) -> Block | None:
    """The fault that a panic names: with the same kind, at the same time; for a warning, the last of this thread."""
    if OOPS_ENDS.search(panic.panic or "") and panic.kind is Kind.PANIC_OTHER:
        return next(
            (block for block in reversed(earlier) if block.role is Role.LOST and block.place and _within(block, panic)), None
        )
    own = [block for block in earlier if block.kind is panic.kind and block.role in (Role.SUSPECT, Role.WARNING)]
    if panic.kind is Kind.WARN_PANIC:
        same = [block for block in own if (block.caller, block.cpu) in ((panic.caller, panic.cpu), (panic.caller, None))]
        return next(reversed(same or own), None)
    recent = [block for block in own if _within(block, panic)]
    return next(iter(recent), None) or next(reversed(own), None)


def _within(block: Block, panic: Block) -> bool:
    if block.seconds is None or panic.seconds is None:
        return panic.offset - block.offset < SURVIVED_BYTES
    return panic.seconds - block.seconds < SAME_SECONDS


def _tell(boot: Boot, block: Block, panic: Block | None, earlier: Sequence[Block]) -> CrashText:
    kind = _kind(block)
    place, guessed = _place(block, kind)
    function = normalise(place.function) if place else None
    if function in ("sysrq_handle_crash", "sysrq_handle_crash_key"):
        # Until 4.18 SysRq-c did not panic, it wrote to NULL (commit 8341f2f222d7, "sysrq: Use panic() to force a crash").
        kind = Kind.SYSRQ
    frames = _signature_frames(block, kind, function)
    modules = block.modules or (panic.modules if panic else [])
    letters = block.letters if block.release or panic is None else panic.letters
    about = next((each for each in (block, panic) if each and each.release), block)
    return CrashText(
        kind=kind,
        title=_title(panic if block.role is Role.LOST and panic else block, kind, function, place.module if place else None),
        function=function,
        module=place.module if place else None,
        signature=make_signature(kind, function, frames or (_without_numbers(block),)),
        fatal=is_fatal_alone(block) or panic is not None,
        low_confidence=guessed,
        panic=panic.panic if panic else None,
        address=block.address,
        process=Process(comm=block.comm, pid=block.pid, cpu=block.cpu),
        release=about.release or boot.release,
        hardware=block.hardware or (panic.hardware if panic else None) or boot.hardware,
        uptime=block.seconds,
        taint=None if letters is None else decode_letters(letters, [(module.name, module.flags) for module in modules]),
        trace=tuple(block.trace or (panic.trace if panic else ())),
        frames=frames,
        registers=block.registers,
        code=block.code,
        modules=tuple(modules),
        before=Notes(
            first_fault=_first(earlier),
            hardware_errors=tuple(boot.hardware_errors),
            hardware_error_count=boot.hardware_error_count,
            oom_kills=tuple(boot.oom_kills),
            oom_kill_count=boot.oom_kill_count,
        ),
        ftrace=tuple(boot.ftrace),
        ftrace_lines=boot.ftrace_lines,
        test=boot.test,
    )


def _kind(block: Block) -> Kind:
    """What the first line could not know yet."""
    if block.kind not in (Kind.NULL_DEREF, Kind.PAGE_FAULT, Kind.GPF):
        return block.kind
    nowhere = block.bare_pc is not None and (block.code is None or "Unable to access" in block.code or "bad " in block.code.lower())
    if block.fetch or nowhere:
        return Kind.WILD_JUMP
    if block.kind is Kind.PAGE_FAULT and block.header.get("number") and block.address and int(block.address, 16) < NULL_PAGE:
        return Kind.NULL_DEREF
    return block.kind


def _place(block: Block, kind: Kind) -> tuple[Frame | None, bool]:
    """Where it happened, and whether that is a guess."""
    if block.place and block.place[0] and kind is not Kind.WILD_JUMP and kind is not Kind.HUNG_TASK:
        return Frame(block.place[0], block.place[1], True), False
    if found := STACK_PROTECTOR.search(block.panic or ""):
        return Frame(found["function"] or found["bare"], found["module"], True), False
    if _comes_from_nowhere(block):
        return None, False
    if kind is Kind.WILD_JUMP and block.link:
        # The trace of arm64 leaves out the function that made the last call (arch/arm64/kernel/stacktrace.c).
        return Frame(*block.link, True), False
    for sure in (True, False):
        frames = (frame for frame in block.trace if frame.reliable is sure and not frame.function.startswith("0x"))
        if near := relevant(frames, kind):
            return near[0], not sure
    return None, False


def _signature_frames(block: Block, kind: Kind, function: str | None) -> tuple[str, ...]:
    if _comes_from_nowhere(block):
        return ()
    near = relevant((frame for frame in block.trace if frame.reliable), kind)
    names = [normalise(frame.function) for frame in near]
    if function and function not in names[:1]:
        names.insert(0, function)
    return tuple(names[:DEPTH])


def _comes_from_nowhere(block: Block) -> bool:
    """Whether the trace shows only what the processor did at the time when the hardware failed."""
    return block.role is Role.PANIC and block.kind is Kind.MACHINE_CHECK


def _without_numbers(block: Block) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "N", block.panic or block.first_line)


def _first(earlier: Sequence[Block]) -> Earlier | None:
    first = next((block for block in earlier if block.role is not Role.LOST), None)
    if first is None:
        return None
    place, _ = _place(first, first.kind)
    function = normalise(place.function) if place else None
    return Earlier(title=_title(first, first.kind, function, place.module if place else None), seconds=first.seconds)


def _title(block: Block, kind: Kind, function: str | None, module: str | None) -> str:
    """One line: what the kernel said first, and where."""
    said = _OOPS_TAIL.sub("", block.first_line.removeprefix("Oops: ")) or block.first_line
    if block.role is Role.WARNING and (where := block.header.get("place")):
        said = f"WARNING at {where}" + (f": {block.message}" if block.message else "")
    elif block.role is Role.WARNING and (what := block.header.get("lockdep")):
        said = f"{said.partition(': ')[0]}: {what}"
    elif block.role is Role.LOST:
        said = "a fault whose first line is not in the log"
    if function is None or kind in _PLACELESS or (block.role is Role.PANIC and module is None):
        return said
    return f"{said.rstrip('.')}, in {function}()" + (f" of module {module}" if module else "")
