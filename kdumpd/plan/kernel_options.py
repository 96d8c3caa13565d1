# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which options two kernels need for a dump: the one that may crash, and the one that saves what is left of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.host.kernel_config import KernelConfig
from kdumpd.plan.findings import Finding, fail, ok, warn
from kdumpd.policy.model import Policy


class Role(StrEnum):
    """What a kernel is there for."""

    SYSTEM = "system kernel"
    DUMP = "dump kernel"


class Need(StrEnum):
    """What does not work without an option. Only the first lets a check fail."""

    DUMP = "a dump"
    VMCORE = "reading a vmcore"
    RAMOOPS = "ramoops"
    CONSOLE = "the console in ramoops"
    TEST = "kdumpd test"


def _always(config: KernelConfig) -> bool:  # noqa: ARG001
    return True


def _since(major: int, minor: int) -> Callable[[KernelConfig], bool]:
    """A configuration that does not tell its version is taken for a new one."""
    return lambda config: config.version is None or config.version >= (major, minor)


def _before(major: int, minor: int) -> Callable[[KernelConfig], bool]:
    return lambda config: config.version is not None and config.version < (major, minor)


@dataclass(frozen=True, kw_only=True)
class Option:
    """Any of `names` will do; with `must_be_off`, none may be there.

    `lines` are what to put into a .config, without CONFIG_; unless given, the first name with =y.
    """

    role: Role
    names: tuple[str, ...]
    reason: str
    need: Need = Need.DUMP
    lines: tuple[str, ...] = ()
    applies: Callable[[KernelConfig], bool] = _always
    must_be_off: bool = False

    def holds(self, config: KernelConfig) -> bool:
        return any(config.has(name) for name in self.names) is not self.must_be_off

    @property
    def fault(self) -> str:
        names = [f"CONFIG_{name}" for name in self.names]
        return f"{names[0]} is on" if self.must_be_off else f"no {' and no '.join(names)}"

    @property
    def cure(self) -> tuple[str, ...]:
        if self.must_be_off:
            return tuple(f"# CONFIG_{name} is not set" for name in self.names)
        return tuple(f"CONFIG_{line}" for line in self.lines or (f"{self.names[0]}=y",))


# Documentation/admin-guide/kdump/kdump.rst, and the Kconfig files that are named.
OPTIONS = (
    Option(role=Role.SYSTEM, names=("KEXEC", "KEXEC_FILE"), reason="it loads the dump kernel, and starts it after a crash"),
    Option(
        role=Role.SYSTEM,
        names=("CRASH_DUMP",),
        reason="since Linux 6.9, crashkernel= reserves nothing without it",
        # There it took over crashkernel= and the loading of a dump kernel from KEXEC (kernel/Kconfig.kexec).
        applies=_since(6, 9),
    ),
    Option(role=Role.SYSTEM, names=("SYSFS",), reason="/sys/kernel tells what is reserved, and whether a dump kernel is loaded"),
    Option(
        role=Role.SYSTEM,
        names=("MAGIC_SYSRQ",),
        reason="/proc/sysrq-trigger is how kdumpd test crashes this machine",
        need=Need.TEST,
    ),
    Option(
        role=Role.SYSTEM,
        names=("DEBUG_INFO",),
        reason="crash and drgn need the kernel's debug information to read a vmcore",
        need=Need.VMCORE,
        lines=("DEBUG_KERNEL=y", "DEBUG_INFO=y"),
        applies=_before(5, 18),
    ),
    Option(
        role=Role.SYSTEM,
        names=("DEBUG_INFO",),
        reason="crash and drgn need the kernel's debug information to read a vmcore",
        need=Need.VMCORE,
        # Linux 5.18 made DEBUG_INFO the result of a choice, which a .config can't set itself (commit f9b3cd245784).
        lines=("DEBUG_KERNEL=y", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y"),
        applies=_since(5, 18),
    ),
    Option(
        role=Role.SYSTEM,
        names=("DEBUG_PAGEALLOC",),
        reason="with Linux 3.2, a dump is known to fail while it is on",
        # Reported by those who ran 3.2; why it fails is not known.
        applies=lambda config: config.version == (3, 2),
        must_be_off=True,
    ),
    # The kernel that crashes writes to pstore, and the next one of its kind reads it.
    Option(role=Role.SYSTEM, names=("PSTORE",), reason="it keeps the kernel's last words over a reboot", need=Need.RAMOOPS),
    Option(
        role=Role.SYSTEM,
        names=("PSTORE_RAM",),
        reason="it is ramoops, which keeps the kernel's last words in RAM",
        need=Need.RAMOOPS,
        lines=("PSTORE_RAM=m",),
    ),
    Option(
        role=Role.SYSTEM,
        names=("PSTORE_CONSOLE",),
        reason="it keeps what was printed before a hang that never became a panic",
        need=Need.CONSOLE,
    ),
    Option(role=Role.DUMP, names=("CRASH_DUMP",), reason="it lets a kernel run beside the memory of the one that crashed"),
    Option(role=Role.DUMP, names=("PROC_VMCORE",), reason="/proc/vmcore is the memory of the kernel that crashed"),
    Option(
        role=Role.DUMP,
        names=("HIGHMEM",),
        reason="a 32-bit kernel needs it to reach the memory of the one that crashed, and to have CRASH_DUMP",
        # It follows from the choice of its size (arch/x86/Kconfig).
        lines=("HIGHMEM4G=y",),
        applies=lambda config: config.is_32_bit_x86,
    ),
    Option(
        role=Role.DUMP,
        names=("RELOCATABLE",),
        reason="a kernel that can't be moved does not run in the reserved memory",
        # arm64 and others run wherever they are put.
        applies=lambda config: config.is_x86 or config.arch == "powerpc",
    ),
    Option(role=Role.DUMP, names=("BLK_DEV_INITRD",), reason="the capture begins in an initrd"),
)


def needs(policy: Policy) -> frozenset[Need]:
    """What this policy makes use of. The ramoops of kdumpd keeps no console (plan/ramoops.py)."""
    unused = {Need.CONSOLE}
    if policy.capture.vmcore is None:
        unused.add(Need.VMCORE)
    if policy.pstore.ramoops is None:
        unused.add(Need.RAMOOPS)
    return frozenset(need for need in Need if need not in unused)


def missing_options(config: KernelConfig, role: Role, needed: Iterable[Need] = Need) -> tuple[Option, ...]:
    """What a kernel lacks in this role."""
    return tuple(
        option
        for option in OPTIONS
        if option.role is role and option.need in needed and option.applies(config) and not option.holds(config)
    )


def option_findings(config: KernelConfig, role: Role, needed: Iterable[Need] = Need) -> Iterator[Finding]:
    """One finding for each missing option; one that says that nothing important is missing."""
    missing = missing_options(config, role, needed)
    for option in missing:
        tell = fail if option.need is Need.DUMP else warn
        yield tell(role, f"{option.fault} in {config.source}: {option.reason}", f"build it with: {' '.join(option.cure)}")
    if all(option.need is not Need.DUMP for option in missing):
        yield ok(role, f"{config.source} has every option that a dump needs")


def make_fragment(config: KernelConfig) -> str:
    """What one configuration lacks for either role, as text that the kernel's merge_config.sh merges; empty when nothing."""
    parts: dict[tuple[str, ...], str] = {}
    for option in (option for role in Role for option in missing_options(config, role)):
        weight = "needed" if option.need is Need.DUMP else f"for {option.need} only"
        lines = "".join(f"{line}\n" for line in option.cure)
        # Both kernels may lack the same.
        parts.setdefault(option.cure, f"# {option.role}, {weight}: {option.reason}\n{lines}")
    return "".join(parts.values())
