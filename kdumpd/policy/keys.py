# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keys of the policy: the one table by which it is read, shown, and described to editors."""

import re
from typing import Any

from kdumpd.capture.settings import FinalAction
from kdumpd.crashkernel import Crashkernel, parse_crashkernel
from kdumpd.parameters import parameter_name, tokenize
from kdumpd.policy.kinds import (
    Key,
    Kind,
    Section,
    at_least,
    did_you_mean,
    flag,
    list_of,
    number,
    one_or_list,
    or_word,
    parsed,
    word,
)
from kdumpd.policy.model import (
    CapturePolicy,
    Compression,
    CrashLoopPolicy,
    DumpFormat,
    DumpKernelPolicy,
    Fault,
    KeepPolicy,
    Loader,
    PanicPolicy,
    Policy,
    PstorePolicy,
    RamoopsPolicy,
    Sysrq,
    VmcorePolicy,
)
from kdumpd.policy.nodes import DecodeError, Value
from kdumpd.units import KIB, MIB, format_duration, format_size, parse_duration, parse_size

# With less, the Debian 12 kernel dies before it reaches any initrd, measured on a 2 GiB guest: 80M lives, 72M does not.
MIN_CRASHKERNEL = 72 * MIB
# A capture needs its time even when all is well; a smaller number is a typing error.
MIN_DEADLINE = 30
# A crash and the boot after it take about this long: in less time there is no second crash.
MIN_CRASH_LOOP = 60
# ramoops refuses zones of less than a page (fs/pstore/ram.c).
MIN_RAMOOPS = 4 * KIB
# What can stand unquoted in a shell file, a systemd unit and a kernel command line alike.
PATH = r"(/[A-Za-z0-9._+@-]+)+"
PARAMETER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
# kdumpd, or kexec for it, gives the dump kernel these; another value would make it another kernel's dump, or no dump.
OURS = frozenset({"crashkernel", "elfcorehdr", "init", "systemd.unit"})
OUR_PREFIX = "kdumpd."
LONGEST_APPEND = 1024


def _is_ours(name: str) -> bool:
    return name in OURS or name.startswith(OUR_PREFIX)


def _parse_path(text: str) -> str:
    if not re.fullmatch(PATH, text) or {".", ".."}.intersection(text.split("/")):
        raise ValueError(f'"{text}" is not an absolute path of letters, digits and . _ + @ -')
    return text


def _parse_parameter(text: str) -> str:
    if not re.fullmatch(PARAMETER, text):
        raise ValueError(f'"{text}" is not the name of a kernel parameter')
    if _is_ours(parameter_name(text)):
        raise ValueError(f'the dump kernel can\'t do without "{text}"')
    return text


def _parse_append(text: str) -> str:
    if strange := next((char for char in text if not " " <= char <= "~"), None):
        raise ValueError(f"the character {strange!r} can't be on a kernel command line")
    if text.count('"') % 2:
        raise ValueError('a " has no partner')
    for parameter in tokenize(text):
        if _is_ours(parameter_name(parameter)) or parameter == "--":
            raise ValueError(f'"{parameter}" is not yours to set, kdumpd does')
    if len(text) > LONGEST_APPEND:
        raise ValueError(f"{len(text)} characters are too many, expected at most {LONGEST_APPEND}")
    return text


def _parse_address(text: str) -> int:
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        raise ValueError(f'"{text}" is not an address')
    return int(text, 16)


def _crashkernel() -> Kind[Crashkernel]:
    grammar = parsed(parse_crashkernel, example="256M, 2G-64G:256M,64G-:512M, or auto")

    def decode(value: Value) -> Crashkernel:
        found = grammar.decode(value)
        if found.minimum() < MIN_CRASHKERNEL:
            fact = f'{value.name}: "{format_size(found.minimum())}" is too small, expected at least {format_size(MIN_CRASHKERNEL)}'
            raise DecodeError(fact, "write auto, or 192M")
        return found

    return Kind(decode, grammar.plain, grammar.schema)


def _sysrq() -> Kind[tuple[Sysrq, ...]]:
    """`off`, `all`, or a list of words; `default` is somebody else's."""
    words = list_of(word(Sysrq))
    whole: dict[str, tuple[Sysrq, ...]] = {"off": (), "all": tuple(Sysrq)}

    def decode(value: Value) -> tuple[Sysrq, ...]:
        if value.is_single() and value.text() in whole:
            return whole[value.text()]
        if value.is_single():
            fact = f'{value.name}: "{value.text()}" is not one of default, off, all, and no list'
            raise DecodeError(fact, did_you_mean(value.text(), ["default", "off", "all"]) or f"write [{Sysrq.SYNC}, {Sysrq.DUMPS}]")
        return words.decode(value)

    def plain(found: tuple[Sysrq, ...]) -> object:
        return next((name for name, same in whole.items() if set(found) == set(same)), None) or words.plain(found)

    return Kind(decode, plain, {"anyOf": [{"enum": list(whole)}, words.schema]})


def _size(least: int, example: str) -> Kind[int]:
    return at_least(parsed(parse_size, format_size, example=example, pattern=r"[0-9]+[KMGkmg]"), least, example)


def _duration(least: int, example: str) -> Kind[int]:
    return at_least(parsed(parse_duration, format_duration, example=example, pattern=r"[0-9]+(s|sec|m|min|h)"), least, example)


PATH_KIND = parsed(_parse_path, example="for example /var/crash", pattern=PATH)

DUMP_KERNEL = Section(
    DumpKernelPolicy,
    {
        "kernel": Key(
            or_word("running", parsed(_parse_path, example="running, or for example /boot/vmlinuz-dump", pattern=PATH)),
            "The kernel that saves the log: the one that runs, or this file.",
        ),
        "append": Key(
            parsed(_parse_append, example='for example append: "pci=nomsi"'),
            "Parameters that the dump kernel gets beside kdumpd's own.",
        ),
        "remove": Key(
            list_of(parsed(_parse_parameter, example="names only, for example [irqpoll]", pattern=PARAMETER)),
            "Names of parameters that the dump kernel does not get, kdumpd's own too.",
        ),
        "nr_cpus": Key(number(1, 512), "CPUs of the dump kernel. Each one costs memory."),
    },
    "What is loaded into the reserved memory.",
)
PANIC = Section(
    PanicPolicy,
    {
        "reboot_after": Key(
            _duration(0, "30s"), "Reboot this long after a panic when no dump kernel is loaded; 0s is never (kernel.panic)."
        ),
        "on": Key(list_of(word(Fault)), "Faults that the kernel could survive, wounded, and that become a panic instead."),
        "hung_task_timeout": Key(
            _duration(1, "120s"), "How long a task may hang, for hung_task in panic.on (kernel.hung_task_timeout_secs)."
        ),
        "early_pstore": Key(
            flag(),
            "Write the log to pstore before the dump kernel starts (crash_kexec_post_notifiers). "
            "More code runs in a kernel that is broken already, so the dump itself may fail.",
        ),
    },
    "What becomes a panic, and what then.",
)


def _vmcore(**given: Any) -> VmcorePolicy:
    """What is in an ELF file is never compressed; who says nothing of it has said nothing wrong."""
    if given.get("format") is DumpFormat.ELF:
        given.setdefault("compress", Compression.NONE)
    return VmcorePolicy(**given)


VMCORE = Section(
    _vmcore,
    {
        "level": Key(
            one_or_list(number(0, 31)),
            "Which pages makedumpfile leaves out: 0 is none, 31 all that can be. "
            "A list: the next when there was no room for the one before.",
        ),
        "compress": Key(word(Compression), "How pages are compressed."),
        "format": Key(word(DumpFormat), "For whom: kdump is for crash and drgn, elf for gdb too, and not compressed."),
    },
    "Save the memory too, not only the log.",
    off=True,
)
KEEP = Section(
    KeepPolicy,
    {
        "count": Key(number(1, 10000), "At most this many crashes."),
        "size": Key(_size(1 * MIB, "5G"), "At most this much space for all of them."),
        "free": Key(_size(1 * MIB, "1G"), "At least this much space left free."),
    },
    "Older crashes are removed, after a new one is safe, until all of this holds.",
)
CRASH_LOOP = Section(
    CrashLoopPolicy,
    {
        "count": Key(number(1, 1000), "More crashes than this..."),
        "within": Key(_duration(MIN_CRASH_LOOP, "30min"), "...in this time are a loop."),
    },
    "A machine that crashes again and again saves only the log, and powers off.",
    off=True,
)
CAPTURE = Section(
    CapturePolicy,
    {
        "dmesg": Key(flag(), "Save the kernel's log."),
        "vmcore": VMCORE,
        "stores": Key(
            list_of(PATH_KIND, at_least=1), "Folders on any local file system, tried in order; the first that takes the log wins."
        ),
        "keep": KEEP,
        "crash_loop": CRASH_LOOP,
        "deadline": Key(_duration(MIN_DEADLINE, "5min"), "The whole capture ends after this, whatever it is doing."),
        "then": Key(word(FinalAction), "How the machine ends when the log was saved."),
        "on_failure": Key(word(FinalAction), "How the machine ends when the log could not be saved."),
    },
    "What the dump kernel does.",
)
RAMOOPS = Section(
    RamoopsPolicy,
    {
        "size": Key(_size(MIN_RAMOOPS, "2M"), "How much memory is set aside."),
        "record_size": Key(_size(MIN_RAMOOPS, "256K"), "How much of it one crash may take."),
        "address": Key(
            or_word("auto", parsed(_parse_address, hex, example="auto, or for example 0x20000000", pattern="0x[0-9a-fA-F]{1,16}")),
            "Where it is; auto finds a place.",
        ),
    },
    "Memory that keeps the last words of a kernel across a reboot.",
    off=True,
)
PSTORE = Section(
    PstorePolicy,
    {"harvest": Key(flag(), "Collect what the firmware kept of a crash."), "ramoops": RAMOOPS},
    "The kernel's own store for last words.",
)
POLICY = Section(
    Policy,
    {
        "crashkernel": Key(
            or_word("auto", _crashkernel()),
            "Memory that the kernel keeps free for the dump kernel: auto, a size, or the kernel's own grammar. "
            "A change needs a reboot.",
        ),
        "loader": Key(word(Loader), "Who calls kexec. /etc/default/kdump-tools is rendered to match."),
        "dump_kernel": DUMP_KERNEL,
        "panic": PANIC,
        "sysrq": Key(
            or_word("default", _sysrq()), "What the magic SysRq keys may do: default (left as it is), off, all, or words."
        ),
        "capture": CAPTURE,
        "pstore": PSTORE,
    },
    "The policy of kdumpd.",
)
