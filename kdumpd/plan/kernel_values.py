# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the policy sets in the running kernel: sysctls, SysRq, and when pstore is written."""

from collections.abc import Iterator, Mapping

from kdumpd.host.facts import Facts
from kdumpd.policy.model import Fault, PanicPolicy, Policy, Sysrq

# kernel/panic.c, watchdog.c, hung_task.c, rcu/tree_stall.h, mm/oom_kill.c, arch/x86/kernel/nmi.c. The NMI ones are x86's.
SYSCTL_OF_FAULT = {
    Fault.OOPS: "kernel.panic_on_oops",
    Fault.IO_NMI: "kernel.panic_on_io_nmi",
    Fault.UNRECOVERED_NMI: "kernel.panic_on_unrecovered_nmi",
    Fault.UNKNOWN_NMI: "kernel.unknown_nmi_panic",
    Fault.SOFT_LOCKUP: "kernel.softlockup_panic",
    Fault.HARD_LOCKUP: "kernel.hardlockup_panic",
    Fault.HUNG_TASK: "kernel.hung_task_panic",
    Fault.RCU_STALL: "kernel.panic_on_rcu_stall",
    Fault.WARN: "kernel.panic_on_warn",
    Fault.OOM: "vm.panic_on_oom",
}
REBOOT_AFTER = "kernel.panic"
HUNG_TASK_TIMEOUT = "kernel.hung_task_timeout_secs"
SYSRQ = "kernel.sysrq"
# Documentation/admin-guide/sysrq.rst. 1 stands for all of them.
SYSRQ_BITS = {
    Sysrq.LOGLEVEL: 2,
    Sysrq.KEYBOARD: 4,
    Sysrq.DUMPS: 8,
    Sysrq.SYNC: 16,
    Sysrq.REMOUNT: 32,
    Sysrq.SIGNAL: 64,
    Sysrq.REBOOT: 128,
    Sysrq.NICE: 256,
}
SYSRQ_ALL = 1
# Writable at run time, so that no boot parameter is needed (kernel/panic.c).
EARLY_PSTORE = "/sys/module/kernel/parameters/crash_kexec_post_notifiers"


def sysctls(policy: Policy) -> dict[str, int]:
    """Every sysctl that the policy decides, with its value. A fault that is not in panic.on is set to be survived."""
    values = {REBOOT_AFTER: policy.panic.reboot_after}
    values |= {name: int(fault in policy.panic.on) for fault, name in SYSCTL_OF_FAULT.items()}
    if Fault.HUNG_TASK in policy.panic.on:
        values[HUNG_TASK_TIMEOUT] = policy.panic.hung_task_timeout
    if policy.sysrq is not None:
        values[SYSRQ] = _sysrq_mask(policy.sysrq)
    return values


def _sysrq_mask(words: tuple[Sysrq, ...]) -> int:
    return SYSRQ_ALL if set(words) == set(Sysrq) else sum(SYSRQ_BITS[word] for word in words)


def sysctl_path(name: str) -> str:
    """Where a sysctl is read and written."""
    return f"/proc/sys/{name.replace('.', '/')}"


def kernel_values(policy: Policy) -> Mapping[str, str]:
    """Absolute path -> value, of all that the policy decides. Without early_pstore the kernel's own choice stays."""
    values = {sysctl_path(name): str(value) for name, value in sysctls(policy).items()}
    return values | ({EARLY_PSTORE: "Y"} if policy.panic.early_pstore else {})


def all_paths() -> tuple[str, ...]:
    """Every path that some policy may decide."""
    names = (REBOOT_AFTER, *SYSCTL_OF_FAULT.values(), HUNG_TASK_TIMEOUT, SYSRQ)
    return (*(sysctl_path(name) for name in names), EARLY_PSTORE)


def unknown_faults(policy: Policy, facts: Facts) -> Iterator[str]:
    """Notes on faults that this kernel can't turn into a panic; that other machines lack those of the default is no news."""
    for fault in policy.panic.on:
        name = SYSCTL_OF_FAULT[fault]
        if fault not in PanicPolicy.on and sysctl_path(name) not in facts.values:
            yield f"this kernel has no {name}: {fault} in panic.on has no effect"
