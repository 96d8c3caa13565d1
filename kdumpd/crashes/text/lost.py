# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a fault was whose first line is not in the log: pstore and the kernel's ring lose the beginning first."""

import re
from itertools import pairwise

from kdumpd.crashes.text.block import Block
from kdumpd.crashes.text.model import Frame, Kind
from kdumpd.crashes.text.signature import is_reporting

# Of an NMI and of an interrupt, what they came from is not to blame (arch/x86/include/asm/idtentry.h).
_EXCEPTION = re.compile(r"asm_exc_(?!nmi|machine_check)\w+$")
_PANIC_FUNCTIONS = frozenset({"panic", "vpanic"})
# Who reports a fault stands on top of its trace; a function that is in the trace of another fault too comes after it.
_REPORTERS = tuple(
    (re.compile(f"(?:{pattern})$"), kind)
    for pattern, kind in (
        (r"sysrq_handle_crash", Kind.SYSRQ),
        (r"watchdog_timer_fn", Kind.SOFT_LOCKUP),
        (r"watchdog_overflow_callback|watchdog_hardlockup_check|watchdog_check_hardlockup_hw", Kind.HARD_LOCKUP),
        (r"check_hung_\w+|hung_task_panic", Kind.HUNG_TASK),
        (r"panic_on_rcu_stall|rcu_sched_clock_irq|rcu_check_callbacks|rcu_dump_cpu_stacks", Kind.RCU_STALL),
        (r"out_of_memory", Kind.OOM_PANIC),
        (r"mce_panic|mce_timed_out|do_machine_check|__ghes_panic|arm64_serror_panic|arm64_is_fatal_ras_serror", Kind.MACHINE_CHECK),
        (r"__warn|check_panic_on_warn|warn_slowpath_\w+|end_report|kasan_report|check_panic_on_warn", Kind.WARN_PANIC),
        (r"handle_stack_overflow|panic_bad_stack|handle_bad_stack", Kind.STACK_OVERFLOW),
        (r"(?:asm_)?exc_double_fault|do_double_fault|double_fault", Kind.DOUBLE_FAULT),
        (r"page_fault_oops|(?:asm_)?exc_page_fault|no_context|__bad_area_nosemaphore|die_kernel_fault", Kind.PAGE_FAULT),
        (r"(?:asm_)?exc_general_protection|do_general_protection|general_protection", Kind.GPF),
        (r"(?:asm_)?exc_divide_error|do_divide_error|divide_error", Kind.DIVIDE),
        (r"(?:asm_)?exc_invalid_op|do_invalid_op|invalid_op|bug_handler", Kind.BUG),
    )
)
# After these the kernel needs no further word to end.
_DEADLY = frozenset(
    {Kind.PAGE_FAULT, Kind.NULL_DEREF, Kind.GPF, Kind.DIVIDE, Kind.BUG, Kind.DOUBLE_FAULT, Kind.WILD_JUMP, Kind.STACK_OVERFLOW}
)


def lost_kind(block: Block) -> Kind | None:
    """The kind that the rest of the fault tells, or None."""
    if block.memory_fault or block.address is not None:
        return Kind.PAGE_FAULT
    if block.comm == "khungtaskd" and is_panic(block):
        return Kind.HUNG_TASK
    for frame in block.trace:
        name = frame.function.partition(".")[0]
        if kind := next((kind for pattern, kind in _REPORTERS if pattern.match(name)), None):
            return kind
        # Only what is above the function that was at fault reports it.
        if frame.reliable and not is_reporting(name):
            return None
    return None


def lost_is_fatal(block: Block) -> bool:
    """Whether it ended the kernel, though no panic follows in the log."""
    return block.fetch or lost_kind(block) in _DEADLY or is_panic(block)


def lost_place(block: Block) -> Frame | None:
    """Where it happened, when the line with the registers is lost as well: the frame that the exception came from."""
    for entry, frame in pairwise(block.trace):
        if _EXCEPTION.match(entry.function) and not frame.function.startswith("0x"):
            return frame
    return None


def is_report(block: Block) -> bool:
    """Whether somebody only asked for the trace: sysrq, or a warning that has no header, as that of a lack of memory."""
    return any(frame.function.startswith("dump_stack") and frame.reliable for frame in block.trace)


def is_panic(block: Block) -> bool:
    """Whether its trace is that of a panic."""
    return any(frame.function in _PANIC_FUNCTIONS for frame in block.trace)
