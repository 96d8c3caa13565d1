# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's real kdump-tools on the same machine: one of the two loads, and kdumpd captures."""

import json

import pytest

from tests.vm.guest import Guest

# Their machine takes minutes to make: one process does it for all of them.
pytestmark = pytest.mark.xdist_group("kdump-tools")
LOADED = "/sys/kernel/kexec_crash_loaded"
# As after a CPU was plugged in, to which the udev rule of kdump-tools reacts. Not by udevd, whose sandbox on Debian 12 happens
# to forbid kexec to what it runs.
HOTPLUG = "udevadm test --action=add /sys/devices/system/cpu/cpu1"


def crash_and_read_its_status(guest: Guest) -> dict[str, object]:
    guest.panic()
    guest.wait_poweroff()
    (folder,) = [name for name in guest.list_folder("/var/crash") if name.endswith("Z")]
    found: dict[str, object] = json.loads(guest.read(f"/var/crash/{folder}/status.json"))
    return found


def test_kdump_tools_stands_down_when_kdumpd_loads(guest_with_kdump_tools: Guest) -> None:
    guest = guest_with_kdump_tools
    assert guest.read(LOADED).strip() == "1"
    guest.run(HOTPLUG)
    # USE_KDUMP=0 does not keep its rule from unloading.
    assert guest.read(LOADED).strip() == "0"

    guest.run("kdumpd apply --yes")
    assert guest.read(LOADED).strip() == "1"
    guest.run(HOTPLUG)
    assert guest.read(LOADED).strip() == "1"
    guest.run("systemctl restart kdump-tools")
    assert guest.read(LOADED).strip() == "1"

    guest.reboot()
    words = guest.read("/proc/cmdline").split()
    assert [word for word in words if word.startswith("crashkernel=")] == ["crashkernel=192M"]
    status = guest.run("kdumpd status").stdout
    assert status.startswith("ARMED: ")
    assert ", image " in status
    assert crash_and_read_its_status(guest)["dmesg_saved"] is True


def test_kdump_tools_loads_what_boots_into_the_capture_of_kdumpd(guest_with_kdump_tools: Guest) -> None:
    guest = guest_with_kdump_tools
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\nloader: kdump-tools\n")
    told = guest.run("kdumpd apply --yes", deadline=600).stdout
    assert "run kdump-config reload: /etc/default/kdump-tools changes\n" in told
    assert "remove /etc/udev/rules.d/50-kdump-tools.rules\n" not in told
    assert "systemd.unit=kdumpd-capture.target" in guest.read("/var/crash/kexec_cmd")

    guest.reboot()
    assert guest.run("kdump-config status").stdout.startswith("current state   : ready to kdump")
    status = guest.run("kdumpd status").stdout
    assert status.startswith("ARMED: ")
    assert "  dump kernel   loaded by kdump-tools, boots into kdumpd's capture\n" in status
    assert guest.run("kdumpd plan").stdout == "nothing to change: this machine is as the policy says\n"

    assert crash_and_read_its_status(guest)["dmesg_saved"] is True
    assert "kdumpd: the log is safe in /var/crash/" in guest.console()
