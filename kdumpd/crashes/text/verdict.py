# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be said of the fault that ended the kernel."""

import re
from collections.abc import Iterable, Sequence

from kdumpd.crashes.taint import decode_letters
from kdumpd.crashes.text.block import LOCKUPS, Block, is_fatal_alone
from kdumpd.crashes.text.boot import Boot
from kdumpd.crashes.text.fatal import find_fatal
from kdumpd.crashes.text.grammar import STACK_PROTECTOR, Role
from kdumpd.crashes.text.lost import lost_is_fatal, lost_kind, lost_place
from kdumpd.crashes.text.model import CrashText, Earlier, Frame, Kind, Notes, Process
from kdumpd.crashes.text.signature import DEPTH, is_reporting, make_signature, normalise, relevant

NULL_PAGE = 4096
# The kernel writes all digits of an address; fewer are the end of a log.
WHOLE_ADDRESS = 16
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
    fatal, panic = find_fatal(blocks, headless=boot.release is None)
    if fatal is None:
        return None
    return _tell(boot, fatal, panic, blocks[: blocks.index(fatal)])


def _tell(boot: Boot, block: Block, panic: Block | None, earlier: Sequence[Block]) -> CrashText:
    kind = _kind(block, panic)
    shown = panic if panic and _tells_for(panic, block, kind) else block
    # The trace of a machine check shows only what the processor did at the time.
    nowhere = kind is Kind.MACHINE_CHECK and (block.role is Role.PANIC or (block.role is Role.LOST and block.place is None))
    place, guessed = (None, False) if nowhere else _place(shown, kind)
    function = normalise(place.function) if place else None
    if function in ("sysrq_handle_crash", "sysrq_handle_crash_key"):
        # Until 4.18 SysRq-c did not panic, it wrote to NULL (commit 8341f2f222d7, "sysrq: Use panic() to force a crash").
        kind = Kind.SYSRQ
    frames = () if nowhere else _signature_frames(shown, kind, function)
    modules = block.modules or (panic.modules if panic else [])
    letters = block.letters if block.release or panic is None else panic.letters
    about = next((each for each in (block, panic) if each and each.release), block)
    who = panic if panic and block.comm is None and kind is not Kind.HUNG_TASK else block
    return CrashText(
        kind=kind,
        title=_title(panic if block.role is Role.LOST and panic else block, kind, function, place.module if place else None),
        function=function,
        module=place.module if place else None,
        signature=make_signature(kind, function, frames or (_without_numbers(block),)),
        fatal=is_fatal_alone(block) or panic is not None or (block.role is Role.LOST and lost_is_fatal(block)),
        low_confidence=guessed,
        panic=panic.panic if panic else None,
        address=block.address,
        process=Process(comm=who.comm, pid=who.pid, cpu=who.cpu if block.cpu is None else block.cpu),
        release=about.release or boot.release,
        hardware=block.hardware or (panic.hardware if panic else None) or boot.hardware,
        uptime=block.seconds,
        taint=None if letters is None else decode_letters(letters, [(module.name, module.flags) for module in modules]),
        trace=tuple(block.trace or (panic.trace if panic else ())),
        frames=frames,
        registers=shown.registers,
        code=shown.code,
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


def _tells_for(panic: Block, block: Block, kind: Kind) -> bool:
    """Whether only the panic has the trace: a console that shows what is grave has all of a panic, but one line of a lockup."""
    told = block.place or block.bare_pc or block.trace
    return not told and (kind in LOCKUPS or block.role is Role.OOPS) and panic.cpu in (block.cpu, None)


def _kind(block: Block, panic: Block | None) -> Kind:
    """What the first line could not know yet."""
    kind = block.kind
    if block.role is Role.LOST:
        kind = lost_kind(block) or (panic.kind if panic else kind)
    if kind not in (Kind.NULL_DEREF, Kind.PAGE_FAULT, Kind.GPF):
        return Kind.WILD_JUMP if block.role is Role.LOST and block.fetch else kind
    code = (block.code or "").lower()
    nowhere = block.bare_pc is not None and (not code or "unable to access" in code or "bad " in code or "????" in code)
    if block.fetch or nowhere:
        return Kind.WILD_JUMP
    # Of a page fault, CR2 is the address.
    address = block.address or block.registers.get("CR2")
    if kind is Kind.PAGE_FAULT and address and len(address) == WHOLE_ADDRESS and int(address, 16) < NULL_PAGE:
        return Kind.NULL_DEREF
    return kind


def _place(block: Block, kind: Kind) -> tuple[Frame | None, bool]:
    """Where it happened, and whether that is a guess."""
    known = _known_place(block, kind)
    # An exception that finds no room on the stack is not what filled it.
    if known and not (kind is Kind.STACK_OVERFLOW and is_reporting(known.function)):
        return known, False
    for sure in (True, False):
        frames = (frame for frame in block.trace if frame.reliable is sure and not frame.function.startswith("0x"))
        if near := relevant(frames, kind):
            return near[0], not sure
    return known, False


def _known_place(block: Block, kind: Kind) -> Frame | None:
    """Where the registers or the panic say that it happened."""
    place = Frame(*block.place, True) if block.place else None
    link = Frame(*block.link, True) if block.link else None
    # The trace of arm64 leaves out the function that made the last call (arch/arm64/kernel/stacktrace.c). And it finds an
    # overflow of the stack when it enters the exception (arch/arm64/kernel/entry.S, kernel_ventry).
    if link and (kind is Kind.WILD_JUMP or (kind is Kind.STACK_OVERFLOW and place and is_reporting(place.function))):
        return link
    if place and kind not in (Kind.WILD_JUMP, Kind.HUNG_TASK):
        return place
    if found := STACK_PROTECTOR.search(block.panic or ""):
        return Frame(found["function"] or found["bare"], found["module"], True)
    return lost_place(block) if block.role is Role.LOST else None


def _signature_frames(block: Block, kind: Kind, function: str | None) -> tuple[str, ...]:
    near = relevant((frame for frame in block.trace if frame.reliable), kind)
    names = [normalise(frame.function) for frame in near]
    if function and function not in names[:1]:
        names.insert(0, function)
    return tuple(names[:DEPTH])


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
    said = _OOPS_TAIL.sub("", block.first_line.removeprefix("Oops: "))
    if said in ("", "Internal error: "):
        said = block.first_line
    if block.role is Role.WARNING and (where := block.header.get("place")):
        said = f"WARNING at {where}" + (f": {block.message}" if block.message else "")
    elif block.role is Role.WARNING and (what := block.header.get("lockdep")):
        said = f"{said.partition(': ')[0]}: {what}"
    elif block.role is Role.LOST:
        said = "a fault whose first line is not in the log"
    if function is None or kind in _PLACELESS or (block.role is Role.PANIC and module is None):
        return said
    return f"{said.rstrip('.:')}, in {function}()" + (f" of module {module}" if module else "")
