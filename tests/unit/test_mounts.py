# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which file system holds a path, what another kernel needs to mount it, and what it is to systemd."""

import dataclasses
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.host.facts import Store
from kdumpd.host.mounted import Mounted, read_mounts_of_state, root_obstacle
from kdumpd.host.mounts import escape_for_unit, mount_unit, read_fstab, read_mounts
from kdumpd.host.storage import read_storage
from kdumpd.host.stores import read_store
from tests.unit.fakes import DISK, RELEASE, FakeMachine

UUID = "0fc2-4d1b"


def store(machine: FakeMachine, path: str = "/srv/dump/crash") -> Store:
    return read_store(machine.root, RELEASE, path)


def mounted(machine: FakeMachine, path: str = "/srv/dump/crash") -> Mounted:
    found = store(machine, path).mount
    assert found
    return found


def systemd_escape(*arguments: str) -> str:
    return subprocess.run(["systemd-escape", *arguments], check=True, capture_output=True, text=True).stdout.rstrip("\n")


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, blacklist_characters="/"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(NAMES, min_size=1, max_size=3))
@settings(max_examples=30)
def test_a_mount_has_the_unit_that_systemd_gives_it(names: list[str]) -> None:
    assert mount_unit(f"/{'/'.join(names)}") == systemd_escape("-p", "--suffix=mount", "--", f"/{'/'.join(names)}")


@given(NAMES)
@settings(max_examples=30)
def test_a_name_behind_an_at_is_escaped_as_systemd_does_it(name: str) -> None:
    assert escape_for_unit(name) == systemd_escape("--", name)


def test_a_store_on_what_is_mounted_at_the_root_has_no_mount_of_its_own(machine: FakeMachine) -> None:
    assert store(machine, "/var/crash").mount is None


def test_a_store_on_a_disk_is_mounted_by_the_uuid_that_udev_knows(machine: FakeMachine) -> None:
    machine.add_disk("vdb", "254:16", UUID)
    machine.mount("/srv/dump", "254:16", "/dev/vdb", options="rw,discard,errors=remount-ro")
    (machine.root / "srv/dump/crash").mkdir(parents=True)

    found = mounted(machine)
    assert (found.point, found.source, found.type, found.options) == ("/srv/dump", f"UUID={UUID}", "ext4", "")
    assert found.storage == read_storage(machine.root, RELEASE, "/srv/dump")
    assert found.storage
    assert found.storage.modules == ("ext4", "virtio_pci")
    assert (found.obstacle, found.on_root, store(machine).exists) == ("", False, True)


def test_without_udevs_record_its_links_tell_the_uuid_and_else_the_device_is_named(machine: FakeMachine) -> None:
    device = machine.add_disk("vdb", "254:16")
    machine.mount("/srv/dump", "254:16", "/dev/vdb")
    assert mounted(machine).source == "/dev/vdb"

    machine.link(f"dev/disk/by-uuid/{UUID}", device)
    assert mounted(machine).source == f"UUID={UUID}"


def test_a_subvolume_of_the_roots_own_btrfs_is_named_and_takes_nobody_but_mount(machine: FakeMachine) -> None:
    luks = machine.add_lvm("253:0", f"sys/devices/{DISK}", uuid="CRYPT-LUKS2-x")
    machine.link("sys/fs/btrfs/5f3a/devices/dm-0", luks)
    machine.write("proc/self/mountinfo", "22 1 0:31 /@ / rw - btrfs /dev/dm-0 rw,subvolid=256,subvol=/@\n")
    machine.mount("/var", "0:31", "/dev/dm-0", "btrfs", options="rw,subvolid=257,subvol=/@var", folder="/@var")

    found = mounted(machine, "/var/crash")
    assert (found.on_root, found.options, found.obstacle) == (True, "subvol=/@var", "")


@pytest.mark.parametrize(
    ("uuid", "obstacle"),
    [
        ("LVM-AbCd", "/srv/dump is on LVM"),
        ("CRYPT-LUKS2-x", "/srv/dump is on LUKS"),
        ("mpath-36001405", "/srv/dump is on multipath"),
        ("DMRAID-isw", "/srv/dump is on device-mapper"),
    ],
)
def test_a_store_on_something_that_is_made_of_others_takes_systemd(machine: FakeMachine, uuid: str, obstacle: str) -> None:
    machine.add_lvm("253:0", machine.add_disk("vdb", "254:16"), uuid=uuid)
    machine.mount("/srv/dump", "253:0", "/dev/mapper/vg-dump")

    assert mounted(machine).obstacle == obstacle


def test_a_btrfs_on_several_devices_takes_systemd(machine: FakeMachine) -> None:
    for name, number in (("vdb", "254:16"), ("vdc", "254:32")):
        machine.link(f"sys/fs/btrfs/77/devices/{name}", machine.add_disk(name, number))
    machine.mount("/srv/dump", "0:44", "/dev/vdb", "btrfs")

    assert mounted(machine).obstacle == "/srv/dump is on 2 devices"


def test_a_bind_mount_takes_systemd(machine: FakeMachine) -> None:
    machine.mount("/srv/dump", "254:1", "/dev/vda1", folder="/home/dump")

    assert mounted(machine).obstacle == "/srv/dump is a bind mount"


def test_the_daemon_sees_through_its_own_sandbox(machine: FakeMachine) -> None:
    def seen() -> object:
        facts = machine.facts()
        # Others write to this disk meanwhile.
        stores = [dataclasses.replace(store, free=0) for store in facts.stores]
        return stores, facts.state, facts.root_obstacle, facts.image_digest

    as_it_is = seen()
    machine.mount("/usr", "254:1", "/dev/vda1", folder="/usr", options="ro")
    machine.mount("/var", "254:1", "/dev/vda1", folder="/var", options="ro")

    assert seen() == as_it_is


def test_a_mount_inside_of_another_takes_systemd_unless_that_other_comes_first_in_any_case(machine: FakeMachine) -> None:
    for name, number, point in (("vdb", "254:16", "/srv"), ("vdc", "254:32", "/srv/dump"), ("vdd", "254:48", "/var")):
        machine.add_disk(name, number)
        machine.mount(point, number, f"/dev/{name}")
    machine.add_disk("vde", "254:64")
    machine.mount("/var/crash", "254:64", "/dev/vde")

    assert mounted(machine).obstacle == "/srv/dump is inside of /srv, which is to be mounted before"
    assert mounted(machine, "/var/crash").obstacle == ""
    assert [mount.point for mount in read_mounts_of_state(machine.root, RELEASE)] == ["/var"]


def test_what_is_in_fstab_but_not_mounted_hides_what_is_in_the_folder_below(machine: FakeMachine) -> None:
    machine.write("etc/fstab", f"# a disk for dumps\nUUID={UUID}\t/srv/dump/ xfs noauto,nofail 0 2\nUUID=9 none swap sw 0 0\n")
    (machine.root / "srv/dump/crash").mkdir(parents=True)

    found = store(machine)
    assert (found.exists, found.free) == (False, None)
    assert mounted(machine).obstacle == "/srv/dump is not mounted now"
    assert (mounted(machine).source, mounted(machine).type) == (f"UUID={UUID}", "xfs")


def test_what_an_automount_would_mount_is_not_mounted(machine: FakeMachine) -> None:
    machine.write("etc/fstab", f"UUID={UUID} /srv/dump ext4 x-systemd.automount 0 2\n")
    machine.mount("/srv/dump", "0:50", "systemd-1", "autofs")

    assert not mounted(machine).now


def test_a_store_that_is_a_symbolic_link_is_where_it_points_to(machine: FakeMachine) -> None:
    machine.add_disk("vdb", "254:16")
    machine.mount("/srv/dump", "254:16", "/dev/vdb")
    (machine.root / "srv/dump").mkdir(parents=True)
    (machine.root / "var/crash").symlink_to("../srv/dump")

    found = store(machine, "/var/crash")
    assert found.mount
    assert (found.path, found.folder, found.mount.point) == ("/var/crash", "/", "/srv/dump")


@pytest.mark.parametrize("options", ["ro", "rw,errors=remount-ro,ro"])
def test_a_mount_that_is_read_only_by_itself_or_by_its_file_system_is_seen(machine: FakeMachine, options: str) -> None:
    assert not store(machine).read_only
    machine.mount("/srv/dump", "254:1", "/dev/vda1", options=options)

    assert store(machine).read_only


def test_systemd_knows_a_mount_by_fstab_or_by_a_unit_of_its_own(machine: FakeMachine) -> None:
    machine.add_disk("vdb", "254:16")
    machine.mount("/srv/dump-1", "254:16", "/dev/vdb")
    assert not mounted(machine, "/srv/dump-1/crash").has_unit

    machine.write("etc/systemd/system/srv-dump\\x2d1.mount", "[Mount]\n")
    assert mounted(machine, "/srv/dump-1/crash").has_unit


def test_blanks_in_mountinfo_and_fstab_are_read(machine: FakeMachine) -> None:
    machine.mount("/srv/my\\040disk", "254:16", "/dev/vdb")
    machine.write("etc/fstab", 'LABEL="my\\040disk" /srv/my\\040disk ext4\n')

    assert read_mounts(machine.root)[-1].point == "/srv/my disk"
    assert [(entry.source, entry.point) for entry in read_fstab(machine.root)] == [("LABEL=my disk", "/srv/my disk")]


@pytest.mark.parametrize(
    ("command_line", "obstacle"),
    [
        ("root=UUID=1 ro", ""),
        ("root=/dev/sda2 root=PARTUUID=1-02", ""),
        ("root=/dev/vda1", ""),
        ("ro quiet", "the command line does not say what / is on"),
        ("root=/dev/disk/by-id/ata-x", "only udev knows what root=/dev/disk/by-id/ata-x is"),
        ("root=/dev/mapper/vg-root", "only udev knows what root=/dev/mapper/vg-root is"),
        ("root=ZFS=rpool", "only udev knows what root=ZFS=rpool is"),
    ],
)
def test_an_init_of_a_few_lines_must_find_the_root_by_its_name(machine: FakeMachine, command_line: str, obstacle: str) -> None:
    assert root_obstacle(machine.root, read_storage(machine.root, RELEASE), command_line) == obstacle


def test_an_init_of_a_few_lines_mounts_neither_usr_nor_volumes_nor_strange_file_systems(machine: FakeMachine) -> None:
    def obstacle() -> str:
        return root_obstacle(machine.root, read_storage(machine.root, RELEASE), "root=UUID=1")

    assert obstacle() == ""
    ordinary = machine.read("proc/self/mountinfo")
    machine.mount("/usr", "254:2", "/dev/vda2")
    assert obstacle() == "/usr is a file system of its own"

    machine.write("proc/self/mountinfo", ordinary.replace("ext4", "bcachefs"))
    assert obstacle() == "/ is of the type bcachefs"

    md = machine.add_lvm("253:0", f"sys/devices/{DISK}", uuid="CRYPT-LUKS2-x")
    machine.add_lvm("253:1", md)
    machine.write("proc/self/mountinfo", ordinary.replace("254:1", "253:1"))
    assert obstacle() == "/ is on LVM on LUKS"

    machine.write("proc/self/mountinfo", "")
    assert obstacle() == "the kernel does not tell what / is on"
