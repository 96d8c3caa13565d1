# SPDX-License-Identifier: LGPL-2.1-or-later
"""Armed once, armed for good: whatever happens to the daemon, to its files and to the hardware."""

import json

import pytest

from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM

# Writes down every moment in which no dump kernel is loaded, as a poll of 1 ms sees it: one line for each gap.
GAP_WATCH = """\
import time
gap, gaps = False, open("/root/gaps", "w")
while True:
    loaded = open("/sys/kernel/kexec_crash_loaded").read().strip() == "1"
    if not loaded and not gap:
        print("gap", file=gaps, flush=True)
    gap = not loaded
    time.sleep(0.001)
"""
PANIC_WHILE_BOOTING = """\
[Unit]
DefaultDependencies=no
After=sysinit.target
Before=basic.target
ConditionPathExists=!/root/has-crashed
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'touch /root/has-crashed; sync; echo c > /proc/sysrq-trigger'
[Install]
WantedBy=basic.target
"""


def loaded(guest: Guest) -> bool:
    return guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"


def last_loaded(guest: Guest) -> dict[str, str]:
    found: dict[str, str] = json.loads(guest.read("/var/lib/kdumpd/last-loaded.json"))
    return found


def wait_until(guest: Guest, condition: str) -> None:
    guest.run(f"for round in $(seq 600); do {condition} && exit 0; sleep 0.2; done; exit 1")


def crash_and_read_log(guest: Guest) -> str:
    guest.panic()
    guest.wait_poweroff()
    (folder,) = guest.list_folder("/var/crash")
    return guest.read(f"/var/crash/{folder}/dmesg.txt")


@pytest.mark.core(BOOKWORM)
def test_a_panic_in_the_middle_of_a_boot_is_saved(guest: Guest) -> None:
    guest.write("/etc/systemd/system/panic.service", PANIC_WHILE_BOOTING)
    guest.run("systemctl enable panic && sync")
    guest.run("systemctl poweroff", check=False)
    guest.wait_poweroff()

    guest.power_on()
    guest.wait_poweroff()

    (folder,) = guest.list_folder("/var/crash")
    log = guest.read(f"/var/crash/{folder}/dmesg.txt")
    assert "sysrq triggered crash" in log
    assert "kdumpd.service" not in log


@pytest.mark.core(BOOKWORM)
def test_memory_and_cpus_that_come_and_go_are_followed(guest: Guest) -> None:
    guest.write("/root/watch.py", GAP_WATCH)
    guest.start("python3 /root/watch.py")
    before = last_loaded(guest)

    # A block with a page that can't be moved refuses; which ones have such, differs from boot to boot.
    states = "ls -r /sys/devices/system/memory/memory*/state"
    block = guest.run(
        f"for state in $({states}); do echo offline > $state && dirname $state && break; done 2>/dev/null"
    ).stdout.strip()
    wait_until(guest, f"! grep -q {before['memory']} /var/lib/kdumpd/last-loaded.json")
    without = last_loaded(guest)
    guest.run(f"echo online > {block}/state")
    wait_until(guest, f"grep -q {before['memory']} /var/lib/kdumpd/last-loaded.json")
    guest.run("echo 0 > /sys/devices/system/cpu/cpu1/online")
    wait_until(guest, "grep -q 'cpus.*0$' /var/lib/kdumpd/last-loaded.json || ! kdumpd status | grep -q 'were added or removed'")
    guest.run("echo 1 > /sys/devices/system/cpu/cpu1/online")
    guest.run("sleep 10")

    assert without["memory"] != before["memory"]
    assert last_loaded(guest) == before
    assert loaded(guest)
    # The kernel's own swap: it gives up the old image before it takes the new one.
    assert len(guest.read("/root/gaps").splitlines()) <= 4
    assert "sysrq triggered crash" in crash_and_read_log(guest)


def test_a_thousand_forged_events_load_nothing(guest: Guest) -> None:
    guest.write("/root/watch.py", GAP_WATCH)
    guest.start("python3 /root/watch.py")

    guest.run("for number in $(seq 1000); do echo online > /sys/devices/system/memory/memory0/uevent; done")
    guest.run("sleep 12")

    assert guest.read("/root/gaps").splitlines() == []
    assert loaded(guest)


def test_a_daemon_that_is_killed_at_any_time_comes_back_and_the_machine_stays_armed(guest: Guest) -> None:
    for delay in ("0", "0.3", "1", "2"):
        guest.run("systemctl reload --no-block kdumpd", check=False)
        guest.run(f"sleep {delay}; systemctl kill --signal=KILL kdumpd")
        assert loaded(guest)
        guest.run("systemctl reset-failed kdumpd; systemctl restart kdumpd")
        assert loaded(guest)
    assert guest.run("kdumpd status").stdout.startswith("ARMED")


def test_a_reload_of_a_broken_policy_leaves_all_as_it_was_and_status_tells(guest: Guest) -> None:
    before = last_loaded(guest)
    guest.write("/etc/kdumpd.yaml", "crashkernel: 256\n")
    guest.run("systemctl reload kdumpd")
    wait_until(guest, "systemctl show --property StatusText kdumpd | grep -q 'crashkernel: .256. has no unit'")

    assert loaded(guest)
    assert last_loaded(guest) == before
    assert "has 1 problem, the policy that was applied last stays in force" in guest.run("kdumpd status").stdout


def test_a_restart_of_dbus_is_survived(guest: Guest) -> None:
    pid = guest.run("systemctl show --property MainPID --value kdumpd").stdout
    guest.run("systemctl restart dbus")
    wait_until(guest, "busctl get-property org.kdumpd1 /org/kdumpd1 org.kdumpd1 Armed")

    assert guest.run("busctl get-property org.kdumpd1 /org/kdumpd1 org.kdumpd1 Armed").stdout == "b true\n"
    assert guest.run("systemctl show --property MainPID --value kdumpd").stdout == pid


def test_a_full_var_leaves_the_last_good_image_loaded_and_status_tells(guest: Guest) -> None:
    before = last_loaded(guest)
    guest.run("echo dm_mod >> /etc/initramfs-tools/modules")
    guest.run("dd if=/dev/zero of=/var/filler bs=1M status=none", check=False)
    guest.run("systemctl reload kdumpd", check=False)
    wait_until(guest, "systemctl status kdumpd | grep -q 'No space left'")

    assert loaded(guest)
    assert last_loaded(guest) == before
    status = guest.run("kdumpd status", check=False)
    assert status.returncode == 0
    assert "/var/crash has only" in status.stdout

    guest.run("rm /var/filler && systemctl reload kdumpd")
    wait_until(guest, f"! grep -q {before['initrd']} /var/lib/kdumpd/last-loaded.json")
    assert loaded(guest)


def test_a_removed_kernel_package_leaves_the_machine_armed_and_a_crash_is_saved(guest: Guest) -> None:
    guest.run("echo 'linux-base linux-base/removing-running-kernel boolean false' | debconf-set-selections")
    guest.run("apt-get purge --yes linux-image-$(uname -r)")
    guest.run("systemctl restart kdumpd")

    assert loaded(guest)
    status = guest.run("kdumpd status", check=False).stdout
    assert "install that kernel's package again" in status
    assert "sysrq triggered crash" in crash_and_read_log(guest)


def test_the_image_of_a_new_kernel_is_built_when_it_is_installed_and_its_first_boot_builds_nothing(guest: Guest) -> None:
    # Another kernel by name only: what counts is that the image is there before it runs.
    guest.run("cp -r /lib/modules/$(uname -r) /lib/modules/6.1.0-new")
    guest.run("for file in vmlinuz config; do cp /boot/$file-$(uname -r) /boot/$file-6.1.0-new; done")
    built = guest.run("/etc/kernel/postinst.d/kdumpd 6.1.0-new /boot/vmlinuz-6.1.0-new").stdout
    images = guest.run("ls /var/lib/kdumpd/images").stdout

    assert built == "kdumpd: building the dump image for 6.1.0-new\n"
    assert len(images.split()) == 2
    assert guest.run("/etc/kernel/postinst.d/kdumpd 6.1.0-new /boot/vmlinuz-6.1.0-new").stdout == ""
    assert loaded(guest)

    guest.run("rm -r /lib/modules/6.1.0-new /boot/*-6.1.0-new && /etc/kernel/postrm.d/kdumpd 6.1.0-new")
    assert len(guest.run("ls /var/lib/kdumpd/images").stdout.split()) == 1
    assert loaded(guest)


def test_an_image_by_dracut_saves_a_crash_too(guest: Guest) -> None:
    guest.run("apt-get install --yes /root/dracut-core.deb")
    guest.run("mv /usr/sbin/mkinitramfs /usr/sbin/mkinitramfs.gone")
    guest.run("kdumpd arm", deadline=3 * guest.deadlines.command)

    folder = last_loaded(guest)["initrd"].removesuffix("/initrd.img")
    assert json.loads(guest.read(f"{folder}/about.json"))["generator"] == "dracut"
    assert "sysrq triggered crash" in crash_and_read_log(guest)


def test_the_sandbox_is_at_most_five(guest: Guest) -> None:
    judged = guest.run("systemd-analyze security --no-pager kdumpd.service").stdout
    assert float(judged.split("for kdumpd.service: ")[1].split()[0]) <= 5.0


def test_a_kernel_that_loads_nothing_more_keeps_what_it_has_and_status_says_why(guest: Guest) -> None:
    guest.run("sysctl kernel.kexec_load_disabled=1")
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\ndump_kernel:\n  append: pci=nomsi\n")
    refused = guest.run("kdumpd apply --yes", check=False)

    assert refused.returncode == 1
    assert "the new dump kernel could not be loaded, the one that was loaded before still is" in refused.stderr
    assert "hint: kernel.kexec_load_disabled is 1, so nothing can be loaded before the next reboot" in refused.stderr
    assert loaded(guest)
    status = guest.run("kdumpd status").stdout
    assert status.startswith("DEGRADED: the dump kernel that the policy asks for could not be loaded")
    assert "Operation not permitted" in status
    assert "sysrq triggered crash" in crash_and_read_log(guest)


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_started_again(guest: Guest) -> None:
    folder = "/run/systemd/system/kdumpd.service.d"
    guest.run(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=5s\\nRestartSec=1s\\n' > {folder}/impatient.conf")
    guest.run("systemctl daemon-reload && systemctl restart kdumpd")
    pid = guest.run("systemctl show --property MainPID --value kdumpd").stdout.strip()
    guest.run("sleep 12")
    assert guest.run("systemctl show --property MainPID --value kdumpd").stdout.strip() == pid

    guest.run(f"kill -STOP {pid}")
    wait_until(guest, f"systemctl is-active --quiet kdumpd && [ $(systemctl show --property MainPID --value kdumpd) != {pid} ]")
    assert "Watchdog timeout" in guest.run("journalctl --boot --unit kdumpd --output cat").stdout
    assert loaded(guest)


def test_another_loader_at_the_same_moment_is_waited_for(guest: Guest) -> None:
    # The kernel answers EBUSY to whoever comes second.
    now = last_loaded(guest)
    load = f"kexec -s -p --initrd={now['initrd']} '--command-line={now['command_line']}' {now['kernel']}"
    guest.write("/root/other-loader", f"while ! [ -e /root/stop ]; do {load}; sleep 0.1; done > /root/other-loader.log 2>&1\n")
    guest.start("sh /root/other-loader")
    for number in range(3):
        guest.write("/etc/kdumpd.yaml", f"crashkernel: 192M\ndump_kernel:\n  append: round={number}\n")
        guest.run("kdumpd apply --yes")
        assert last_loaded(guest)["command_line"].endswith(f" round={number}")
    guest.run("touch /root/stop && sleep 3")

    assert "Device or resource busy" in guest.read("/root/other-loader.log")
    assert loaded(guest)
