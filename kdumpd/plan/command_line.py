# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of the dump kernel: the running one, minus what hurts there, plus what helps."""

from dataclasses import dataclass

from kdumpd.capture.settings import MARKER
from kdumpd.parameters import parameter_name, tokenize
from kdumpd.policy.model import DumpKernelPolicy

CAPTURE_TARGET = "kdumpd-capture.target"


@dataclass(frozen=True)
class Removal:
    """Parameters that the dump kernel must not inherit, by name."""

    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Addition:
    """One parameter that the dump kernel gets."""

    parameter: str
    reason: str


REMOVALS = (
    Removal(("crashkernel",), "would reserve memory for a dump kernel out of the dump kernel's own little memory"),
    Removal(("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma"), "static pools would eat the memory"),
    Removal(("mem", "memmap"), "kexec passes the memory map of the dump kernel itself"),
    Removal(("log_buf_len", "swiotlb", "slub_debug", "trace_event", "trace_buf_size"), "cost memory that is not there"),
    Removal(("BOOT_IMAGE",), "names the boot loader's file, which did not start this kernel"),
    Removal(("resume", "noresume"), "there is nothing to wake up, and waiting for the device takes 30 s"),
    Removal(("quiet", "splash"), "would hide the only evidence of a capture that fails"),
    Removal(
        ("panic", "oops", "panic_on_warn", "unknown_nmi_panic", "softlockup_panic", "nmi_watchdog"),
        "set below, or would end this kernel for a fault that it can survive",
    ),
    Removal(("ro",), "the store must be writable; see rw below"),
    Removal(("init", "systemd.unit", "single", "s", "S", "1", "3", "5", "rescue", "emergency"), "another way to boot than ours"),
    Removal(("nr_cpus", "maxcpus", "irqpoll", "reset_devices"), "set below"),
)

ADDITIONS = (
    Addition(MARKER, "tells the capture that this is a dump kernel of kdumpd"),
    Addition(f"systemd.unit={CAPTURE_TARGET}", "starts the capture and nothing else"),
    Addition("reset_devices", "drivers reset hardware that the dead kernel left running"),
    Addition("irqpoll", "an interrupt that got lost with the old kernel does not stall a disk"),
    Addition("rw", "the root is the store: mounted once, writable, with its journal replayed"),
    Addition("fsck.mode=skip", "a check takes longer than the whole capture and needs memory"),
    Addition("panic=10", "a panic of the dump kernel itself ends in a reboot, not in silence"),
    Addition("oops=panic", "an oops of the dump kernel too"),
    Addition("cgroup_disable=memory", "saves its page accounting"),
    Addition("numa=off", "one node is enough, and its tables are small"),
    Addition("transparent_hugepage=never", "huge pages waste a small memory"),
    Addition("novmcoredd", "device dumps would be held in memory"),
    Addition("kfence.sample_interval=0", "saves its pool of guarded pages"),
    Addition("mce=off", "a machine check that was the reason of the crash must not stop its capture"),
    Addition("hest_disable", "the same for errors that the firmware reports"),
    Addition("acpi_no_memhotplug", "hot-plugged memory belongs to the dead kernel"),
    Addition("systemd.gpt_auto=no", "its generator probes disks, and hangs in a dump kernel"),
    Addition("udev.children-max=2", "many workers at once are many megabytes at once"),
    Addition("printk.devkmsg=on", "the capture's messages are not rate-limited"),
)


def dump_command_line(running: str, policy: DumpKernelPolicy) -> str:
    """The command line for the dump kernel, without `elfcorehdr=`, which kexec adds.

    nr_cpus limits the possible CPUs and with them the per-CPU memory; maxcpus would still allocate it for all.
    """
    inherited = {parameter_name(name) for removal in REMOVALS for name in removal.names}
    unwanted = {parameter_name(name) for name in policy.remove}
    kept = [token for token in tokenize(running) if parameter_name(token) not in inherited | unwanted]
    # What comes after "--" goes to init, not to the kernel.
    if "--" in kept:
        kept = kept[: kept.index("--")]
    return " ".join([*kept, *added_parameters(policy)])


def added_parameters(policy: DumpKernelPolicy) -> tuple[str, ...]:
    """What kdumpd and the policy add. The policy comes last: of two values most parameters take the later one."""
    unwanted = {parameter_name(name) for name in policy.remove}
    ours = [addition.parameter for addition in ADDITIONS if parameter_name(addition.parameter) not in unwanted]
    return (*ours, f"nr_cpus={policy.nr_cpus}", *tokenize(policy.append))
