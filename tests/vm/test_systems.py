# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job on one system: from the package to the crash that the next boot reports, and back to a server without kdumpd."""

import json
import re
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.machines import install
from tests.vm.systems import BootLoader, System
from tests.vm.systems_table import WORKS, Row

MARKER = "kdumpd-test-marker 5e11"
POLICY = "crashkernel: auto\ncapture:\n  vmcore: {level: 31}\n  keep: {free: 64M}\n"
PACKAGES = {"systemd": "systemd", "kexec_tools": "kexec-tools", "makedumpfile": "makedumpfile", "python": "python3"}
# What may bear its name when it is gone: what a person put there, the crashes, and what others wrote about it.
LEFT = "find / -xdev -path '*kdumpd*' " + " ".join(
    f"-not -path '{path}'" for path in ("/root/*", "/var/crash/*", "/var/log/*", "/var/lib/systemd/*", "/var/cache/*")
)


@pytest.mark.matrix
def test_the_main_job(system: System, deb: Path, fresh_guest: Guest) -> None:
    row = Row(system=system.name)
    try:
        arm(fresh_guest, deb, row)
        crash(fresh_guest, row)
        crash_for_a_test(fresh_guest)
        withdraw(fresh_guest, system)
        row.result = WORKS
    except BaseException as problem:
        row.result = f"fails: {str(problem).splitlines()[0].replace('|', '¦')[:120]}" if str(problem) else "fails"
        raise
    finally:
        row.write()


def arm(guest: Guest, deb: Path, row: Row) -> None:
    row.kernel = guest.run("uname -r").stdout.strip()
    for field, package in PACKAGES.items():
        version = guest.run(f"dpkg-query -W -f '${{Version}}' {package}").stdout
        setattr(row, field, re.sub(r"^\d+:|[-+~].*$", "", version))
    install(guest, deb)
    guest.write("/etc/kdumpd.yaml", POLICY)
    plan = guest.run("kdumpd plan", check=False)
    assert plan.returncode == 2, plan.stdout + plan.stderr
    guest.run("systemctl enable --now kdumpd", deadline=4 * guest.deadlines.command)

    guest.reboot()
    reserved = int(guest.read("/sys/kernel/kexec_crash_size"))
    row.reserved = f"{reserved >> 20}M"
    status = guest.run("kdumpd status", check=False)
    assert status.stdout.startswith("ARMED: "), status.stdout
    assert status.returncode == 0
    assert guest.run("kdumpd plan").stdout.startswith("nothing to change")


def crash(guest: Guest, row: Row) -> None:
    guest.run(f"echo '{MARKER}' > /dev/kmsg; sync")
    guest.panic()
    guest.wait_poweroff()

    guest.boot()
    (folder,) = guest.run("ls -d /var/crash/*Z").stdout.split()
    log = guest.read(f"{folder}/dmesg.txt")
    assert MARKER in log
    assert "Kernel panic - not syncing: sysrq triggered crash" in log
    status = json.loads(guest.read(f"{folder}/status.json"))
    failed = [step for step in status["steps"] if not step["ok"]]
    assert failed == []
    row.peak = f"{status['memory_kib']['peak_used'] / 1024:.0f}M"
    row.log = f"{status['milestones']['log_safe']:.1f} s"
    guest.run(f"makedumpfile --dump-dmesg {folder}/vmcore /tmp/log")
    assert guest.read("/tmp/log") == log
    assert "Kernel panic - not syncing: sysrq triggered crash" in guest.run("kdumpd crashes list").stdout
    assert guest.run("kdumpd status").stdout.startswith("ARMED")


def crash_for_a_test(guest: Guest) -> None:
    guest.panic("kdumpd test --yes")
    guest.wait_poweroff()
    guest.boot()
    assert re.search(r"^  last test     passed ", guest.run("kdumpd status").stdout, re.MULTILINE)


def withdraw(guest: Guest, system: System) -> None:
    guest.run("systemctl disable --now kdumpd && kdumpd withdraw --yes", deadline=2 * guest.deadlines.command)
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "0"
    guest.run("apt-get purge --yes kdumpd", deadline=2 * guest.deadlines.command)
    entries = "/boot/efi/loader/entries" if system.boot_loader is BootLoader.SYSTEMD_BOOT else "/boot/grub/grub.cfg"
    assert guest.run(f"grep -r crashkernel= {entries}", check=False).stdout == ""
    assert guest.run(LEFT).stdout == ""

    guest.reboot()
    assert "crashkernel=" not in guest.read("/proc/cmdline")
