# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the hook of initramfs-tools as mkinitramfs does, on a small initrd. What it uses of others is replaced by stubs."""

import os
import subprocess
from pathlib import Path

import pytest

from kdumpd.host.storage import Layer, LayerKind, Storage
from kdumpd.image.needs import Needs, unneeded
from kdumpd.image.settings import MARK, hook_settings
from tests.unit.fakes import HOOKS, RELEASE, Stubs

FIRST_DOOR = HOOKS.parent / "initrd"

KERNEL = f"usr/lib/modules/{RELEASE}/kernel"
LIBRARIES = {"lvm": ("libdevmapper.so.1", "libc.so.6"), "udevadm": ("libc.so.6",)}
FILES = (
    "usr/sbin/lvm", "usr/sbin/fsck.ext4", "usr/bin/udevadm", "usr/lib/udev/rules.d/56-lvm.rules", "scripts/local-top/lvm2",
    "usr/lib/x86_64/libdevmapper.so.1.02", "usr/lib/x86_64/libc.so.6",
    "usr/lib/firmware/ql2500_fw.bin", "usr/lib/firmware/amdgpu/fiji.bin",
    f"{KERNEL}/drivers/block/virtio_blk.ko", f"{KERNEL}/drivers/gpu/drm/drm.ko.xz", f"{KERNEL}/drivers/net/cnic.ko",
    f"{KERNEL}/drivers/net/e1000.ko", f"{KERNEL}/crypto/xts.ko", f"{KERNEL}/crypto/crc32c_generic.ko",
    f"{KERNEL}/drivers/md/dm-mod.ko",
)  # fmt: skip
LOCAL_DISK = Storage(device="/dev/sda1", file_system="ext4", layers=(), modules=("qla2xxx", "bnx2fc"), local=True)
FUNCTIONS = """\
manual_add_modules() { for name; do echo "$name" >> "$DESTDIR/asked"; done; }
copy_exec() { :; }
"""


@pytest.fixture
def initrd(tmp_path: Path, stubs: Stubs) -> Path:
    folder = tmp_path / "initrd"
    for name in ("bin", "lib", "sbin"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    for name in (*FILES, "etc/fstab"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch(0o755 if "bin/" in name else 0o644)
    (folder / "usr/lib/x86_64/libdevmapper.so.1").symlink_to("libdevmapper.so.1.02")
    (folder / "init").write_text("the generator's")
    cases = []
    for program, libraries in LIBRARIES.items():
        told = "\n".join(f"\t{library} => /lib/x86_64/{library} (0x00007f)" for library in libraries)
        cases.append(f"*/{program}) echo '{told}';;")
    stubs.add("ldd", "\n".join(['case "$1" in', *cases, "esac"]))
    # bnx2fc, an FC adapter, needs cnic, which is a network driver.
    stubs.add("modprobe", f"echo insmod /lib/modules/{RELEASE}/kernel/drivers/net/cnic.ko")
    stubs.add("modinfo", "echo ql2500_fw.bin")
    return folder


def run_hook(initrd: Path, storage: Storage | None, *, direct: bool = False) -> set[str]:
    """What is left of the files."""
    conf = initrd.parent / "conf"
    (conf / "hooks").mkdir(parents=True)
    (conf / "functions").write_text(FUNCTIONS)
    hook = conf / "hooks/kdumpd"
    hook.write_text((HOOKS / "hooks/kdumpd").read_text().replace("/usr/share/initramfs-tools/hook-functions", f"{conf}/functions"))
    hook.chmod(0o755)
    needs = Needs(
        direct=direct,
        file_system="ext4",
        modules=storage.modules if storage else (),
        store_modules=("usb_storage",),
        unneeded=unneeded(storage, direct=direct),
    )
    settings = hook_settings(needs).replace("/usr/lib/kdumpd/initrd", str(FIRST_DOOR))
    (conf / "kdumpd").write_text(settings)
    folders = {"CONFDIR": str(conf), "DESTDIR": str(initrd), "__TMPEARLYCPIO": str(initrd.parent / "early")}
    environment = {**os.environ, **folders, "version": RELEASE}
    subprocess.run([hook], env=environment, check=True)
    return {name for name in FILES if (initrd / name).exists()}


def names(paths: set[str]) -> set[str]:
    return {Path(path).name for path in paths}


def test_for_a_local_disk_only_what_reaches_it_is_left(initrd: Path) -> None:
    left = run_hook(initrd, LOCAL_DISK)

    assert names(left) == {"udevadm", "libc.so.6", "ql2500_fw.bin", "virtio_blk.ko", "cnic.ko", "crc32c_generic.ko"}
    assert not (initrd / "usr/lib/x86_64/libdevmapper.so.1").is_symlink()
    assert (initrd / MARK).read_text().startswith("kdumpd ")


def test_what_a_layer_needs_stays(initrd: Path) -> None:
    lvm = Layer(kind=LayerKind.LVM, name="vg-root", uuid="LVM-x")
    left = run_hook(initrd, Storage(device="/dev/mapper/vg-root", file_system="ext4", layers=(lvm,), modules=(), local=True))

    assert names(left) >= {"lvm", "56-lvm.rules", "lvm2", "libdevmapper.so.1.02", "dm-mod.ko"}
    assert "fsck.ext4" not in names(left)


def test_where_the_way_to_the_store_is_not_known_every_driver_stays_but_graphics(initrd: Path) -> None:
    gone = set(FILES) - run_hook(initrd, None)

    assert names(gone) == {"fsck.ext4", "drm.ko.xz", "fiji.bin"}


def test_the_drivers_of_the_root_and_of_the_store_for_a_dead_root_are_asked_for(initrd: Path) -> None:
    run_hook(initrd, LOCAL_DISK)

    assert (initrd / "asked").read_text().split() == ["qla2xxx", "bnx2fc", "usb_storage"]


def test_where_the_generator_mounts_the_root_its_own_init_runs_behind_ours(initrd: Path) -> None:
    run_hook(initrd, LOCAL_DISK)

    assert (initrd / "init").read_text() == (FIRST_DOOR / "init").read_text()
    assert (initrd / "init.generator").read_text() == "the generator's"
    assert "kdumpd_direct=no\n" in (initrd / "kdumpd/settings").read_text()


def test_where_our_init_mounts_the_root_nothing_of_the_generator_is_left_but_busybox(initrd: Path, stubs: Stubs) -> None:
    (initrd / "bin/busybox").write_text("busybox")
    (initrd / "bin/kmod").touch(0o755)
    (initrd / "sbin/modprobe").symlink_to("/bin/kmod")
    stubs.add("busybox", "echo sh; echo mount")
    left = run_hook(initrd, LOCAL_DISK, direct=True)

    assert "udevadm" not in names(left)
    assert not (initrd / "init.generator").exists()
    assert (initrd / "kdumpd/functions").exists()
    for name in ("bin/sh", "bin/mount", "sbin/modprobe"):
        assert (initrd / name).read_text() == "busybox"


@pytest.mark.parametrize(("name", "stays"), [("x86/microcode/GenuineIntel.bin", False), ("firmware/acpi/dsdt.aml", True)])
def test_microcode_is_left_out_but_tables_of_acpi_stay(initrd: Path, name: str, stays: bool) -> None:
    early = initrd.parent / "early"
    early.write_text(f"070701 kernel/{name}")
    run_hook(initrd, LOCAL_DISK)

    assert (early.stat().st_size > 0) is stays


def test_it_runs_after_every_other_hook_of_its_folder(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("a-mine", "kdumpd", "zz-mine"):
        (hooks / name).touch()
    environment = {**os.environ, "CONFDIR": str(tmp_path)}
    told = subprocess.run([HOOKS / "hooks/kdumpd", "prereqs"], env=environment, check=True, capture_output=True, text=True)

    assert told.stdout.split() == ["a-mine", "zz-mine"]
