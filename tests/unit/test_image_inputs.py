# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.host.facts import Generator
from kdumpd.host.image_inputs import find_generator, image_digest
from kdumpd.host.storage import Layer, LayerKind, Storage
from tests.unit.fakes import RELEASE, FakeMachine

KERNEL = f"/boot/vmlinuz-{RELEASE}"
MODULES = f"lib/modules/{RELEASE}"
STORAGE = Storage(device="/dev/vda1", file_system="ext4", layers=(), modules=("ext4",), local=True)


def on(*kinds: LayerKind) -> Storage:
    layers = tuple(Layer(kind=kind, name="x", uuid=None) for kind in kinds)
    return Storage(device="/dev/mapper/x", file_system="ext4", layers=layers, modules=(), local=True)


def digest(
    machine: FakeMachine,
    *,
    storage: Storage | None = STORAGE,
    generator: Generator = Generator.INITRAMFS_TOOLS,
    direct: bool = True,
    store_modules: tuple[str, ...] = (),
    watchdogs: tuple[str, ...] = (),
) -> str | None:
    return image_digest(
        machine.root,
        release=RELEASE,
        kernel=KERNEL,
        generator=generator,
        storage=storage,
        direct=direct,
        store_modules=store_modules,
        watchdogs=watchdogs,
    )


@pytest.mark.parametrize(
    "name",
    [
        f"boot/vmlinuz-{RELEASE}",
        f"{MODULES}/modules.dep",
        f"{MODULES}/updates/dkms/hba.ko.xz",
        f"{MODULES}/extra/hba.ko",
        "etc/initramfs-tools/initramfs.conf",
        "etc/initramfs-tools/scripts/local-top/unlock",
        "etc/modprobe.d/blacklist.conf",
        "usr/sbin/mkinitramfs",
        "usr/share/initramfs-tools/hooks/lvm2",
        "usr/lib/kdumpd/initramfs-tools/hooks/kdumpd",
    ],
)
def test_another_content_of_what_goes_in_is_another_image(machine: FakeMachine, name: str) -> None:
    machine.write(name, "old\n")
    before = digest(machine)
    machine.write(name, "new\n")

    assert digest(machine) != before


@pytest.mark.parametrize(
    "name",
    [
        f"{MODULES}/kernel/drivers/block/virtio_blk.ko",
        f"{MODULES}/modules.softdep",
        "etc/modprobe.d/kdumpd-ramoops.conf",
        "etc/crypttab",
        "etc/dracut.conf",
        "etc/hostname",
    ],
)
def test_what_does_not_go_in_makes_no_new_image(machine: FakeMachine, name: str) -> None:
    before = digest(machine)
    machine.write(name, "new\n")

    assert digest(machine) == before


def test_the_time_of_a_file_means_nothing(machine: FakeMachine) -> None:
    before = digest(machine)
    for path in (machine.root / KERNEL.lstrip("/"), machine.root / "etc/initramfs-tools/initramfs.conf"):
        os.utime(path, (1, 1))

    assert digest(machine) == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (LayerKind.LUKS, "etc/crypttab"),
        (LayerKind.LVM, "etc/lvm/lvm.conf"),
        (LayerKind.MD, "etc/mdadm/mdadm.conf"),
        (LayerKind.MULTIPATH, "etc/multipath/bindings"),
    ],
)
def test_the_settings_of_a_layer_count_where_the_store_is_on_it(machine: FakeMachine, kind: LayerKind, name: str) -> None:
    before, without = digest(machine, storage=on(kind)), digest(machine)
    machine.write(name, "new\n")

    assert digest(machine, storage=on(kind)) != before
    assert digest(machine) == without


def test_another_way_to_the_store_or_another_generator_is_another_image(machine: FakeMachine) -> None:
    found = [
        digest(machine),
        digest(machine, storage=on(LayerKind.LVM)),
        digest(machine, storage=None),
        digest(machine, generator=Generator.DRACUT),
        digest(machine, direct=False),
        digest(machine, store_modules=("usb_storage",)),
        digest(machine, watchdogs=("iTCO_wdt",)),
    ]

    assert len(set(found)) == len(found)


def test_a_disk_that_has_another_name_in_this_boot_is_the_same(machine: FakeMachine) -> None:
    other = Storage(device="/dev/vdb1", file_system="ext4", layers=(), modules=("ext4",), local=True)

    assert digest(machine, storage=other) == digest(machine)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_who_may_not_read_all_of_it_gets_no_answer() -> None:
    # pytest keeps its own folders to itself.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        machine = FakeMachine(Path(folder) / "root")
        with as_nobody():
            readable = digest(machine)
        assert readable == digest(machine)
        (machine.root / KERNEL.lstrip("/")).chmod(0o600)
        with as_nobody():
            assert digest(machine) is None


@pytest.mark.parametrize(
    ("installed", "generator"),
    [
        ({"mkinitramfs", "dracut"}, Generator.INITRAMFS_TOOLS),
        ({"dracut"}, Generator.DRACUT),
        (set(), None),
    ],
)
def test_what_is_installed_makes_the_image(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, installed: set[str], generator: Generator | None
) -> None:
    monkeypatch.setattr("kdumpd.host.image_inputs.find_program", lambda name: name if name in installed else None)

    assert find_generator() is generator
    assert machine.facts().missing_tools == (() if generator else ("mkinitramfs or dracut",))
