# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy: what an administrator can say, with a default for everything."""

from dataclasses import dataclass, field
from enum import StrEnum

from kdumpd.capture.settings import FinalAction
from kdumpd.crashkernel import Crashkernel
from kdumpd.units import GIB, KIB, MIB


class Loader(StrEnum):
    """Who calls kexec: kdumpd itself, or Debian's kdump-tools, which then boots into kdumpd's capture."""

    KDUMPD = "kdumpd"
    KDUMP_TOOLS = "kdump-tools"


class Fault(StrEnum):
    """A kind of fault that the kernel can survive, wounded, or turn into a panic."""

    OOPS = "oops"
    IO_NMI = "io_nmi"
    UNRECOVERED_NMI = "unrecovered_nmi"
    UNKNOWN_NMI = "unknown_nmi"
    SOFT_LOCKUP = "soft_lockup"
    HARD_LOCKUP = "hard_lockup"
    HUNG_TASK = "hung_task"
    RCU_STALL = "rcu_stall"
    WARN = "warn"
    OOM = "oom"


class Sysrq(StrEnum):
    """A group of magic SysRq keys that the kernel allows or not (Documentation/admin-guide/sysrq.rst)."""

    LOGLEVEL = "loglevel"
    KEYBOARD = "keyboard"
    DUMPS = "dumps"
    SYNC = "sync"
    REMOUNT = "remount"
    SIGNAL = "signal"
    REBOOT = "reboot"
    NICE = "nice"


class Compression(StrEnum):
    """How makedumpfile compresses the pages of a vmcore."""

    LZO = "lzo"
    ZLIB = "zlib"
    SNAPPY = "snappy"
    ZSTD = "zstd"
    NONE = "none"


class DumpFormat(StrEnum):
    """How a vmcore is laid out: compressed, for crash and drgn; or as ELF, which gdb reads too and nobody compresses."""

    KDUMP = "kdump"
    ELF = "elf"


@dataclass(frozen=True, kw_only=True)
class DumpKernelPolicy:
    """`kernel` None: the one that runs. `remove` are names of parameters that the dump kernel does not get."""

    kernel: str | None = None
    append: str = ""
    remove: tuple[str, ...] = ()
    nr_cpus: int = 1


@dataclass(frozen=True, kw_only=True)
class PanicPolicy:
    """Times in seconds. `reboot_after` counts only when no dump kernel is loaded; 0 means never."""

    reboot_after: int = 30
    on: tuple[Fault, ...] = (Fault.OOPS, Fault.IO_NMI, Fault.UNRECOVERED_NMI)
    hung_task_timeout: int = 120
    early_pstore: bool = False


@dataclass(frozen=True, kw_only=True)
class VmcorePolicy:
    """`level` is makedumpfile's: which pages are left out, 0 (none) to 31 (all that can be); the next one when the one before
    did not fit.
    """

    level: tuple[int, ...] = (31,)
    compress: Compression = Compression.LZO
    format: DumpFormat = DumpFormat.KDUMP


@dataclass(frozen=True, kw_only=True)
class KeepPolicy:
    """How many crashes stay, how many bytes they may have, how many bytes they leave free."""

    count: int = 10
    size: int = 5 * GIB
    free: int = 1 * GIB


@dataclass(frozen=True, kw_only=True)
class CrashLoopPolicy:
    """More than `count` crashes `within` so many seconds are a loop."""

    count: int = 5
    within: int = 1800


@dataclass(frozen=True, kw_only=True)
class CapturePolicy:
    """Stores are absolute paths, tried in order; `deadline` is in seconds; `vmcore` None: only the log is saved; `crash_loop`
    None: a machine that crashes again and again is treated as one that crashes once.
    """

    dmesg: bool = True
    vmcore: VmcorePolicy | None = None
    stores: tuple[str, ...] = ("/var/crash",)
    keep: KeepPolicy = field(default_factory=KeepPolicy)
    crash_loop: CrashLoopPolicy | None = field(default_factory=CrashLoopPolicy)
    deadline: int = 300
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT


@dataclass(frozen=True, kw_only=True)
class RamoopsPolicy:
    """Sizes in bytes. `address` None: kdumpd finds a free place."""

    size: int = 2 * MIB
    record_size: int = 256 * KIB
    address: int | None = None


@dataclass(frozen=True, kw_only=True)
class PstorePolicy:
    """`ramoops` None: no memory is set aside for it."""

    harvest: bool = True
    ramoops: RamoopsPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The whole of /etc/kdumpd.yaml. `crashkernel` None: computed from this machine. `sysrq` None: left as it is."""

    crashkernel: Crashkernel | None = None
    loader: Loader = Loader.KDUMPD
    dump_kernel: DumpKernelPolicy = field(default_factory=DumpKernelPolicy)
    panic: PanicPolicy = field(default_factory=PanicPolicy)
    sysrq: tuple[Sysrq, ...] | None = None
    capture: CapturePolicy = field(default_factory=CapturePolicy)
    pstore: PstorePolicy = field(default_factory=PstorePolicy)
