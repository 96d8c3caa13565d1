# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each thing that must hold for a dump to work, on a machine where it does not."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.host.check_facts import CheckFacts, StoreTrial, read_check_facts
from kdumpd.host.facts import Facts
from kdumpd.host.kernel_config import KernelConfig
from kdumpd.host.makedumpfile import Makedumpfile
from kdumpd.host.security import Security
from kdumpd.host.watchdog import Watchdog, read_watchdogs
from kdumpd.plan.check import check, worst
from kdumpd.plan.findings import Finding, Verdict, fail, ok, warn
from kdumpd.plan.make import make_plan
from kdumpd.policy.model import CapturePolicy, Compression, DumpKernelPolicy, Fault, Loader, PanicPolicy, Policy, VmcorePolicy
from kdumpd.units import GIB, KIB, MIB
from tests.unit.fakes import POLICY, RELEASE, FakeMachine, Stubs

DEBIAN = (Path(__file__).parents[1] / "data/kernel-config/debian-6.1-amd64").read_text()
KERNEL = f"/boot/vmlinuz-{RELEASE}"
VMCORE = dataclasses.replace(POLICY, capture=CapturePolicy(vmcore=VmcorePolicy()))
LOCKED = Security(lockdown="integrity", kexec_load_disabled=False, loads_left=-1)


@pytest.fixture
def ready(machine: FakeMachine, stubs: Stubs) -> FakeMachine:
    """A machine on which all is well."""
    machine.write(f"boot/config-{RELEASE}", DEBIAN)
    machine.reserve()
    stubs.add("makedumpfile", "printf 'makedumpfile: version 1.7.2 (released on 20 Oct 2022)\\nlzo\\tenabled\\nzstd\\tdisabled\\n'")
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)
    return machine


def look(machine: FakeMachine, policy: Policy = POLICY) -> tuple[Facts, CheckFacts]:
    facts = machine.facts(policy)
    return facts, read_check_facts(machine.root, facts)


def findings(machine: FakeMachine, policy: Policy = POLICY, **changes: Any) -> list[Finding]:
    """All that is not ok, when the second look had come out differently."""
    facts, more = look(machine, policy)
    return bad(policy, facts, dataclasses.replace(more, **changes))


def bad(policy: Policy, facts: Facts, more: CheckFacts) -> list[Finding]:
    return [finding for finding in check(policy, facts, more) if finding.verdict is not Verdict.OK]


def guarded(
    machine: FakeMachine, security: Security, *, loaded: bool = False, signed: bool | None = False, secure_boot: bool = True
) -> list[Finding]:
    """What is said of loading on a machine with such a security."""
    facts, more = look(machine)
    facts = dataclasses.replace(facts, security=security, kexec=dataclasses.replace(facts.kexec, loaded=loaded))
    more = dataclasses.replace(more, dump_kernel_signed=signed, secure_boot=secure_boot)
    return [finding for finding in check(POLICY, facts, more) if finding.subject == "loading"]


def test_on_a_machine_where_all_is_well_every_thing_has_its_line(ready: FakeMachine) -> None:
    facts, more = look(ready)
    found = check(POLICY, facts, more)

    free = next(finding.fact for finding in found if finding.subject == "store").removeprefix("/var/crash can be written to, ")
    assert facts.last_loaded
    assert found == (
        ok("system kernel", f"/boot/config-{RELEASE} has every option that a dump needs"),
        ok("dump kernel", f"/boot/config-{RELEASE} has every option that a dump needs"),
        ok("reservation", "192M reserved"),
        ok("armed", "a dump kernel is loaded"),
        ok("files", "as the last apply left them"),
        ok("programs", "all are installed"),
        ok("dump image", facts.last_loaded.initrd.removesuffix("/initrd.img")),
        ok("loading", "nothing forbids it (no Secure Boot here, lockdown unknown)"),
        ok("store", f"/var/crash can be written to, {free}"),
        ok("kernel values", "as the policy says"),
        ok("makedumpfile", "1.7.2; only the log is saved, which any version can"),
        ok("watchdog", "none is running"),
        ok("other dump tools", "none is in the way"),
    )
    assert worst(found) is Verdict.OK


def test_what_readiness_knows_is_told_once_and_fails_while_nothing_is_loaded(ready: FakeMachine) -> None:
    ready.write("sys/kernel/kexec_crash_loaded", "0\n")

    assert findings(ready) == [fail("armed", "memory is reserved, but no dump kernel is loaded", "kdumpd arm")]


def test_a_wrong_reservation_of_an_armed_machine_is_a_warning(ready: FakeMachine) -> None:
    ready.write("sys/kernel/kexec_crash_size", f"{128 * MIB}\n")
    (finding,) = findings(ready)

    assert (finding.verdict, finding.subject) == (Verdict.WARN, "reservation")


def test_a_file_that_was_changed_never_fails(ready: FakeMachine) -> None:
    ready.write("sys/kernel/kexec_crash_loaded", "0\n")
    (ready.root / "etc/sysctl.d/60-kdumpd.conf").unlink()

    assert warn("files", "/etc/sysctl.d/60-kdumpd.conf was removed by somebody else than kdumpd", "kdumpd apply") in findings(ready)


def test_a_kernel_that_lacks_an_option_fails(ready: FakeMachine) -> None:
    ready.write(f"boot/config-{RELEASE}", DEBIAN.replace("CONFIG_PROC_VMCORE=y", "# CONFIG_PROC_VMCORE is not set"))

    assert findings(ready) == [
        fail(
            "dump kernel",
            f"no CONFIG_PROC_VMCORE in /boot/config-{RELEASE}: /proc/vmcore is the memory of the kernel that crashed",
            "build it with: CONFIG_PROC_VMCORE=y",
        )
    ]


def test_a_kernel_whose_configuration_is_not_there_is_a_warning(ready: FakeMachine) -> None:
    (ready.root / f"boot/config-{RELEASE}").unlink()

    assert findings(ready)[0] == warn(
        "system kernel",
        f"the configuration of {RELEASE} is neither in /boot nor in /lib/modules",
        "get it from whoever built that kernel: kdumpd check --kernel-config FILE",
    )


def test_another_dump_kernel_has_its_own_configuration(ready: FakeMachine) -> None:
    facts, _ = look(ready)
    other = dataclasses.replace(facts, dump_release="6.12.1-small")
    ready.write("boot/config-6.12.1-small", "CONFIG_X86=y\n")
    more = read_check_facts(ready.root, other)

    assert (more.system_config and more.system_config.source) == f"/boot/config-{RELEASE}"
    assert (more.dump_config and more.dump_config.source) == "/boot/config-6.12.1-small"


def test_an_image_that_is_not_built_yet_is_named(ready: FakeMachine) -> None:
    facts, more = look(ready)

    assert bad(POLICY, dataclasses.replace(facts, images=()), more) == [
        warn("dump image", f"there is none for {RELEASE} as it is installed now", "kdumpd apply")
    ]


def test_an_older_image_that_is_loaded_is_named(ready: FakeMachine) -> None:
    facts, more = look(ready)
    assert facts.last_loaded
    older = dataclasses.replace(facts, last_loaded=dataclasses.replace(facts.last_loaded, command_line="old"))

    assert bad(POLICY, older, more) == [warn("dump image", "what is loaded is older than what would be loaded now", "kdumpd arm")]


def test_who_may_not_see_the_image_is_told_so(ready: FakeMachine) -> None:
    facts, more = look(ready)

    assert bad(POLICY, dataclasses.replace(facts, image_digest=None), more) == [
        warn("dump image", "this user can't see whether it is up to date", "run this as root")
    ]


def test_the_image_of_kdump_tools_is_not_kdumpds_to_judge(ready: FakeMachine) -> None:
    policy = dataclasses.replace(POLICY, loader=Loader.KDUMP_TOOLS)
    facts, more = look(ready)

    assert all(finding.subject != "dump image" for finding in check(policy, facts, more))


def test_an_unsigned_dump_kernel_under_lockdown_fails(ready: FakeMachine) -> None:
    assert guarded(ready, LOCKED) == [
        fail(
            "loading",
            f"lockdown (integrity) wants a signed dump kernel, and {KERNEL} has no signature",
            "install the distribution's signed kernel, or turn Secure Boot off",
        )
    ]


def test_what_is_loaded_already_stays_so_the_same_is_a_warning_then(ready: FakeMachine) -> None:
    assert [finding.verdict for finding in guarded(ready, LOCKED, loaded=True)] == [Verdict.WARN]


def test_a_signed_dump_kernel_is_what_lockdown_wants(ready: FakeMachine) -> None:
    assert guarded(ready, LOCKED, signed=True) == [
        ok("loading", f"lockdown (integrity) wants a signed dump kernel, and {KERNEL} is signed")
    ]


def test_a_signature_that_can_not_be_seen_is_a_warning(ready: FakeMachine) -> None:
    assert guarded(ready, LOCKED, signed=None) == [
        warn(
            "loading",
            f"lockdown (integrity) wants a signed dump kernel; whether {KERNEL} is, can't be seen",
            "run this as root; or see: sbverify --list IMAGE",
        )
    ]


def test_a_kernel_that_wants_signatures_wants_them_without_lockdown_too(ready: FakeMachine) -> None:
    ready.write(f"boot/config-{RELEASE}", DEBIAN + "CONFIG_KEXEC_SIG_FORCE=y\n")
    open_machine = dataclasses.replace(LOCKED, lockdown="none")

    assert guarded(ready, open_machine) == [
        fail(
            "loading",
            f"CONFIG_KEXEC_SIG_FORCE wants a signed dump kernel, and {KERNEL} has no signature",
            "install the distribution's signed kernel",
        )
    ]


def test_without_lockdown_no_signature_is_wanted(ready: FakeMachine) -> None:
    assert guarded(ready, dataclasses.replace(LOCKED, lockdown="none"), secure_boot=False) == [
        ok("loading", "nothing forbids it (Secure Boot off, lockdown none)")
    ]


def test_lockdown_and_a_kernel_that_can_not_check_signatures_fail(ready: FakeMachine) -> None:
    ready.write(f"boot/config-{RELEASE}", DEBIAN.replace("CONFIG_KEXEC_FILE=y", ""))

    assert guarded(ready, LOCKED, signed=True) == [
        fail(
            "loading",
            "lockdown (integrity) forbids kexec_load, and this kernel has no CONFIG_KEXEC_FILE",
            "run a kernel with CONFIG_KEXEC_FILE, or turn Secure Boot off",
        )
    ]


def test_the_one_way_switch_of_kexec_is_named(ready: FakeMachine) -> None:
    assert guarded(ready, dataclasses.replace(LOCKED, lockdown="none", kexec_load_disabled=True)) == [
        fail(
            "loading",
            "kernel.kexec_load_disabled is 1, so no other dump kernel can be loaded until the next boot",
            "find who sets it: grep -rs kexec_load_disabled /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d; then reboot",
        )
    ]


def test_a_used_up_limit_of_loads_fails_and_a_small_one_warns(ready: FakeMachine) -> None:
    def limited(left: int) -> list[Finding]:
        return guarded(ready, dataclasses.replace(LOCKED, lockdown="none", loads_left=left))

    way_out = "reboot; a limit can't be raised"
    until = "until the next boot"
    assert limited(0) == [
        fail("loading", f"kernel.kexec_load_limit_panic is 0, so no other dump kernel can be loaded {until}", way_out)
    ]
    assert limited(2) == [
        warn("loading", f"kernel.kexec_load_limit_panic lets only 2 more dump kernels be loaded {until}", way_out)
    ]
    assert [finding.verdict for finding in limited(50)] == [Verdict.OK]


def test_a_store_that_does_not_exist_is_named(ready: FakeMachine) -> None:
    (ready.root / "var/crash").rmdir()

    assert findings(ready) == [warn("store", "/var/crash does not exist", "kdumpd apply")]


def test_a_store_that_takes_nothing_fails(ready: FakeMachine) -> None:
    trials = {"/var/crash": StoreTrial(problem="read-only file system")}

    assert findings(ready, trials=trials) == [
        fail("store", "nothing can be written to /var/crash: read-only file system", "see why: findmnt -T /var/crash")
    ]


def test_a_trial_leaves_nothing_behind(ready: FakeMachine) -> None:
    _, more = look(ready)

    assert more.trials == {"/var/crash": StoreTrial()}
    assert list((ready.root / "var/crash").iterdir()) == []


def test_a_trial_tells_what_the_system_said(ready: FakeMachine) -> None:
    (ready.root / "var/crash").rmdir()
    ready.write("var/crash", "")
    _, more = look(ready)

    assert more.trials == {"/var/crash": StoreTrial(problem="not a directory")}


def test_who_may_not_write_is_told_so(ready: FakeMachine) -> None:
    assert findings(ready, trials={"/var/crash": StoreTrial(denied=True)}) == [
        warn("store", "this user may not try to write to /var/crash", "run this as root")
    ]


def test_a_store_that_is_too_small_for_a_vmcore_still_takes_the_log(ready: FakeMachine) -> None:
    machine_of_2g = "MemTotal: 2097152 kB\nMemFree: 0 kB\n"
    ready.write("proc/meminfo", machine_of_2g)
    facts, more = look(ready, VMCORE)
    small = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], free=GIB),))

    assert [finding for finding in bad(VMCORE, small, more) if finding.subject == "store"] == [
        warn("store", "/var/crash has only 1G free, a log and the memory may need 2G", "make room, or name another store")
    ]


def test_a_dump_kernel_of_another_program_fails_though_one_is_loaded(ready: FakeMachine) -> None:
    facts, more = look(ready)
    foreign = dataclasses.replace(facts, last_loaded=None)

    assert fail("armed", "the dump kernel was loaded by another program", "kdumpd apply") in bad(POLICY, foreign, more)


def test_a_store_of_which_readiness_knows_better_fails_once(ready: FakeMachine) -> None:
    facts, more = look(ready)
    full = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], free=3 * KIB),))

    assert bad(POLICY, full, more) == [
        fail("store", "/var/crash has only 3K free, a log may need 32M", "make room, or name another store")
    ]


def test_a_kernel_value_that_somebody_else_set_is_named(ready: FakeMachine) -> None:
    ready.write("proc/sys/kernel/panic_on_oops", "0\n")

    assert findings(ready) == [warn("kernel values", "/proc/sys/kernel/panic_on_oops is 0, the policy says 1", "kdumpd apply")]


def test_a_fault_that_this_kernel_does_not_know_is_named(ready: FakeMachine) -> None:
    (ready.root / "proc/sys/vm/panic_on_oom").unlink()
    policy = dataclasses.replace(POLICY, panic=PanicPolicy(on=(*PanicPolicy.on, Fault.OOM)))

    assert [finding for finding in findings(ready, policy) if finding.subject == "kernel values"] == [
        warn("kernel values", "this kernel has no vm.panic_on_oom: oom in panic.on has no effect", "take it out of panic.on")
    ]


def test_a_makedumpfile_that_is_too_old_for_a_vmcore_of_this_kernel_is_named(ready: FakeMachine) -> None:
    facts, more = look(ready, VMCORE)
    newer = dataclasses.replace(facts, release="6.12.117+deb12-amd64")

    assert [finding for finding in bad(VMCORE, newer, more) if finding.subject == "makedumpfile"] == [
        warn(
            "makedumpfile",
            "1.7.2 is too old for a vmcore of Linux 6.12.117+deb12-amd64: it takes free memory for memory in use, so that a "
            "vmcore is many times as large. The log is saved all the same",
            "install makedumpfile 1.7.7 or newer, or set capture.vmcore: off",
        )
    ]


@pytest.mark.parametrize(
    ("release", "version", "enough"),
    [
        ("6.1.0", (1, 7, 2), True),
        ("6.10.3", (1, 7, 5), False),
        ("6.10.3", (1, 7, 6), True),
        ("6.12.1", (1, 7, 6), False),
        ("6.12.1", (1, 7, 7), True),
        ("7.0.9", (1, 7, 8), True),
        ("7.1.0", (1, 7, 9), False),
        ("7.3.4+deb13-amd64", (1, 8, 0), True),
        ("nonsense", (1, 0, 0), True),
    ],
)
def test_each_makedumpfile_is_good_for_its_kernels(
    ready: FakeMachine, release: str, version: tuple[int, int, int], enough: bool
) -> None:
    facts, more = look(ready, VMCORE)
    facts = dataclasses.replace(facts, release=release)
    more = dataclasses.replace(more, makedumpfile=Makedumpfile(version=version, disabled=frozenset()))
    (finding,) = [finding for finding in check(VMCORE, facts, more) if finding.subject == "makedumpfile"]

    assert (finding.verdict is Verdict.OK) is enough


def test_a_compression_that_makedumpfile_was_built_without_is_named(ready: FakeMachine) -> None:
    policy = dataclasses.replace(POLICY, capture=CapturePolicy(vmcore=VmcorePolicy(compress=Compression.ZSTD)))

    assert [finding for finding in findings(ready, policy) if finding.subject == "makedumpfile"] == [
        warn(
            "makedumpfile",
            "1.7.2 was built without zstd, so the capture would take lzo",
            "set capture.vmcore.compress to one of lzo, zlib, snappy, none",
        )
    ]


def test_a_makedumpfile_that_does_not_tell_its_version_is_passed_over(ready: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", "echo hello")
    facts, more = look(ready)

    assert more.makedumpfile is None
    assert all(finding.subject != "makedumpfile" for finding in check(POLICY, facts, more))


def test_a_watchdog_is_read_as_far_as_it_tells(machine: FakeMachine) -> None:
    for name, text in {"identity": "iTCO_wdt\n", "state": "active\n", "timeout": "10\n"}.items():
        machine.write(f"sys/class/watchdog/watchdog0/{name}", text)
    (machine.root / "sys/class/watchdog/watchdog1").mkdir()

    assert read_watchdogs(machine.root) == (
        Watchdog(name="watchdog0", identity="iTCO_wdt", active=True, timeout=10),
        Watchdog(name="watchdog1", identity=None, active=None, timeout=None),
    )


def test_a_hasty_watchdog_is_named(ready: FakeMachine) -> None:
    watchdogs = (Watchdog(name="watchdog0", identity="iTCO_wdt", active=True, timeout=10),)

    assert findings(ready, watchdogs=watchdogs) == [
        warn(
            "watchdog",
            "iTCO_wdt resets this machine 10 s after a crash, a dump may take 30s",
            "give it more time: RuntimeWatchdogSec=30s in /etc/systemd/system.conf",
        )
    ]


@pytest.mark.parametrize(
    ("watchdog", "fact"),
    [
        (Watchdog(name="watchdog0", identity=None, active=True, timeout=60), "watchdog0 leaves a dump enough time"),
        (Watchdog(name="watchdog0", identity="iTCO_wdt", active=False, timeout=10), "none is running"),
        (Watchdog(name="watchdog0", identity="Software Watchdog", active=True, timeout=10), "none is running"),
    ],
)
def test_a_patient_a_resting_and_a_software_watchdog_do_no_harm(ready: FakeMachine, watchdog: Watchdog, fact: str) -> None:
    facts, more = look(ready)
    found = check(POLICY, facts, dataclasses.replace(more, watchdogs=(watchdog,)))

    assert ok("watchdog", fact) in found


def enable(machine: FakeMachine, unit: str) -> None:
    machine.write(f"lib/systemd/system/{unit}", "[Service]\n")
    wants = machine.root / "etc/systemd/system/basic.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit).symlink_to(f"/lib/systemd/system/{unit}")


def test_another_dump_tool_that_is_enabled_is_named(ready: FakeMachine) -> None:
    enable(ready, "kdump.service")

    assert findings(ready) == [
        warn(
            "other dump tools",
            "kdump.service is enabled and loads its own dump kernel over kdumpd's",
            "systemctl disable --now kdump.service; kdumpd arm",
        )
    ]


def test_a_unit_that_is_masked_or_was_removed_is_not_enabled(ready: FakeMachine) -> None:
    enable(ready, "kdump.service")
    (ready.root / "etc/systemd/system/kdump.service").symlink_to("/dev/null")
    enable(ready, "kdumpst-init.service")
    (ready.root / "lib/systemd/system/kdumpst-init.service").unlink()

    assert findings(ready) == []


def test_kdump_tools_that_stands_down_is_not_in_the_way(ready: FakeMachine) -> None:
    enable(ready, "kdump-tools.service")
    assert findings(ready) == []

    ready.write("etc/default/kdump-tools", "USE_KDUMP=1\n")
    finding = findings(ready)[-1]
    assert (finding.subject, finding.way_out) == ("other dump tools", "kdumpd apply")


def test_kdump_tools_that_is_to_load_is_not_in_the_way(ready: FakeMachine) -> None:
    enable(ready, "kdump-tools.service")
    policy = dataclasses.replace(POLICY, loader=Loader.KDUMP_TOOLS)

    assert all(finding.subject != "other dump tools" for finding in findings(ready, policy))


def test_without_a_configuration_lockdown_is_taken_at_its_word(ready: FakeMachine) -> None:
    none: KernelConfig | None = None
    facts, more = look(ready)
    facts = dataclasses.replace(facts, security=LOCKED)
    more = dataclasses.replace(more, system_config=none, dump_kernel_signed=False)

    assert any("has no signature" in finding.fact for finding in check(POLICY, facts, more))


def test_a_command_line_that_is_too_long_for_the_dump_kernel_fails(ready: FakeMachine) -> None:
    facts, more = look(ready)
    policy = dataclasses.replace(POLICY, dump_kernel=DumpKernelPolicy(append="a" * 1000))
    long = dataclasses.replace(facts, command_line=f"{facts.command_line} {'b' * 1000}")

    (finding,) = bad(policy, long, more)
    assert (finding.verdict, finding.subject) == (Verdict.FAIL, "dump kernel's command line")
    assert "expected at most 1919 on x86_64" in finding.fact
