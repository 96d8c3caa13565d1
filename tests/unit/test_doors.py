# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the capture begins on this machine, and what the dump kernel is told of it."""

import dataclasses
import json

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.capture.settings import CrashLoop, Mount, Settings, StoreSettings, VmcoreSettings
from kdumpd.errors import HostError
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.doors import Door, Way, way
from kdumpd.plan.handover import capture_parameters, capture_settings
from kdumpd.plan.make import make_plan, wanted_dump_set
from kdumpd.policy.model import CapturePolicy, Compression, CrashLoopPolicy, DumpFormat, Loader, Policy, PstorePolicy, VmcorePolicy
from tests.unit.fakes import DISK, POLICY, FakeMachine

DUMP = "/srv/dump/crash"


def with_stores(*stores: str) -> Policy:
    return dataclasses.replace(POLICY, capture=CapturePolicy(stores=stores))


def add_dump_disk(machine: FakeMachine, point: str = "/srv/dump", name: str = "vdb", number: str = "254:16") -> None:
    machine.add_disk(name, number, f"uuid-of-{name}")
    machine.mount(point, number, f"/dev/{name}")


def add_dump_volume(machine: FakeMachine, point: str = "/srv/dump", *, uuid: str = "LVM-AbCd", number: str = "253:5") -> None:
    machine.add_lvm(number, machine.add_disk("vdc", "254:32"), name="vg-my-dump", uuid=uuid)
    machine.mount(point, number, "/dev/mapper/vg-my-dump")
    fstab = machine.root / "etc/fstab"
    machine.write("etc/fstab", f"{fstab.read_text() if fstab.exists() else ''}/dev/mapper/vg-my-dump {point} ext4 defaults 0 2\n")


def parameters(policy: Policy, facts: Facts) -> list[str]:
    return [word.removeprefix("kdumpd.") for word in capture_parameters(policy, facts)]


ENDS = ["deadline=300", "then=poweroff", "on_failure=reboot"]
ON_ROOT = "store=/var/crash"


def test_a_root_on_a_partition_is_mounted_by_init_itself(machine: FakeMachine) -> None:
    found = way(machine.facts())

    assert found == Way(door=Door.INITRD, direct=True, reason="")
    assert str(found) == "by the initrd, as soon as / is mounted"
    assert parameters(POLICY, machine.facts()) == [*ENDS, ON_ROOT]


def test_a_root_on_lvm_is_mounted_by_the_generators_scripts(machine: FakeMachine) -> None:
    machine.add_lvm("253:0", f"sys/devices/{DISK}")
    machine.write("proc/self/mountinfo", "22 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n")

    found = way(machine.facts())
    assert (found.door, found.direct) == (Door.INITRD, False)
    assert str(found) == "by the initrd, after its own scripts have mounted /, because / is on LVM"
    assert parameters(POLICY, machine.facts()) == [*ENDS, ON_ROOT]


def test_a_first_store_on_lvm_takes_systemd_though_init_can_mount_the_root(machine: FakeMachine) -> None:
    add_dump_volume(machine)
    policy = with_stores(DUMP, "/var/crash")

    found = way(machine.facts(policy))
    assert found == Way(door=Door.SYSTEMD, direct=True, reason="/srv/dump is on LVM")
    assert str(found) == "by systemd, because /srv/dump is on LVM"
    assert parameters(policy, machine.facts(policy)) == [*ENDS, "door=systemd", ON_ROOT]


def test_a_later_store_on_lvm_does_not_hold_up_the_first(machine: FakeMachine) -> None:
    add_dump_volume(machine)
    policy = with_stores("/var/crash", DUMP)

    assert way(machine.facts(policy)).door is Door.INITRD
    assert capture_settings(policy, machine.facts(policy)).stores[1].mount == Mount(
        point="/srv/dump", source="/dev/mapper/vg-my-dump", type="ext4", options="", by_systemd=True
    )


def test_an_initrd_of_kdump_tools_has_no_first_door(machine: FakeMachine) -> None:
    assert str(way(machine.facts(), loader=Loader.KDUMP_TOOLS)) == "by systemd, because kdump-tools makes an initrd of its own"


def test_the_first_store_on_a_disk_of_its_own_is_where_the_log_goes_when_the_root_is_dead(machine: FakeMachine) -> None:
    add_dump_disk(machine)
    policy = with_stores("/var/crash", DUMP)
    facts = machine.facts(policy)

    assert parameters(policy, facts) == [*ENDS, ON_ROOT, "rescue=UUID=uuid-of-vdb,ext4,/crash"]
    # Its disk has the same driver as the root's.
    assert facts.store_modules == ()


def test_the_initrd_has_the_modules_of_every_store_that_mount_can_mount(machine: FakeMachine) -> None:
    add_dump_disk(machine)
    add_dump_volume(machine, "/srv/volume")
    machine.add_disk("vdd", "254:48", "uuid-of-vdd")
    machine.mount("/srv/third", "254:48", "/dev/vdd", "xfs")
    for module in ("xfs", "dm_mod"):
        machine.write(f"sys/module/{module}/initstate", "live\n")
    facts = machine.facts(with_stores("/var/crash", DUMP, "/srv/volume", "/srv/third/crash"))

    assert facts.store_modules == ("xfs",)


def test_a_store_that_is_the_top_of_its_file_system_is_a_rescue_too(machine: FakeMachine) -> None:
    add_dump_disk(machine)
    policy = with_stores("/srv/dump")

    assert parameters(policy, machine.facts(policy))[-1] == "rescue=UUID=uuid-of-vdb,ext4,/"


def test_the_image_is_another_one_when_the_rescue_takes_other_modules(machine: FakeMachine) -> None:
    machine.write_bytes("boot/vmlinuz-6.1.0-56-cloud-amd64", b"kernel")
    before = machine.facts().image_digest
    machine.add_disk("vdb", "254:16", "uuid-of-vdb")
    machine.mount("/srv/dump", "254:16", "/dev/vdb", "xfs")
    machine.write("sys/module/xfs/initstate", "live\n")
    policy = with_stores("/var/crash", DUMP)

    assert before is not None
    assert machine.facts(policy).image_digest != before
    assert machine.facts().image_digest == before


def test_var_on_a_disk_of_its_own_is_mounted_before_the_settings_are_read(machine: FakeMachine) -> None:
    add_dump_disk(machine, "/var")
    facts = machine.facts()

    assert parameters(POLICY, facts) == [*ENDS, "mount=/var,UUID=uuid-of-vdb,ext4", "rescue=UUID=uuid-of-vdb,ext4,/crash"]
    assert way(facts).door is Door.INITRD
    assert capture_settings(POLICY, facts).stores == (
        StoreSettings(path="/var/crash", mount=Mount(point="/var", source="UUID=uuid-of-vdb", type="ext4", options="")),
    )


def test_a_subvolume_with_var_is_named(machine: FakeMachine) -> None:
    machine.link("sys/fs/btrfs/5f3a/devices/vda1", f"sys/devices/{DISK}/vda1")
    machine.write("proc/self/mountinfo", "22 1 0:31 /@ / rw - btrfs /dev/vda1 rw,subvol=/@\n")
    machine.mount("/var", "0:31", "/dev/vda1", "btrfs", options="rw,subvolid=257,subvol=/@var", folder="/@var")

    assert parameters(POLICY, machine.facts()) == [*ENDS, "mount=/var,/dev/vda1,btrfs,subvol=/@var"]


def test_var_on_lvm_takes_systemd_and_is_mounted_before_the_capture(machine: FakeMachine) -> None:
    add_dump_volume(machine, "/var")
    facts = machine.facts()

    assert str(way(facts)) == "by systemd, because /var is on LVM"
    assert parameters(POLICY, facts) == [*ENDS, "door=systemd"]
    found = drop_in(machine, POLICY)
    assert found["After"] == "systemd-udevd.service systemd-udev-trigger.service var.mount"
    # Its device may not come at all: systemd waits for it for 90 s.
    assert (found["TimeoutStartSec"], found["JobTimeoutSec"]) == ("330", "480")


def test_a_way_that_can_not_be_written_on_a_command_line_is_refused(machine: FakeMachine) -> None:
    machine.mount("/var", "254:1", "/dev/vda1", "btrfs", options="subvol=/my\\040var", folder="/my\\040var")

    with pytest.raises(HostError, match='the mount "/var,/dev/vda1,btrfs,subvol=/my var" can\'t be written on the dump kernel'):
        make_plan(POLICY, machine.facts())


def test_the_command_line_of_the_dump_kernel_has_it(machine: FakeMachine) -> None:
    add_dump_disk(machine)
    machine.write_bytes("boot/vmlinuz-6.1.0-56-cloud-amd64", b"kernel")
    policy = with_stores(DUMP)
    wanted = wanted_dump_set(policy, machine.facts(policy))

    assert wanted
    assert values(wanted.command_line, "kdumpd.rescue") == ("UUID=uuid-of-vdb,ext4,/crash",)
    assert values(wanted.command_line, "kdumpd.deadline") == ("300",)


def test_the_settings_are_what_the_policy_says(machine: FakeMachine) -> None:
    machine.write("sys/firmware/efi/fw_platform_size", "64\n")
    vmcore = VmcorePolicy(level=(1, 31), compress=Compression.NONE, format=DumpFormat.ELF)
    policy = dataclasses.replace(POLICY, capture=CapturePolicy(vmcore=vmcore, crash_loop=CrashLoopPolicy(count=2, within=60)))

    found = capture_settings(policy, machine.facts(policy))
    assert found.vmcore == VmcoreSettings(levels=(1, 31), compress="none", format="elf")
    assert (found.crash_loop, found.pstore_modules) == (CrashLoop(crashes=2, within=60), ("efi_pstore",))
    assert Settings.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["vmcore"]["format"] == "elf"
    without = dataclasses.replace(policy, pstore=PstorePolicy(harvest=False))
    assert capture_settings(without, machine.facts(without)).pstore_modules == ()


def drop_in(machine: FakeMachine, policy: Policy) -> dict[str, str]:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None)
    lines = machine.read("etc/systemd/system/kdumpd-capture.service.d/50-policy.conf").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_where_nothing_takes_systemd_no_unit_is_started(machine: FakeMachine) -> None:
    add_dump_disk(machine)

    assert not {"Wants", "After"} & set(drop_in(machine, with_stores(DUMP)))


def test_the_second_door_has_a_minute_however_short_the_deadline_is(machine: FakeMachine) -> None:
    found = drop_in(machine, dataclasses.replace(POLICY, capture=CapturePolicy(deadline=30)))

    assert (found["TimeoutStartSec"], found["JobTimeoutSec"]) == ("90", "150")


def test_a_store_on_luks_is_opened_by_systemd_and_nobody_waits_for_it(machine: FakeMachine) -> None:
    add_dump_volume(machine, uuid="CRYPT-LUKS2-x")
    found = drop_in(machine, with_stores("/var/crash", DUMP))

    assert found["Wants"] == ("systemd-udevd.service systemd-udev-trigger.service systemd-cryptsetup@vg\\x2dmy\\x2ddump.service")
    assert found["After"] == "systemd-udevd.service systemd-udev-trigger.service"


def test_what_the_initrd_has_opened_for_the_root_is_not_opened_again(machine: FakeMachine) -> None:
    luks = machine.add_lvm("253:0", f"sys/devices/{DISK}", name="crypt", uuid="CRYPT-LUKS2-x")
    machine.add_lvm("253:1", luks, name="vg-root")
    machine.add_lvm("253:2", luks, name="vg-dump")
    machine.write("proc/self/mountinfo", "22 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n")
    machine.mount("/srv/dump", "253:2", "/dev/mapper/vg-dump")

    assert drop_in(machine, with_stores(DUMP))["Wants"] == "systemd-udevd.service systemd-udev-trigger.service"


def test_a_store_on_multipath_has_its_daemon(machine: FakeMachine) -> None:
    add_dump_volume(machine, uuid="mpath-36001405")

    assert drop_in(machine, with_stores(DUMP))["After"].endswith(" multipathd.service")
