# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of the faults in a log ended the kernel."""

from collections.abc import Sequence

from kdumpd.crashes.text.block import LOCKUPS, Block, is_fatal_alone
from kdumpd.crashes.text.grammar import OOPS_ENDS, SHORTEST_PANIC, Role
from kdumpd.crashes.text.lost import is_panic, is_report, lost_is_fatal, lost_kind
from kdumpd.crashes.text.model import Kind

# A kernel that goes on for so long after an oops has survived it: seconds, or bytes of log where it has no times.
SURVIVED_SECONDS = 10.0
SURVIVED_BYTES = 16 << 10
# One scan finds many hung tasks, one stall is told by many CPUs, and then the panic comes.
SAME_SECONDS = 10.0
# What comes before these panics is a report of what they name.
_NAMED_BY_PANIC = LOCKUPS | {Kind.HUNG_TASK, Kind.WARN_PANIC}


def find_fatal(blocks: Sequence[Block], *, headless: bool) -> tuple[Block | None, Block | None]:
    """The fault that ended the kernel, and the panic that followed from it. `headless`: the log's beginning is lost."""
    for number, block in enumerate(blocks):
        if block.role is Role.OOPS and not _survived(block, blocks[number + 1 :]):
            return block, next((later for later in blocks[number + 1 :] if later.role is Role.PANIC), None)
        if block.role is Role.PANIC:
            cause = _cause(block, blocks[:number]) or (_lost_cause(block, blocks[:number]) if headless else None)
            return cause or block, block
    # A part of a log that begins in the middle of a fault.
    lost = next((block for block in blocks[:1] if block.role is Role.LOST), None)
    if lost and lost_is_fatal(lost):
        return lost, None
    suspect = next((block for block in blocks if block.role is Role.SUSPECT), None)
    return suspect or (lost if lost and lost.place and lost.registers and not is_report(lost) else None), None


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
    if (passed := _passed(oops.last_seconds, oops.last_clock, block)) is None:
        return block.offset - oops.last_offset > SURVIVED_BYTES
    return passed > SURVIVED_SECONDS


def _passed(seconds: float | None, clock: int | None, block: Block) -> float | None:
    """Seconds from a time to the beginning of a fault: by uptime, or else by the clock of the log daemon."""
    if seconds is not None and block.seconds is not None:
        return block.seconds - seconds
    if clock is None or block.clock is None:
        return None
    # A clock that went back is at the first day of the next month.
    return block.clock - clock if block.clock >= clock else float("inf")


def _cause(panic: Block, earlier: Sequence[Block]) -> Block | None:
    """The fault that a panic names: with the same kind, at the same time; for a warning, the last of this thread."""
    if OOPS_ENDS.search(panic.panic or "") and panic.kind is Kind.PANIC_OTHER:
        return next(
            (block for block in reversed(earlier) if block.role is Role.LOST and block.place and _within(block, panic)), None
        )
    if not panic.panic or len(panic.panic) < SHORTEST_PANIC:
        # The log ends in the middle of what the panic says.
        near = [block for block in earlier if block.role in (Role.SUSPECT, Role.WARNING) and _within(block, panic)]
        return next((block for block in near if block.role is Role.SUSPECT), near[-1] if near else None)
    own = [block for block in earlier if block.kind is panic.kind and block.role in (Role.SUSPECT, Role.WARNING)]
    if panic.kind is Kind.WARN_PANIC:
        same = [block for block in own if (block.caller, block.cpu) in ((panic.caller, panic.cpu), (panic.caller, None))]
        return next(reversed(same or own), None)
    recent = [block for block in own if _within(block, panic)]
    return next(iter(recent), None) or next(reversed(own), None)


def _lost_cause(panic: Block, earlier: Sequence[Block]) -> Block | None:
    """The rest of the fault that a panic names, where the log begins in the middle of it."""
    lost = [block for block in earlier if block.role is Role.LOST and (block.place or block.trace) and _within(block, panic)]
    if panic.kind in _NAMED_BY_PANIC:
        return next((block for block in lost if lost_kind(block) in (panic.kind, None)), None)
    if OOPS_ENDS.search(panic.panic or ""):
        return next((block for block in lost if not is_report(block)), None)
    # Only the panic's own last line is left of what it said.
    return next((block for block in lost if is_panic(block)), None)


def _within(block: Block, panic: Block) -> bool:
    if (passed := _passed(block.seconds, block.clock, panic)) is None:
        return panic.offset - block.offset < SURVIVED_BYTES
    return passed < SAME_SECONDS
