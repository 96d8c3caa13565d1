# SPDX-License-Identifier: LGPL-2.1-or-later
from kdumpd.host.platform import Platform, read_platform
from tests.unit.fakes import FakeMachine


def test_an_ordinary_machine(machine: FakeMachine) -> None:
    machine.write("proc/sys/kernel/arch", "x86_64\n")

    assert read_platform(machine.root) == Platform(machine="x86_64")


def test_the_cpu_that_the_firmware_started_is_known_by_its_first_number(machine: FakeMachine) -> None:
    machine.write("proc/cpuinfo", "processor\t: 0\napicid\t\t: 0\ninitial apicid\t: 4\n\nprocessor\t: 1\ninitial apicid\t: 6\n")

    assert read_platform(machine.root).boot_apic == 4


def test_the_modules_of_watchdogs_are_told_once_each(machine: FakeMachine) -> None:
    (machine.root / "sys/module/iTCO_wdt").mkdir(parents=True)
    for name in ("watchdog0", "watchdog1"):
        (machine.root / "sys/class/watchdog" / name / "device/driver").mkdir(parents=True)
        (machine.root / "sys/class/watchdog" / name / "device/driver/module").symlink_to(machine.root / "sys/module/iTCO_wdt")
    # A watchdog of software has no device.
    (machine.root / "sys/class/watchdog/watchdog2").mkdir()

    found = read_platform(machine.root)
    assert (found.has_watchdog, found.watchdogs) == (True, ("iTCO_wdt",))


def test_a_watchdog_whose_driver_is_no_module_is_one_too(machine: FakeMachine) -> None:
    (machine.root / "sys/class/watchdog/watchdog0").mkdir(parents=True)
    assert not read_platform(machine.root).has_watchdog

    (machine.root / "sys/class/watchdog/watchdog0/device").mkdir()
    assert (read_platform(machine.root).has_watchdog, read_platform(machine.root).watchdogs) == (True, ())


def test_clouds_and_hypervisors_that_matter_are_recognised(machine: FakeMachine) -> None:
    machine.write("sys/hypervisor/type", "xen\n")
    machine.write("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")

    assert read_platform(machine.root).xen
    assert read_platform(machine.root).ec2
