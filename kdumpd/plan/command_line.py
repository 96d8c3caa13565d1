# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of the dump kernel: the running one, minus what hurts there, plus what helps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kdumpd.capture.settings import MARKER
from kdumpd.errors import HostError
from kdumpd.host.platform import Platform
from kdumpd.parameters import parameter_name, tokenize
from kdumpd.policy.model import DumpKernelPolicy

CAPTURE_TARGET = "kdumpd-capture.target"
# Of a kernel that was itself a dump kernel.
OUR_PREFIX = "kdumpd."
# systemd feeds a hardware watchdog every half of this, from the moment that it runs; a capture that hangs it ends the machine.
WATCHDOG_SECONDS = 60
# COMMAND_LINE_SIZE in arch/*/include/asm/setup.h or uapi/asm/setup.h, the end mark included; 1024 is the least of them.
LIMITS = {"x86_64": 2048, "i686": 2048, "aarch64": 2048, "ppc64le": 2048, "ppc64": 2048, "s390x": 4096}
SMALLEST_LIMIT = 1024
# elfcorehdr=SIZE@ADDRESS, acpi_rsdp=ADDRESS and dmcryptkeys=ADDRESS (Linux 6.16), as long as they can get.
ADDED_BY_KEXEC = 128


def _always(_: Platform) -> bool:
    return True


def _x86(platform: Platform) -> bool:
    return platform.x86


def _not_s390(platform: Platform) -> bool:
    return platform.machine != "s390x"


def _keeps_its_devices(platform: Platform) -> bool:
    # On Graviton, irqpoll can take PCI devices away from the machine (kdump-utils drops it there too).
    return _not_s390(platform) and not (platform.ec2 and platform.machine == "aarch64")


@dataclass(frozen=True)
class Removal:
    """Parameters that the dump kernel must not inherit, by name."""

    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Addition:
    """One parameter that the dump kernel gets, on the platforms where it `applies`."""

    parameter: str
    reason: str
    applies: Callable[[Platform], bool] = _always


REMOVALS = (
    Removal(("crashkernel",), "would reserve memory for a dump kernel out of the dump kernel's own little memory"),
    Removal(("hugepages", "hugepagesz", "default_hugepagesz", "hugetlb_cma", "cma"), "static pools would eat the memory"),
    Removal(("mem", "memmap"), "kexec passes the memory map of the dump kernel itself"),
    Removal(("log_buf_len", "swiotlb", "slub_debug", "trace_event", "trace_buf_size"), "cost memory that is not there"),
    Removal(("BOOT_IMAGE", "showopts"), "are words between boot loaders; none of them started this kernel"),
    Removal(("elfcorehdr", "acpi_rsdp"), "kexec passes its own; of a kernel that was itself started by kexec, they are stale"),
    Removal(("resume", "noresume"), "there is nothing to wake up, and waiting for the device takes 30 s"),
    Removal(("quiet", "splash"), "would hide the only evidence of a capture that fails"),
    Removal(
        (
            "panic",
            "oops",
            "panic_on_warn",
            "unknown_nmi_panic",
            "softlockup_panic",
            "hardlockup_panic",
            "hung_task_panic",
            "nmi_watchdog",
        ),
        "set below, or would end this kernel for a fault that it can survive",
    ),
    Removal(("panic_print", "crash_kexec_post_notifiers"), "are for the kernel that dies, not for the one that saves its log"),
    Removal(("notsc",), "without the time stamp counter the dump kernel has no clock to calibrate by"),
    Removal(("ro",), "the store must be writable; see rw below"),
    Removal(
        ("init", "rdinit", "systemd.unit", "single", "s", "S", "1", "3", "5", "rescue", "emergency"),
        "another way to boot than ours",
    ),
    Removal(("systemd.run", "systemd.wants", "systemd.debug_shell"), "start what a capture has no memory for"),
    Removal(("rd.break", "rd.shell", "rd.emergency", "rd.earlykdump", "break"), "would wait for somebody who is asleep"),
    Removal(("kdump_test_id", "ignition.firstboot"), "belong to one boot, and this is not it"),
    Removal(("nr_cpus", "maxcpus", "irqpoll", "reset_devices", "disable_cpu_apicid"), "set below"),
)

ADDITIONS = (
    Addition(MARKER, "tells the capture that this is a dump kernel of kdumpd"),
    Addition(f"systemd.unit={CAPTURE_TARGET}", "starts the capture and nothing else"),
    Addition("reset_devices", "drivers reset hardware that the dead kernel left running", _not_s390),
    Addition("irqpoll", "an interrupt that got lost with the old kernel does not stall a disk", _keeps_its_devices),
    Addition("rw", "the root is the store: mounted once, writable, with its journal replayed"),
    Addition("fsck.mode=skip", "a check takes longer than the whole capture and needs memory"),
    Addition("panic=10", "a panic of the dump kernel itself ends in a reboot, not in silence"),
    Addition("oops=panic", "an oops of the dump kernel too"),
    Addition("cgroup_disable=memory", "saves its page accounting"),
    Addition("numa=off", "one node is enough, and its tables are small"),
    Addition("transparent_hugepage=never", "huge pages waste a small memory"),
    Addition("novmcoredd", "device dumps would be held in memory"),
    Addition("kfence.sample_interval=0", "saves its pool of guarded pages"),
    Addition(
        "cryptomgr.notests", "the self-tests of ciphers take longer than the log to be saved; in FIPS mode the kernel ignores it"
    ),
    Addition("cma=0", "the kernel's built-in default is a static pool too", _not_s390),
    Addition(
        "initramfs_options=size=90%", "the initrd may fill more than half of a small memory (Linux 6.18; before, it is ignored)"
    ),
    Addition("nokaslr", "a small memory may have no other place than one, and a random one may not be found"),
    Addition("mce=off", "a machine check that was the reason of the crash must not stop its capture", _x86),
    Addition("hest_disable", "the same for errors that the firmware reports", _not_s390),
    Addition("acpi_no_memhotplug", "hot-plugged memory belongs to the dead kernel", _not_s390),
    Addition("pcie_ports=compat", "saves the services of PCIe ports (hotplug, AER) and their interrupts", _not_s390),
    Addition("systemd.gpt_auto=no", "its generator probes disks, and hangs in a dump kernel"),
    Addition("rd.systemd.gpt_auto=no", "the same in the initrd"),
    Addition("rd.shell=0", "an initrd that fails must not open a shell for nobody"),
    Addition("rd.emergency=reboot", "it reboots instead"),
    Addition("udev.children-max=2", "many workers at once are many megabytes at once"),
    Addition("printk.devkmsg=on", "the capture's messages are not rate-limited"),
)


def dump_command_line(running: str, policy: DumpKernelPolicy, platform: Platform, capture: Sequence[str] = ()) -> str:
    """The command line for the dump kernel, without `elfcorehdr=`, which kexec adds. `capture` is what the capture goes by.

    Raises:
        HostError: it is longer than this architecture can pass.
    """
    inherited = {parameter_name(name) for removal in REMOVALS for name in removal.names}
    unwanted = {parameter_name(name) for name in policy.remove}
    # What comes after "--" goes to init, not to the kernel.
    words = tokenize(running)
    words = words[: words.index("--")] if "--" in words else words
    kept = [word for word in words if parameter_name(word) not in inherited | unwanted and not _is_another_dumps(word, platform)]
    line = " ".join([*kept, *added_parameters(policy, platform, capture)])
    room = LIMITS.get(platform.machine, SMALLEST_LIMIT) - 1 - ADDED_BY_KEXEC
    if len(line) > room:
        raise HostError(
            f"the dump kernel's command line would have {len(line)} characters, expected at most {room} on {platform.machine}",
            hint="take parameters out of it by dump_kernel.remove, or shorten dump_kernel.append",
        )
    return line


def added_parameters(policy: DumpKernelPolicy, platform: Platform, capture: Sequence[str] = ()) -> tuple[str, ...]:
    """What kdumpd and the policy add. The policy comes last: of two values most parameters take the later one."""
    unwanted = {parameter_name(name) for name in policy.remove}
    ours = [addition.parameter for addition in ADDITIONS if addition.applies(platform)]
    ours += [*capture, *_cpus(policy, platform), *_watchdogs(platform)]
    return (*(word for word in ours if parameter_name(word) not in unwanted), *tokenize(policy.append))


def _cpus(policy: DumpKernelPolicy, platform: Platform) -> Iterator[str]:
    """nr_cpus limits the possible CPUs and with them the per-CPU memory; maxcpus would still allocate it for all."""
    yield f"nr_cpus={policy.nr_cpus}"
    if policy.nr_cpus > 1 and platform.boot_apic is not None:
        # The crash may have been on another CPU than the one that the firmware started; to start that one with INIT resets the
        # machine. Linux 6.9 finds out by itself (5c5682b9f87a "x86/cpu: Detect real BSP on crash kernels").
        yield f"disable_cpu_apicid={platform.boot_apic}"


def _watchdogs(platform: Platform) -> Iterator[str]:
    """A watchdog's warning is an NMI, which would end the capture; the watchdog itself must end one that hangs."""
    for module in platform.watchdogs:
        yield f"{module}.pretimeout=0"
        if module == "hpwdt":
            yield "hpwdt.kdumptimeout=0"
    if platform.has_watchdog:
        yield f"systemd.watchdog_sec={WATCHDOG_SECONDS}"


def _is_another_dumps(word: str, platform: Platform) -> bool:
    return parameter_name(word).startswith(OUR_PREFIX) or _is_xen_console(word, platform)


def _is_xen_console(word: str, platform: Platform) -> bool:
    # In the dump kernel there is no hypervisor that would read it, and writing to it hangs (SUSE's kdump, pull request 15).
    return platform.x86 and platform.xen and word.startswith("console=hvc0")
