# SPDX-License-Identifier: LGPL-2.1-or-later
from kdumpd.host.hotplug import read_hardware
from tests.unit.fakes import FakeMachine


def memory(machine: FakeMachine) -> str:
    return read_hardware(machine.root).memory


def test_a_memory_block_that_comes_or_goes_is_seen(machine: FakeMachine) -> None:
    before = memory(machine)
    block = machine.root / "sys/devices/system/memory/memory16"
    block.mkdir()
    assert memory(machine) != before

    block.rmdir()
    assert memory(machine) == before


def test_a_memory_block_that_goes_on_line_is_seen(machine: FakeMachine) -> None:
    before = memory(machine)
    zoneinfo = machine.read("proc/zoneinfo")
    machine.write("proc/zoneinfo", zoneinfo.replace("present  49152", "present  81920"))

    assert memory(machine) != before


def test_a_balloon_and_a_busy_allocator_are_not_taken_for_hotplug(machine: FakeMachine) -> None:
    zone = "Node 0, zone   Normal\n  pages free     130000\n        present  262144\n        managed  257000\n"
    machine.write("proc/zoneinfo", zone)
    before = memory(machine)
    machine.write("proc/zoneinfo", zone.replace("130000", "9000").replace("257000", "131072"))

    assert memory(machine) == before


def test_cpus_are_told_as_the_kernel_lists_them(machine: FakeMachine) -> None:
    machine.write("sys/devices/system/cpu/online", "0,2-3\n")

    assert read_hardware(machine.root).cpus == "present 0-3, online 0,2-3"


def test_a_kernel_that_follows_says_so_for_each_kind(machine: FakeMachine) -> None:
    assert not read_hardware(machine.root).kernel_follows_memory

    machine.write("sys/devices/system/memory/crash_hotplug", "1\n")
    machine.write("sys/devices/system/cpu/crash_hotplug", "0\n")
    hardware = read_hardware(machine.root)
    assert (hardware.kernel_follows_memory, hardware.kernel_follows_cpus) == (True, False)


def test_a_machine_without_memory_hotplug_can_be_read(machine: FakeMachine) -> None:
    (machine.root / "sys/devices/system/memory").rename(machine.root / "gone")

    assert memory(machine)
