# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees as /sys shows them: what was read on real machines, cut down to what counts."""

import pytest

from kdumpd.host.storage import LayerKind, Storage, read_storage
from kdumpd.image.needs import Part, unneeded
from kdumpd.units import GIB
from tests.unit.fakes import DISK, RELEASE, FakeMachine
from tests.unit.test_luks import argon2, header

BLOCK = "sys/devices/virtual/block"
MOUNTINFO = "22 1 {} / / rw,relatime shared:1 - {} {} rw\n"


def storage(machine: FakeMachine) -> Storage:
    found = read_storage(machine.root, RELEASE)
    assert found is not None
    return found


def mount(machine: FakeMachine, number: str, file_system: str, source: str) -> None:
    machine.write("proc/self/mountinfo", MOUNTINFO.format(number, file_system, source))


def make_dm(machine: FakeMachine, name: str, uuid: str, *parts: str) -> str:
    """A device-mapper device on others, which it returns."""
    device = f"{BLOCK}/{name}"
    machine.write(f"{device}/dm/uuid", f"{uuid}\n")
    machine.write(f"{device}/dm/name", f"name-of-{name}\n")
    for part in parts:
        machine.link(f"{device}/slaves/{part.rpartition('/')[2]}", part)
    return device


def load(machine: FakeMachine, *modules: str) -> None:
    for module in modules:
        machine.write(f"sys/module/{module}/initstate", "live\n")


def test_a_partition_of_a_virtio_disk_takes_its_drivers_and_its_file_system(machine: FakeMachine) -> None:
    assert storage(machine) == Storage(
        device="/dev/vda1", file_system="ext4", layers=(), modules=("ext4", "virtio_blk", "virtio_pci"), local=True
    )


def test_what_the_running_kernel_neither_has_inside_nor_has_loaded_is_no_module(machine: FakeMachine) -> None:
    machine.write(f"lib/modules/{RELEASE}/modules.builtin", "")

    assert "ext4" not in storage(machine).modules


def test_the_last_mount_at_the_root_hides_the_others(machine: FakeMachine) -> None:
    first = machine.read("proc/self/mountinfo")
    machine.write("proc/self/mountinfo", MOUNTINFO.format("0:2", "rootfs", "rootfs") + first)

    assert storage(machine).device == "/dev/vda1"


def test_lvm_on_luks_on_md_on_two_disks_is_found_layer_by_layer(machine: FakeMachine) -> None:
    load(machine, "dm_mod", "dm_crypt", "md_mod", "raid1", "xfs")
    machine.add_driver("sys/devices/pci0000:00/0000:00:17.0", "ahci")
    disks = [
        f"sys/devices/pci0000:00/0000:00:17.0/ata{number}/host{number}/block/sd{letter}" for number, letter in ((1, "a"), (2, "b"))
    ]
    md = f"{BLOCK}/md127"
    machine.write(f"{md}/md/level", "raid1\n")
    for disk in disks:
        name = disk[-3:]
        machine.write(f"{disk}/{name}2/partition", "2\n")
        machine.link(f"{md}/slaves/{name}2", f"{disk}/{name}2")
    luks = make_dm(machine, "dm-0", "CRYPT-LUKS2-0a1b-md127_crypt", md)
    root = make_dm(machine, "dm-1", "LVM-AbCdEf", luks)
    machine.link("sys/dev/block/253:1", root)
    mount(machine, "253:1", "xfs", "/dev/mapper/vg-root")

    found = storage(machine)
    assert [(layer.kind, layer.name) for layer in found.layers] == [
        (LayerKind.LVM, "name-of-dm-1"),
        (LayerKind.LUKS, "name-of-dm-0"),
        (LayerKind.MD, "md127"),
    ]
    assert found.modules == ("ahci", "dm_crypt", "dm_mod", "md_mod", "raid1", "xfs")
    assert found.local
    assert set(unneeded(found, direct=False)) == {Part.FIRMWARE, Part.FSCK, Part.GRAPHICS, Part.NETWORK, Part.MULTIPATH, Part.BTRFS}


@pytest.mark.parametrize(
    ("crypttab", "asks"),
    [
        ("vault UUID=1234 none luks,discard\n", True),
        ("# vault UUID=1234 /etc/key luks\nvault UUID=1234\n", True),
        ("vault UUID=1234 - luks\n", True),
        ("vault UUID=1234 /etc/keys/vault.key luks\n", False),
        ("vault UUID=1234 none luks,tpm2-device=auto\n", False),
        ("vault UUID=1234 none luks,keyscript=/lib/cryptsetup/scripts/decrypt_derived\n", False),
        ("other UUID=1234 none luks\n", False),
        ("", False),
    ],
)
def test_a_volume_without_a_key_asks_a_person(machine: FakeMachine, crypttab: str, asks: bool) -> None:
    luks = machine.add_lvm("253:0", f"sys/devices/{DISK}", name="vault", uuid="CRYPT-LUKS2-0a1b-vault")
    machine.add_lvm("253:1", luks, name="vg-root")
    mount(machine, "253:1", "ext4", "/dev/mapper/vg-root")
    machine.write("etc/crypttab", crypttab)

    assert storage(machine).asks == (("vault",) if asks else ())
    machine.write("usr/share/initramfs-tools/hooks/clevis", "")
    assert storage(machine).asks == ()


def test_a_volume_whose_key_takes_memory_says_how_much(machine: FakeMachine) -> None:
    luks = machine.add_lvm("253:0", f"sys/devices/{DISK}", name="vault", uuid="CRYPT-LUKS2-0a1b-vault")
    mount(machine, "253:0", "ext4", "/dev/mapper/vault")
    (machine.root / "dev").mkdir(exist_ok=True)
    slave = next((machine.root / luks / "slaves").iterdir()).name
    (machine.root / "dev" / slave).write_bytes(header(argon2(1048576)))

    assert storage(machine).unlock_memory.most == GIB


def test_a_partition_on_a_multipath_device_is_multipath(machine: FakeMachine) -> None:
    disk = f"sys/devices/{DISK}"
    mpath = make_dm(machine, "dm-0", "mpath-36001405", disk)
    machine.link("sys/dev/block/253:1", make_dm(machine, "dm-1", "part1-mpath-36001405", mpath))
    mount(machine, "253:1", "ext4", "/dev/mapper/mpatha-part1")

    assert {layer.kind for layer in storage(machine).layers} == {LayerKind.MULTIPATH}


def test_all_disks_of_a_btrfs_count(machine: FakeMachine) -> None:
    machine.add_driver("sys/devices/pci0000:00/0000:00:1d.0", "nvme")
    second = "sys/devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1"
    machine.link("sys/fs/btrfs/5f3a/devices/vda1", f"sys/devices/{DISK}/vda1")
    machine.link("sys/fs/btrfs/5f3a/devices/nvme0n1", second)
    load(machine, "btrfs")
    mount(machine, "0:31", "btrfs", "/dev/vda1")

    assert storage(machine).modules == ("btrfs", "nvme", "virtio_blk", "virtio_pci")
    assert Part.BTRFS not in unneeded(storage(machine), direct=False)


def test_the_controller_of_an_nvme_with_several_paths_is_found_beside_it(machine: FakeMachine) -> None:
    controller = "sys/devices/pci0000:00/0000:00:1d.0/0000:02:00.0"
    machine.add_driver(controller, "nvme")
    subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    machine.link(f"{subsystem}/nvme0", f"{controller}/nvme/nvme0")
    machine.write(f"{subsystem}/nvme0n1/nvme0n1p2/partition", "2\n")
    machine.link("sys/dev/block/259:2", f"{subsystem}/nvme0n1/nvme0n1p2")
    mount(machine, "259:2", "ext4", "/dev/nvme0n1p2")

    assert storage(machine).modules == ("ext4", "nvme")
    assert storage(machine).local


@pytest.mark.parametrize(
    "disk",
    [
        "sys/devices/virtual/block/nbd0",
        "sys/devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sda",
        "sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1",
    ],
    ids=["nbd", "iSCSI", "NVMe over fabrics"],
)
def test_a_disk_behind_a_network_keeps_the_network(machine: FakeMachine, disk: str) -> None:
    machine.link("sys/dev/block/8:0", disk)
    mount(machine, "8:0", "ext4", "/dev/sda")

    assert not storage(machine).local
    assert Part.NETWORK not in unneeded(storage(machine), direct=False)


def test_a_file_system_without_a_disk_is_told_as_it_is_and_keeps_the_network(machine: FakeMachine) -> None:
    mount(machine, "0:40", "nfs4", "server:/root")

    assert (storage(machine).device, storage(machine).local) == ("server:/root", False)


def test_a_device_mapper_target_that_nobody_knows_keeps_every_layer(machine: FakeMachine) -> None:
    machine.link("sys/dev/block/253:0", make_dm(machine, "dm-0", "DMRAID-isw", f"sys/devices/{DISK}"))
    mount(machine, "253:0", "ext4", "/dev/mapper/isw")

    assert (
        set(unneeded(storage(machine), direct=False)) & {Part.LVM, Part.LUKS, Part.MD, Part.MULTIPATH, Part.DEVICE_MAPPER} == set()
    )


def test_where_proc_does_not_tell_only_what_no_dump_needs_is_left_out(machine: FakeMachine) -> None:
    (machine.root / "proc/self/mountinfo").unlink()

    assert read_storage(machine.root, RELEASE) is None
    assert set(unneeded(None, direct=False)) == {Part.FIRMWARE, Part.FSCK, Part.GRAPHICS}
