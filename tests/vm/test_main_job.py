# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job, with the installed .deb: from the policy to the crash that the next boot knows of."""

import json
import re

import pytest

from kdumpd.daemon.journal import Event
from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM

MARKER = "kdumpd-test-marker 7d1f"


@pytest.mark.core(BOOKWORM)
def test_every_normal_boot_entry_carries_crashkernel_once_and_a_recovery_entry_does_not(guest: Guest) -> None:
    lines = [line.split() for line in guest.read("/boot/grub/grub.cfg").splitlines() if line.split()[:1] == ["linux"]]
    normal = [words for words in lines if "single" not in words]
    recovery = [words for words in lines if "single" in words]

    assert len(normal) >= 2
    assert all(words.count("crashkernel=192M") == 1 for words in normal)
    assert recovery
    assert not any(word.startswith("crashkernel=") for words in recovery for word in words)


@pytest.mark.core(BOOKWORM)
def test_the_kernel_reserved_what_the_command_line_asks_for_and_the_dump_kernel_is_loaded(guest: Guest) -> None:
    assert "crashkernel=192M" in guest.read("/proc/cmdline").split()
    assert guest.read("/sys/kernel/kexec_crash_size").strip() == str(192 << 20)
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"


@pytest.mark.core(BOOKWORM)
def test_a_machine_that_matches_its_policy_has_an_empty_plan_and_is_ready(guest: Guest) -> None:
    plan = guest.run("kdumpd plan", check=False)
    status = guest.run("kdumpd status", check=False)

    assert (plan.returncode, plan.stdout) == (0, "nothing to change: this machine is as the policy says\n")
    assert status.returncode == 0
    assert status.stdout.startswith("ARMED: a crash now would be saved to /var/crash, then this machine would power off\n")
    assert guest.run("kdumpd status --check").stdout.startswith("KDUMP OK - ARMED: ")
    assert "\nkdumpd_armed 1\n" in guest.read("/run/kdumpd/kdumpd.prom")


@pytest.mark.core(BOOKWORM)
def test_a_panic_is_saved_and_the_next_boot_tells_of_it(guest: Guest) -> None:
    release = guest.run("uname -r").stdout.strip()
    guest.run(f"echo '{MARKER}' > /dev/kmsg")
    guest.panic()
    guest.wait_poweroff()

    assert "systemd" not in guest.console().partition("Run /init as init process")[2]
    crashes = guest.list_folder("/var/crash")
    assert list(crashes.values()) == [0o700]
    folder = f"/var/crash/{next(iter(crashes))}"
    assert guest.list_folder(folder) == {"capture.log": 0o600, "dmesg.txt": 0o600, "status.json": 0o600}
    log = guest.read(f"{folder}/dmesg.txt")
    assert MARKER in log
    assert "sysrq triggered crash" in log
    status = json.loads(guest.read(f"{folder}/status.json"))
    assert [(step["name"], step["ok"]) for step in status["steps"]] == [("dmesg", True), ("pstore", True)]
    assert status["steps"][0]["bytes"] == len(log.encode())
    assert status["doors"] == ["initrd"]
    assert status["final_action"] == "poweroff"
    crash = status["crash"]
    assert crash["release"] == release
    assert folder == f"/var/crash/{crash['time'].replace(':', '-')}"
    assert re.fullmatch("[0-9a-f]{40}", crash["build_id"])
    milestones = status["milestones"]
    assert 0 < milestones["init"] < milestones["root"] < milestones["python"] < milestones["log_safe"] < milestones["end"]
    assert f"the log is safe in {folder}" in guest.read(f"{folder}/capture.log")
    assert 0 < status["seconds"] < status["uptime"]
    memory = status["memory_kib"]
    assert 0 < memory["peak_used"] < memory["total"] < 192 << 10 <= memory["given"] < 200 << 10

    guest.boot()
    verdict = "Kernel panic - not syncing: sysrq triggered crash"
    assert f"{verdict}\n                      {folder}/dmesg.txt\n" in guest.run("kdumpd crashes list").stdout
    assert verdict in guest.run("kdumpd status").stdout
    estimate = guest.run("kdumpd estimate").stdout
    assert f"peak {memory['peak_used'] / 1024:12.1f}M  the most in use while that crash was captured: measured\n" in estimate
    journal = guest.run("journalctl --boot --unit kdumpd --output cat").stdout
    assert verdict in journal
    assert f"the log is safe: {folder}/dmesg.txt" in journal
    explained = guest.run(f"journalctl --boot --catalog MESSAGE_ID={Event.CRASH_FOUND}").stdout
    assert "This machine has crashed" in explained
    assert f"What was saved is in {folder}." in explained

    nobody = guest.run("setpriv --reuid=65534 --regid=65534 --clear-groups kdumpd status", check=False)
    assert "(only root may look inside)" in nobody.stdout
    assert nobody.stderr == ""

    guest.run("systemctl restart kdumpd")
    assert guest.run("journalctl --boot --unit kdumpd --output cat").stdout.count(verdict) == 1
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"


@pytest.mark.core(BOOKWORM)
def test_pstore_records_are_saved_beside_the_log(guest: Guest) -> None:
    # Only then does the kernel write to pstore before it starts the dump kernel (kernel/panic.c).
    guest.run("echo 1 > /sys/module/kernel/parameters/crash_kexec_post_notifiers")
    guest.panic()
    guest.wait_poweroff()

    (name,) = guest.list_folder("/var/crash")
    records = guest.list_folder(f"/var/crash/{name}/pstore")
    assert records
    assert set(records.values()) == {0o600}
    assert all(record.startswith("dmesg-efi-") for record in records)
    texts = [guest.read(f"/var/crash/{name}/pstore/{record}") for record in records]
    assert any(text.startswith("Panic#1 Part1\n") for text in texts)
    assert "sysrq triggered crash" in "".join(texts)

    guest.boot()
    assert guest.run("ls /sys/fs/pstore /var/lib/systemd/pstore 2>/dev/null | grep dmesg", check=False).stdout == ""


@pytest.mark.core(BOOKWORM)
def test_disarm_unloads_and_arm_loads_again(guest: Guest) -> None:
    assert guest.run("kdumpd disarm").stdout.startswith("disarmed")
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "0"
    status = guest.run("kdumpd status", check=False)
    assert status.returncode == 3
    assert "problem: memory is reserved, but no dump kernel is loaded\n    way out: kdumpd arm\n" in status.stdout

    assert guest.run("kdumpd arm").stdout.endswith("armed\n")
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"
    assert guest.run("kdumpd arm").stdout == "armed already: nothing to do\n"


def test_stopping_the_daemon_leaves_the_machine_armed(guest: Guest) -> None:
    guest.run("systemctl stop kdumpd")

    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"


def test_a_reload_brings_a_new_policy_into_force(guest: Guest) -> None:
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\npanic:\n  reboot_after: 7s\ncapture:\n  then: halt\n")
    guest.run("systemctl reload kdumpd")
    guest.run("timeout 60 sh -c 'until grep -q halt /var/lib/kdumpd/capture.json; do sleep 0.2; done'")

    assert guest.read("/proc/sys/kernel/panic").strip() == "7"


def test_a_broken_policy_is_told_with_its_place_and_disarms_nothing(guest: Guest) -> None:
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\npanik: {}\n")
    guest.run("kdumpd disarm")
    guest.run("systemctl restart kdumpd")

    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"
    assert '/etc/kdumpd.yaml:2:1: unknown key "panik"' in guest.run("journalctl --boot --unit kdumpd --output cat").stdout
    assert "armed with the last good dump kernel" in guest.run("systemctl show --property StatusText kdumpd").stdout


def test_nobody_may_ask_for_the_status(guest: Guest) -> None:
    as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups env PATH=/usr/bin:/bin"
    status = guest.run(f"{as_nobody} /usr/sbin/kdumpd status", check=False)

    assert status.stderr == ""
    assert status.returncode == 0
    assert status.stdout.startswith("ARMED: ")


def test_a_policy_that_may_not_be_read_is_an_error_with_its_place(guest: Guest) -> None:
    guest.run("chmod 0600 /etc/kdumpd.yaml")
    plan = guest.run("setpriv --reuid=65534 --regid=65534 --clear-groups kdumpd plan", check=False)

    assert plan.returncode == 1
    assert plan.stderr == "/etc/kdumpd.yaml:1:1: cannot read the policy: permission denied\nhint: run this as root\n"
