# SPDX-License-Identifier: LGPL-2.1-or-later
"""One fault, from its first line to the end of its trace."""

import re
from collections.abc import Callable

from kdumpd.crashes.text.grammar import Header, Role
from kdumpd.crashes.text.lines import Line
from kdumpd.crashes.text.model import Frame, Kind, Module

MAX_FRAMES = 256
MAX_MODULES = 4096
MAX_REGISTERS = 64
# A fault is over when so many lines in a row were of something else.
PATIENCE = 60
# arch/arm64/include/asm/esr.h, ESR_ELx_EC_IABT_CUR
INSTRUCTION_ABORT = 0x21
# So many lines of others may stand between two of a list of modules.
MODULES_PATIENCE = 3
LOCKUPS = frozenset({Kind.SOFT_LOCKUP, Kind.HARD_LOCKUP, Kind.RCU_STALL})

# No name is longer than the kernel lets it be: KSYM_NAME_LEN (512), MODULE_NAME_LEN (56), and 64 for what a kworker is called.
# scripts/decode_stacktrace.sh puts the lines of the source in the place of the offset, and takes the module's brackets off.
_SOURCE = r" \((?=[^()]{1,400}:\d)(?:[^()]++|\(discriminator \d+\))++\)(?: (?P<decoded>[\w-]{1,64}))?"
_SYMBOL = rf"(?P<function>[\w.$]{{1,512}})(?:\+0x[0-9a-f]+/0x[0-9a-f]+|{_SOURCE})"
# In the module's brackets newer kernels can have its build id; others put the line of the source before them.
_MODULE = r"(?: \S+:\d+)?(?: \[(?P<module>[\w-]{1,64})[^\]]*\])?"
_FRAME = re.compile(
    rf"(?:\[<[0-9a-fx]+>\] ?)?(?P<guess>\? )?(?:\[<[0-9a-fx]+>\] ?)?(?:{_SYMBOL}|(?P<bare>0x[0-9a-f]{{8,16}}))"
    # arm64 since 6.13: (P) where the registers are from, (F) and so on (arch/arm64/kernel/stacktrace.c)
    rf"{_MODULE}(?: \([A-Z]+\))?$"
)
_PLACE = re.compile(
    rf"(?:RIP: (?P<segment>[0-9a-f]{{4}}):(?:\[<\S+>\] )*|e?pc : (?:\[<\S+>\] ?)?)"
    rf"(?:{_SYMBOL}{_MODULE}|(?P<begun>[\w.$]{{1,512}})\+|(?P<bare>\S+))"
)
# arm64: where the call came from that led to the pc.
_LINK = re.compile(rf"lr : (?:\[<\S+>\] ?)?{_SYMBOL}{_MODULE}")
_ADDRESS = re.compile(r"[0(]|0x|[0-9a-f]{8,}")
_TRACE = re.compile(r"Call [Tt]race:|Backtrace:")
_CONTEXT = re.compile(r"<(?P<end>/?)(?P<name>TASK|IRQ|SOFTIRQ|NMI|EOI|EOE|#?\w{2,8}|ENTRY_TRAMPOLINE)>(?P<rest>.*)")
_CPU = re.compile(r"CPU: (?P<cpu>\d+) (?:UID: \d+ )?PID: (?P<pid>\d+) Comm: (?P<rest>.*)")
_COMM = re.compile(r"(?P<comm>.*?)(?: Kdump: loaded)?(?: (?P<taint>(?:Not tainted|Tainted:).*))?$")
# Red Hat's kernels have dashes in the columns of their own taints.
_TAINT = re.compile(r"Tainted: (?P<letters>[A-Za-z -]{0,64}?)(?:[ -]{0,32}(?<=[ -])(?P<release>\d+\.\S*).*)?$")
_RELEASE = re.compile(r"Not tainted (?P<release>\d\S*)")
# sched_show_task() of 5.11 and later, and before; arm64's __die() before 5.8.
_TASK = re.compile(
    r"task:(?P<comm>.{1,64}?) +state:\S+ .*?pid: *(?P<pid>\d+)|(?P<comm2>.{1,15}?) +R +running task +\d+ +(?P<pid2>\d+)"
    r"|Process (?P<comm3>.{1,15}) \(pid: (?P<pid3>\d+),"
)
# The thread of RCU itself, which waits for the processor that is stuck (kernel/rcu/tree_stall.h).
_ASIDE = re.compile(r"rcu: RCU grace-period kthread stack dump|rcu: Stack dump where RCU GP kthread")
_NO_ASIDE = re.compile(r"(?:NMI backtrace for cpu|Task dump for CPU) (?P<cpu>\d+)(?! skipped)")
# Where the memory was allocated and freed (report.c in mm/kasan, mm/kfence, mm/kmsan): another time, and maybe another thread.
_OTHER_TIME = re.compile(
    r"(?:[Aa]llocated|[Ff]reed) by task \d|(?:Last|Second to last) potentially related work"
    r"|Uninit was |Local variable .* created at"
)
# An address in one line of its own (kernel/sched/core.c, __schedule_bug()), which is no frame of the trace.
_ELSEWHERE = re.compile(r"Preemption disabled at:")
_HARDWARE = re.compile(r"Hardware name: (?P<name>.*)")
_CODE = re.compile(r"Code: (?P<code>.*)")
# arm64 has whole instructions, and says them after the trace (arch/arm64/kernel/traps.c, dump_kernel_instr()).
_INSTRUCTIONS = re.compile(r"(?:[0-9a-f]{8}|\?{8}) |bad PC value")
_MODULES = re.compile(r"Modules linked in:(?P<names>.*)")
_NAME = re.compile(r"\b([\w-]{1,64})(?:\(([A-Za-z+-]{0,32})\))?(?= |$)")
# Possessive: a line that is no list would be tried in two ways for each of its letters.
_MORE_MODULES = re.compile(r"(?:[\w-]++(?:\([A-Za-z+-]*+\))?+ ?+)++(?:\[last unloaded.*)?$")
_REGISTERS = re.compile(r"(?:[RE][A-Z0-9]{2}|[CDEFGS]S|CR\d|DR\d|PKRU|ORIG_RAX|x\d{1,2}|sp|pstate) ?:")
_REGISTER = re.compile(r"(\w{2,8}) ?: *(?:[0-9a-f]{4}:)?([0-9a-f]{2,16})\b")
# Alone on its line after the trace: the address of the fault itself (arch/x86/kernel/dumpstack.c, __die()).
_FAULT_ADDRESS = re.compile(r"CR2: ([0-9a-f]{8,16})$")
_FETCH = re.compile(
    r"#PF: supervisor instruction fetch|kernel tried to execute|unable to execute userspace|#PF error:.*INSTR"
    # arch/arm64/mm/fault.c, mem_abort_decode(); "Exception class" until 5.8
    r"|(?:EC = 0x21: |Exception class = )IABT \(current EL\)"
)
# What only a fault of memory tells; arm64's show_pte() has the address of the fault in front.
_FAULT = re.compile(r"#PF: |Mem abort info|\[(?P<address>[0-9a-f]{16})\] (?:pgd=|user address|address between|virtual address)")
_END = re.compile(r"---\[ end |Rebooting in \d+ seconds|Kernel Offset: ")


class Block:
    """What is known of one fault so far. The first of each thing counts: what comes again is the echo of an oops."""

    def __init__(self, header: Header, line: Line, message: str | None) -> None:
        self.role = header.role
        self.kind = header.kind
        self.header = header
        self.first_line = line.text
        self.message = message
        self.seconds = line.seconds
        self.offset = self.last_offset = line.offset
        self.last_seconds = line.seconds
        self.clock = self.last_clock = line.clock
        self.caller = line.caller
        self.panic: str | None = header.get("panic")
        self.cpu = _number(header.get("cpu") or header.get("cpu2"))
        self.pid = _number(header.get("pid") or header.get("pid2"))
        self.comm: str | None = header.get("comm")
        self.number = _number(header.get("number"))
        self.place: tuple[str, str | None] | None = None
        if function := header.get("function"):
            self.place = (function, header.get("module"))
        self.link: tuple[str, str | None] | None = None
        self.address: str | None = header.get("address") or _whole(header.get("cr2"))
        self.memory_fault = False
        self.release: str | None = None
        self.letters: str | None = None
        self.hardware: str | None = None
        self.code: str | None = None
        self.trace: list[Frame] = []
        self.modules: list[Module] = []
        self.registers: dict[str, str] = {}
        self.fetch = _fetches(header)
        self.bare_pc: str | None = None
        self.ended = False
        self.settled = False
        self._idle = 0
        self._cut = False
        self._traces = 0
        self._user = False
        self._interrupt = False
        self._listing_modules = 0
        self._aside = False
        self._elsewhere = False

    def begin_again(self, header: Header, line: Line) -> None:
        """A line that begins a fault, for one whose first line was lost: what stood between the two is its own."""
        self.role, self.kind, self.header, self.first_line = header.role, header.kind, header, line.text
        self.address = header.get("address") or self.address
        self.number = _number(header.get("number"))
        self.fetch = self.fetch or _fetches(header)

    def merge(self, header: Header) -> None:
        """A further line of the beginning: "kernel BUG at", and then "invalid opcode"."""
        self.fetch = self.fetch or _fetches(header)
        if header.kind in (Kind.STACK_OVERFLOW, Kind.DOUBLE_FAULT) and self.kind is not Kind.STACK_OVERFLOW:
            self.kind = header.kind
        self.number = self.number or _number(header.get("number"))

    @property
    def over(self) -> bool:
        """Nothing more is to be expected of it."""
        return self._idle > PATIENCE

    def take(self, line: Line) -> None:
        """A line that comes after the first."""
        self._cut = line.cut
        for pattern, handler in _HANDLERS:
            if found := pattern.match(line.text):
                handler(self, found)
                break
        else:
            if not self._more_modules(line.text):
                self._idle += 1
                return
        self._idle = 0
        if found is not None and found.re is not _MODULES:
            self._listing_modules = 0
        self.last_offset, self.last_seconds, self.last_clock = line.offset, line.seconds, line.clock

    def _frame(self, found: re.Match[str]) -> None:
        if self._elsewhere:
            self._elsewhere = False
            return
        if self._aside or self._traces > 1 or len(self.trace) >= MAX_FRAMES:
            return
        self._user = False
        frame = Frame(found["function"] or found["bare"], _module(found), not found["guess"], self._interrupt)
        if found["guess"] or found["function"]:
            self.trace.append(frame)

    def _at(self, found: re.Match[str]) -> None:
        # Segment 0033 is the program that asked; 0010 is the kernel (arch/x86/include/asm/segment.h), and Xen has e030.
        self._user = found["segment"] in ("0033", "0023")
        if self._user or self.place or self.bare_pc or found.string.endswith("[inline]"):
            return
        # What a trace passes is where an interrupt came. That is the fault for a lockup, and an accident for all else.
        # After its end an oops says its registers once more (arch/x86/kernel/dumpstack.c, oops_end(), __show_regs()).
        if self._traces == 0 or self.kind in LOCKUPS or (self.role is Role.LOST and self.ended):
            if name := found["function"] or found["begun"]:
                self.place = (name, _module(found))
            elif _ADDRESS.match(found["bare"]):
                self.bare_pc = found["bare"]
            elif not self._cut:
                self.place = (found["bare"], None)

    def _linked(self, found: re.Match[str]) -> None:
        self.link = self.link or (found["function"], _module(found))

    def _begin_trace(self, _: re.Match[str]) -> None:
        self._traces += not self._aside
        self._interrupt = False
        self._user = False

    def _context(self, found: re.Match[str]) -> None:
        # 4.18 ends one stack with <EOI>, </IRQ> came with 4.9; a frame may stand on the same line.
        name = found["name"]
        if name not in ("TASK", "EOI", "EOE"):
            self._interrupt = not found["end"]
        elif not found["end"]:
            self._interrupt = False
        if rest := _FRAME.match(found["rest"].strip()):
            self._frame(rest)

    def _process(self, found: re.Match[str]) -> None:
        self._aside = False
        rest = _COMM.match(found["rest"])
        if self.kind is not Kind.HUNG_TASK and self.hardware is None and self.release is None:
            self.cpu, self.pid = _number(found["cpu"]), _number(found["pid"])
            self.comm = rest["comm"].strip() if rest else self.comm
        if rest and rest["taint"]:
            self._tainted(rest["taint"])

    def _tainted(self, text: str) -> None:
        found = _TAINT.match(text) or _RELEASE.match(text)
        if found is None or self.release is not None:
            return
        groups = found.groupdict()
        self.letters = (groups.get("letters") or "").replace("-", "").rstrip()
        self.release = groups["release"]

    def _tainted_alone(self, found: re.Match[str]) -> None:
        self._tainted(found.string)

    def _task(self, found: re.Match[str]) -> None:
        if self.comm is None and not self._aside:
            comm, pid = (next(filter(None, found.group(name, f"{name}2", f"{name}3"))) for name in ("comm", "pid"))
            self.comm, self.pid = comm.strip(), _number(pid)

    def _begin_other_time(self, _: re.Match[str]) -> None:
        self._traces += 2

    def _names_elsewhere(self, found: re.Match[str]) -> None:
        self._elsewhere = found.end() == len(found.string)

    def _begin_aside(self, _: re.Match[str]) -> None:
        self._aside = True

    def _end_aside(self, found: re.Match[str]) -> None:
        self._aside = False
        if self.cpu is None:
            self.cpu = _number(found["cpu"])

    def _hardware_name(self, found: re.Match[str]) -> None:
        self.hardware = self.hardware or found["name"].strip()

    def _code_bytes(self, found: re.Match[str]) -> None:
        if not self._user and (self._traces == 0 or self.kind in LOCKUPS or _INSTRUCTIONS.match(found["code"])):
            self.code = self.code or found["code"].strip()

    def _modules_linked(self, found: re.Match[str]) -> None:
        self._listing_modules = 0 if self.modules else MODULES_PATIENCE
        if self._listing_modules:
            self._add_modules(found["names"])

    def _more_modules(self, text: str) -> bool:
        """A long list goes on in a record of its own (kernel/printk/printk.c, LOG_LINE_MAX)."""
        if not self._listing_modules or not _MORE_MODULES.match(text):
            self._listing_modules = max(0, self._listing_modules - 1)
            return False
        self._add_modules(text)
        return True

    def _add_modules(self, text: str) -> None:
        text = text.partition("[last unloaded")[0].partition("Unloaded tainted modules")[0]
        for name, flags in _NAME.findall(text)[: MAX_MODULES - len(self.modules)]:
            self.modules.append(Module(name, flags))

    def _register_line(self, found: re.Match[str]) -> None:
        if self.address is None and self._traces and (address := _FAULT_ADDRESS.match(found.string)):
            self.address = address[1]
        if self._user or self._traces > 1:
            return
        for name, value in _REGISTER.findall(found.string):
            if len(self.registers) < MAX_REGISTERS:
                self.registers.setdefault(name, value)

    def _fetched(self, _: re.Match[str]) -> None:
        self.fetch = self.memory_fault = True

    def _faulted(self, found: re.Match[str]) -> None:
        self.memory_fault = True
        self.address = self.address or found["address"]

    def _ends(self, _: re.Match[str]) -> None:
        self.ended = True
        self._idle = max(self._idle, PATIENCE - 30)


_HANDLERS: tuple[tuple[re.Pattern[str], Callable[[Block, re.Match[str]], None]], ...] = (
    (_FRAME, Block._frame),
    (_PLACE, Block._at),
    (_LINK, Block._linked),
    (_REGISTERS, Block._register_line),
    (_CONTEXT, Block._context),
    (_TRACE, Block._begin_trace),
    (_CODE, Block._code_bytes),
    (_CPU, Block._process),
    (_HARDWARE, Block._hardware_name),
    (_MODULES, Block._modules_linked),
    (re.compile(r"(?:Not t|T)ainted[: ](?!.*\]=)"), Block._tainted_alone),
    (_TASK, Block._task),
    (_FETCH, Block._fetched),
    (_FAULT, Block._faulted),
    (_OTHER_TIME, Block._begin_other_time),
    (_ELSEWHERE, Block._names_elsewhere),
    (_ASIDE, Block._begin_aside),
    (_NO_ASIDE, Block._end_aside),
    (_END, Block._ends),
)


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) < 20 else None  # noqa: PLR2004


def _module(found: re.Match[str]) -> str | None:
    return found["module"] or found["decoded"]


def _whole(address: str | None) -> str | None:
    """An address with all its digits, as other headers have it."""
    return address and address.zfill(16)


def _fetches(header: Header) -> bool:
    """Whether the processor's code says that it came for an instruction: bit 4 on x86, the class 0x21 on arm64."""
    error, syndrome = header.get("error"), header.get("esr")
    return bool(error and int(error, 16) & 0x10) or bool(syndrome and (int(syndrome, 16) & 0xFFFFFFFF) >> 26 == INSTRUCTION_ABORT)


def process_line(text: str) -> tuple[int, int] | None:
    """The CPU and the PID that a line `CPU: … PID: …` names."""
    found = _CPU.match(text)
    return (int(found["cpu"][:18]), int(found["pid"][:18])) if found else None


def is_fatal_alone(block: Block) -> bool:
    """Whether no panic need follow it."""
    return block.role in (Role.OOPS, Role.PANIC)
