# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first lines of faults, as kernels 4.18 to 6.19 write them on x86_64 and arm64."""

import re
from dataclasses import dataclass
from enum import Enum, auto

from kdumpd.crashes.text.model import Kind


class Role(Enum):
    """What a fault does to the kernel."""

    OOPS = auto()  # kills the thread, and with kdump the kernel, at once and without a further word
    SUSPECT = auto()  # kills only if a panic that names it follows
    WARNING = auto()  # the same, and says nothing if none follows
    PANIC = auto()
    LOST = auto()  # the first line is not in the log; counts only if a panic tells that there was one


@dataclass(frozen=True, slots=True)
class Header:
    """A line that begins a fault."""

    role: Role
    kind: Kind
    match: re.Match[str]

    def get(self, name: str) -> str | None:
        """A part of the line, where its grammar has it."""
        return self.match.groupdict().get(name)


_HEX = r"(?:0x)?(?P<address>[0-9a-f]{1,16})\b"
_SYMBOL = r"(?P<function>[\w.$]{1,512})\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>[\w-]{1,64})[^\]]*\])?"
_NUMBER = r"\[#(?P<number>\d{1,9})\]"
# What the processor calls it, and then what we do (arch/x86/kernel/traps.c; "Oops: " is before all of them since 6.8).
_TRAPS = {
    "(?:segment-related )?general protection": Kind.GPF,
    "stack segment": Kind.GPF,
    "divide error": Kind.DIVIDE,
    "invalid opcode": Kind.BUG,
    "stack guard page": Kind.STACK_OVERFLOW,
    "kernel stack overflow": Kind.STACK_OVERFLOW,
    "double fault": Kind.DOUBLE_FAULT,
}
# By the number of the exception: it comes before the traps have names (arch/x86/mm/extable.c, early_fixup_exception()).
_EARLY = {0: Kind.DIVIDE, 6: Kind.BUG, 8: Kind.DOUBLE_FAULT, 12: Kind.GPF, 13: Kind.GPF, 14: Kind.PAGE_FAULT}
_HEADERS = tuple(
    (role, kind, re.compile(pattern))
    for role, kind, pattern in (
        # The last line of panic() says it once more, and is what is left where the beginning was lost.
        (Role.PANIC, Kind.PANIC_OTHER, r"---\[ end Kernel panic - not syncing: ?(?P<panic>.*?)(?: \]?-*)?$"),
        (Role.PANIC, Kind.PANIC_OTHER, r"Kernel panic - not syncing(?:$|: ?(?P<panic>.*))"),
        (Role.OOPS, Kind.NULL_DEREF, rf"BUG: (?:unable to handle )?[kK]ernel NULL(?:.*? {_HEX})?"),
        (Role.OOPS, Kind.PAGE_FAULT, rf"BUG: [uU]nable to handle (?:kernel|page)(?:.*? {_HEX})?"),
        (Role.OOPS, Kind.STACK_OVERFLOW, r"BUG: (?:\S{1,20} )?stack guard page was hit"),
        # With a capital where the kernel has no CONFIG_DEBUG_BUGVERBOSE (lib/bug.c).
        (Role.OOPS, Kind.BUG, r"[kK]ernel BUG at (?P<place>[^!]*)"),
        (Role.OOPS, Kind.STACK_OVERFLOW, r"Insufficient stack space to handle exception"),
        (Role.OOPS, Kind.DOUBLE_FAULT, r"(?:traps: )?PANIC: double fault"),
        *((Role.OOPS, kind, rf"(?:Oops: )?{trap}\b(?:.*{_NUMBER})?") for trap, kind in _TRAPS.items()),
        *(
            (Role.OOPS, kind, rf"PANIC: early exception (?:0x)?{vector:02x}\b(?:.* cr2 0x(?P<cr2>[0-9a-f]{{1,16}}))?")
            for vector, kind in _EARLY.items()
        ),
        (Role.OOPS, Kind.PANIC_OTHER, r"PANIC: early exception"),
        (Role.OOPS, Kind.PAGE_FAULT, rf"Oops: (?:Oops: )?(?P<error>[0-9a-f]{{4}}) {_NUMBER}"),
        (Role.OOPS, Kind.PANIC_OTHER, rf"(?:Oops: )?[\w#, ()-]{{3,80}}: [0-9a-f]{{4}} {_NUMBER}"),
        # arch/arm64/mm/fault.c
        (Role.OOPS, Kind.NULL_DEREF, rf"Unable to handle kernel NULL(?:.* {_HEX})?"),
        (Role.OOPS, Kind.WILD_JUMP, rf"Unable to handle kernel execut(?:e|ion) (?:.* {_HEX})?"),
        (Role.OOPS, Kind.PAGE_FAULT, rf"Unable to handle kernel.*?(?:address:? {_HEX})?$"),
        (Role.OOPS, Kind.MACHINE_CHECK, r"SError Interrupt on CPU(?P<cpu>\d+)"),
        # arch/arm64/kernel/traps.c until 5.13, bad_mode()
        (Role.OOPS, Kind.MACHINE_CHECK, r"Bad mode in Error handler detected on CPU(?P<cpu>\d+)"),
        # arch/arm64/kernel/entry-common.c, __panic_unhandled(), since 5.14
        (Role.OOPS, Kind.PANIC_OTHER, r"Unhandled .{1,40} exception on CPU(?P<cpu>\d+)"),
        # All that do_sea() is for (arch/arm64/mm/fault.c, fault_info[]); it had no name in 4.18, and has others than this.
        (Role.OOPS, Kind.MACHINE_CHECK, rf"Internal error: .*: (?:0{{8}})?[89]6[0-9a-f]{{4}}[159d][03-8c-f] {_NUMBER}"),
        (Role.OOPS, Kind.MACHINE_CHECK, rf"Internal error: synchronous .*external abort.*{_NUMBER}"),
        (Role.OOPS, Kind.PAGE_FAULT, rf"Internal error: (?:Oops)?: (?P<esr>[0-9a-f]+) {_NUMBER}"),
        # What "invalid opcode" is on x86: the instruction brk, or none at all; KASAN, UBSAN, and CFI use it as BUG() does.
        (Role.OOPS, Kind.BUG, rf"Internal error: (?:Oops - )?(?:BUG|CFI|UBSAN|KASAN|BRK|[uU]ndefined instruction).*{_NUMBER}"),
        (Role.OOPS, Kind.BUG, rf"Internal error: .*: (?:0{{8}})?f20[0-9a-f]{{5}} {_NUMBER}"),
        (Role.OOPS, Kind.PANIC_OTHER, rf"Internal error: .*{_NUMBER}"),
        (
            Role.SUSPECT,
            Kind.SOFT_LOCKUP,
            r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d+).*?\[(?P<comm>.{1,64}):(?P<pid>\d+)\]",
        ),
        (Role.SUSPECT, Kind.SOFT_LOCKUP, r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d+)"),
        (
            Role.SUSPECT,
            Kind.HARD_LOCKUP,
            r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP(?: on cpu (?P<cpu>\d+))?",
        ),
        (
            Role.SUSPECT,
            Kind.HUNG_TASK,
            r"INFO: task (?P<comm>.{1,64}):(?P<pid>\d+)(?:<[^>]{1,64}>)? (?:(?:is )?blocked (?:for more than|in I/O)|can't die)",
        ),
        (Role.SUSPECT, Kind.RCU_STALL, r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls? on"),
        (
            Role.WARNING,
            Kind.WARN_PANIC,
            rf"WARNING: (?:CPU: (?P<cpu>\d+) )?(?:PID: (?P<pid>\d+) )?(?:at )?(?P<place>[\w./+-]+:\d+)(?: (?:at )?{_SYMBOL})?"
            r"(?:, CPU#(?P<cpu2>\d+): (?P<comm>.{1,64})/(?P<pid2>\d+))?",
        ),
        (Role.WARNING, Kind.WARN_PANIC, r"WARNING: (?P<lockdep>(?:possible|suspicious|inconsistent|bad|held|nested|lock) .*)"),
        (Role.WARNING, Kind.WARN_PANIC, rf"BUG: (?P<lockdep>.*?)(?: in {_SYMBOL}.*)?$"),
        (Role.WARNING, Kind.WARN_PANIC, rf"UBSAN: (?P<lockdep>.*?)(?: in {_SYMBOL}.*)?$"),
    )
)
# What panic() says, and whose end it is; the first that fits (notes: the calls of panic() in 6.12).
_PANICS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"^sysrq triggered crash|^SysRq", Kind.SYSRQ),
        # "kasan.fault=panic set" (mm/kasan/report.c, 5.11), "kmsan.panic set" (mm/kmsan/report.c, 6.1)
        (r"panic_on_warn|warned too often|^KASAN|^KFENCE|^k(?:asan|msan|csan|fence)\.|panic_on_taint.*WARN", Kind.WARN_PANIC),
        (r"^softlockup", Kind.SOFT_LOCKUP),
        (r"hard LOCKUP|^Hard LOCKUP", Kind.HARD_LOCKUP),
        (r"^hung_task", Kind.HUNG_TASK),
        (r"^RCU Stall", Kind.RCU_STALL),
        (r"^Out of memory|deadlocked on memory|^(?!audit: ).*out of memory", Kind.OOM_PANIC),
        # EDAC says "UE row …" or "EDAC …: UE" (drivers/edac/edac_mc.c, edac_device.c).
        (
            r"[Mm]achine [Cc]heck|exception handler|^Fatal (?:local )?[Hh]ardware [Ee]rror|SError|external abort"
            r"|memory failure|^Failed kernel mode recovery|^(?:EDAC|UE|MCA) ",
            Kind.MACHINE_CHECK,
        ),
        (r"^Attempted to kill init", Kind.INIT_DIED),
        (r"kernel stack overflow|corrupted (?:shadow )?stack|stack guard hit", Kind.STACK_OVERFLOW),
    )
)
# What is left of a message that the log ends in.
_PANICS_CUT = (
    ("sysrq triggered crash", Kind.SYSRQ),
    ("kernel: panic_on_warn", Kind.WARN_PANIC),
    ("KASAN: panic_on_warn", Kind.WARN_PANIC),
    ("kasan.fault=panic", Kind.WARN_PANIC),
    ("KFENCE: panic_on_warn", Kind.WARN_PANIC),
    ("UBSAN: panic_on_warn", Kind.WARN_PANIC),
    ("KCSAN: panic_on_warn", Kind.WARN_PANIC),
    ("softlockup: hung tasks", Kind.SOFT_LOCKUP),
    ("Hard LOCKUP", Kind.HARD_LOCKUP),
    ("hung_task: blocked tasks", Kind.HUNG_TASK),
    ("RCU Stall", Kind.RCU_STALL),
    ("Out of memory", Kind.OOM_PANIC),
    ("Attempted to kill init", Kind.INIT_DIED),
    ("Fatal machine check", Kind.MACHINE_CHECK),
    ("Asynchronous SError Interrupt", Kind.MACHINE_CHECK),
)
# Fewer letters may begin more than one.
SHORTEST_PANIC = 4
# A panic that is only the last word of an oops (kernel/exit.c, arch/*/kernel: oops_end(), die()).
OOPS_ENDS = re.compile(
    r"(?:^|: )Fatal exception|^Aiee|^Attempted to kill|^Oops|^Machine halted|kernel stack overflow|SError|^Fatal trap"
)
STACK_PROTECTOR = re.compile(rf"stack is corrupted in: (?:{_SYMBOL}|(?P<bare>[\w.$]+))")
_LOST = re.compile(
    r"CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: |RIP: 0010:|pc : |#PF: |\[[0-9a-f]{16}\] pgd=|Call [Tt]race:|task:.{1,64}? +state:D "
)
# What all headers begin with, so that most lines cost one look; those of a trap that is not known have a number.
_FIRST = re.compile(
    r"BUG: |Bad mode |CPU\d|INFO: |Insufficient |Internal error|Kernel (?:panic|BUG at)|NMI |Oops: |PANIC: |SError "
    r"|UBSAN: |Unable |Unhandled |WARNING: |Watchdog |divide |double |general |invalid |kernel |rcu: |segment|stack "
    r"|traps: |watchdog: |---\[ end Kernel|.*\[#\d"
)


def parse_header(text: str) -> Header | None:
    """The fault that this line begins, or None."""
    if not _FIRST.match(text):
        return None
    for role, kind, pattern in _HEADERS:
        if found := pattern.match(text):
            return Header(role, panic_kind(found["panic"] or "") if role is Role.PANIC else kind, found)
    return None


def parse_lost(text: str) -> Header | None:
    """A fault whose beginning is not in the log, by a line that is in every one."""
    found = _LOST.match(text)
    return Header(Role.LOST, Kind.PANIC_OTHER, found) if found else None


def panic_kind(message: str) -> Kind:
    """What a panic's message says of its cause."""
    if kind := next((kind for pattern, kind in _PANICS if pattern.search(message)), None):
        return kind
    cut = (kind for whole, kind in _PANICS_CUT if len(message) >= SHORTEST_PANIC and whole.startswith(message))
    return next(cut, Kind.PANIC_OTHER)
