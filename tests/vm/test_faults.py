# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crashes of other kinds, and captures that can't do their work: the machine always ends as the policy says."""

import json
import re

import pytest

from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM, System


def apply_policy(guest: Guest, text: str) -> None:
    guest.write("/etc/kdumpd.yaml", f"crashkernel: 192M\n{text}")
    guest.run("kdumpd apply --yes")


def only_crash(guest: Guest) -> str:
    folders = list(guest.list_folder("/var/crash"))
    assert len(folders) == 1
    return f"/var/crash/{folders[0]}"


@pytest.mark.core
def test_an_oops_of_a_module_is_saved_when_the_policy_makes_it_a_panic(guest: Guest, crash_module: bytes) -> None:
    apply_policy(guest, "panic:\n  on: [oops]\n")
    assert guest.read("/proc/sys/kernel/panic_on_oops").strip() == "1"
    assert guest.read("/proc/sys/kernel/panic_on_io_nmi").strip() == "0"

    guest.write("/root/kcrash.ko", crash_module)
    guest.panic("insmod /root/kcrash.ko")
    guest.wait_poweroff()

    log = guest.read(f"{only_crash(guest)}/dmesg.txt")
    assert "BUG: kernel NULL pointer dereference, address: 0000000000000008" in log
    guest.boot()
    verdict = "BUG: kernel NULL pointer dereference, address: 0000000000000008, in kcrash_oops() of module kcrash"
    assert verdict in guest.run("kdumpd crashes list").stdout


@pytest.mark.core
def test_capture_then_reboot_really_reboots(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  then: reboot\n")
    before = guest.read("/proc/sys/kernel/random/boot_id")

    guest.panic()
    guest.wait_reset()
    guest.boot_on()

    assert guest.read("/proc/sys/kernel/random/boot_id") != before
    assert "sysrq triggered crash" in guest.run("kdumpd crashes list").stdout


def test_capture_then_halt_halts(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  then: halt\n")

    guest.panic()
    guest.wait_console("reboot: System halted")

    guest.kill()
    assert "sysrq triggered crash" in guest.read(f"{only_crash(guest)}/dmesg.txt")


def test_a_machine_that_crashes_again_and_again_saves_the_log_only_and_powers_off(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  then: reboot\n  vmcore: {}\n  keep: {free: 1M}\n  crash_loop: {count: 1, within: 1h}\n")
    older = guest.run("date -u +/var/crash/%Y-%m-%dT%H-%M-%SZ").stdout.strip()
    guest.run(f"mkdir -m 0700 {older}")
    guest.write(f"{older}/dmesg.txt", "[    0.000000] the log of an older crash\n")
    guest.run("sync")

    guest.panic()
    guest.wait_poweroff()

    crash = f"/var/crash/{max(guest.list_folder('/var/crash'))}"
    assert set(guest.list_folder(crash)) == {"capture.log", "dmesg.txt", "status.json"}
    guest.boot()
    status = guest.run("kdumpd status").stdout
    assert re.search(r"crash loop +2 crashes in 60 min", status), status


@pytest.mark.core
def test_the_memory_can_be_read_after_the_next_boot(guest: Guest, system: System) -> None:
    apply_policy(guest, "capture:\n  vmcore: {level: [1, 31], compress: zstd}\n  keep: {free: 64M}\n")

    guest.panic()
    guest.wait_poweroff()

    crash = only_crash(guest)
    saved = next(step for step in json.loads(guest.read(f"{crash}/status.json"))["steps"] if step["name"] == "vmcore")
    assert saved["ok"]
    # Debian 12's makedumpfile has no zstd, though it has the option.
    assert ("this makedumpfile has no zstd" in saved["detail"]) is (system == BOOKWORM)
    assert guest.list_folder(crash)["vmcore"] == 0o600
    guest.boot()
    guest.run(f"makedumpfile --dump-dmesg {crash}/vmcore /tmp/log")
    assert guest.read("/tmp/log") == guest.read(f"{crash}/dmesg.txt")


def test_an_elf_core_is_one_for_gdb(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  vmcore: {format: elf}\n  keep: {free: 64M}\n")

    guest.panic()
    guest.wait_poweroff()

    crash = only_crash(guest)
    guest.boot()
    assert guest.run(f"head -c 4 {crash}/vmcore | od -An -c").stdout.split() == ["177", "E", "L", "F"]
    guest.run(f"vmcore-dmesg {crash}/vmcore | grep -q 'sysrq triggered crash'")


def test_a_store_that_takes_nothing_ends_in_the_failure_action(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  then: reboot\n  on_failure: poweroff\n")
    guest.run("rmdir /var/crash && touch /var/crash && sync")

    guest.panic()
    guest.wait_poweroff()

    assert "kdumpd: /var/crash: File exists" in guest.console()
    assert "kdumpd: no store took the log" in guest.console()
    # Through the kernel log, which goes to every console.
    assert re.search(r"^\[ *[0-9.]+\] kdumpd: poweroff now", guest.console(), re.MULTILINE)


def test_a_dump_kernel_without_a_vmcore_says_so_and_ends_in_the_failure_action(guest: Guest) -> None:
    apply_policy(guest, "capture:\n  on_failure: poweroff\n  then: reboot\n")
    # An ordinary kexec into the dump kernel's command line: everything is as in a crash, but nothing has crashed.
    guest.run(
        "kexec -s -l /vmlinuz --initrd=/initrd.img --reuse-cmdline --append='kdumpd.capture systemd.unit=kdumpd-capture.target rw'"
    )

    guest.panic("kexec -e")
    guest.wait_poweroff()

    assert "kdumpd: /proc/vmcore is missing" in guest.console()
    assert guest.list_folder("/var/crash") == {}


def test_capture_refuses_to_run_on_a_living_machine(guest: Guest) -> None:
    refused = guest.run("kdumpd capture", check=False)

    assert refused.returncode == 1
    assert refused.stderr.startswith("kdumpd: this is not a dump kernel")


def test_a_power_cut_in_the_middle_of_an_apply_is_mended_at_the_next_boot(guest: Guest) -> None:
    guest.write("/etc/kdumpd.yaml", "crashkernel: 160M\n")
    guest.run("sync")
    guest.start("kdumpd apply --yes")
    guest.run("until grep -q 160M /etc/default/grub.d/kdumpd.cfg; do sleep 0.1; done")
    # The files are written and update-grub has begun; it takes many seconds.
    guest.kill()

    guest.boot()
    assert "an apply was cut off: its files were put back" in guest.run("journalctl --boot --unit kdumpd --output cat").stdout
    assert "crashkernel=192M" in guest.read("/proc/cmdline")
    assert guest.read("/boot/grub/grub.cfg").count("crashkernel=160M") >= 2
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"
    status = guest.run("kdumpd status").stdout
    problem = "problem: the command line has crashkernel=192M, not crashkernel=160M\n"
    assert f"{problem}    way out: reboot: the boot loader has it already\n" in status
