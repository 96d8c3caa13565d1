# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from kdumpd.errors import ToolError
from kdumpd.host import layout
from kdumpd.host.facts import Facts, Generator
from kdumpd.host.images import read_images
from kdumpd.image.build import build_image, remove_old_images
from kdumpd.plan.steps import BuildImage
from tests.unit.fakes import INITRD_LIST, RELEASE, FakeMachine, Stubs, bzimage, file_system, fill

STEP = BuildImage(release=RELEASE, kernel=f"/boot/vmlinuz-{RELEASE}", folder=f"/var/lib/kdumpd/images/{RELEASE}-0123456789ab")
OLD = f"{RELEASE}-aaaaaaaaaaaa"


def build(machine: FakeMachine, facts: Facts | None = None) -> None:
    build_image(machine.root, STEP, facts or machine.facts())


def images(machine: FakeMachine) -> list[str]:
    return sorted(path.name for path in (machine.root / layout.IMAGES).iterdir())


def add_old_image(machine: FakeMachine) -> None:
    for name in ("vmlinuz", "initrd.img"):
        machine.write(f"{layout.IMAGES}/{OLD}/{name}", "old")


def test_an_image_is_a_folder_with_a_copy_of_the_kernel_an_initrd_and_what_they_are(machine: FakeMachine) -> None:
    build(machine)
    folder = machine.root / STEP.folder.lstrip("/")

    assert {path.name for path in folder.iterdir()} == {"vmlinuz", "initrd.img", "about.json"}
    assert (folder / "vmlinuz").read_text() == "kernel"
    assert (folder / "initrd.img").stat().st_mode & 0o777 == 0o600
    about = read_images(machine.root)[folder.name]
    assert (about.release, about.kernel, about.generator, about.digest) == (RELEASE, STEP.kernel, "initramfs-tools", "0123456789ab")
    assert (about.packed, about.unpacked, about.files) == (7, 15_000_000 + 13 + 61_745 + 58_209, 4)
    assert about.modules == ("virtio_blk", "virtio_pci")


def test_the_sizes_of_the_newest_image_go_into_the_estimate(machine: FakeMachine) -> None:
    build(machine)

    assert (machine.facts().sizing.initrd, machine.facts().sizing.unpacked) == (7, 15_119_967)


def test_mkinitramfs_gets_the_administrators_configuration_with_our_settings_and_our_hook(
    machine: FakeMachine, stubs: Stubs
) -> None:
    machine.write("etc/initramfs-tools/modules", "vendor_raid\n")
    machine.write("sys/firmware/efi/fw_platform_size", "64\n")
    build(machine)
    conf = machine.root / layout.INITRAMFS_CONF

    assert (conf / "modules").read_text() == "vendor_raid\n"
    assert "\nMODULES=dep\n" in (conf / "conf.d/zz-kdumpd").read_text()
    assert (conf / "hooks/kdumpd").stat().st_mode & 0o111 == 0o111
    given = dict(word.split("=", 1) for word in shlex.split((conf / "kdumpd").read_text()))
    assert given["kdumpd_modules"] == "ext4 virtio_blk virtio_pci"
    assert given["kdumpd_direct"] == "yes"
    assert given["kdumpd_unneeded"] == (
        "firmware fsck graphics network lvm luks md multipath keyboard device-mapper btrfs generator"
    )
    assert not (machine.root / "etc/initramfs-tools/hooks").exists()


def test_dracut_gets_the_administrators_configuration_with_our_module(machine: FakeMachine, stubs: Stubs) -> None:
    machine.write("etc/dracut.conf.d/10-mine.conf", "add_drivers+=' vendor_raid '\n")
    stubs.add("dracut", 'for last; do :; done; echo initrd > "$last"')
    stubs.add("lsinitrd", f"echo Image:; cat {machine.root}/initrd-list; echo ====")
    build(machine, replace(machine.facts(), generator=Generator.DRACUT))

    conf = machine.root / layout.DRACUT_CONF
    assert (conf / "10-mine.conf").read_text() == "add_drivers+=' vendor_raid '\n"
    assert "kdumpd_modules='ext4 virtio_blk virtio_pci'\n" in (conf / "zz-kdumpd.conf").read_text()
    (call,) = [call for call in stubs.calls if call.startswith("dracut ")]
    assert f" --confdir {conf} " in call
    assert f" --kver {RELEASE} --hostonly --hostonly-mode strict " in call
    assert " --omit resume shutdown " in call
    assert " network " in call
    assert " --add kdumpd " in call
    assert read_images(machine.root)[Path(STEP.folder).name].generator == "dracut"


def test_without_a_generator_the_error_says_what_to_install(machine: FakeMachine) -> None:
    with pytest.raises(ToolError, match="neither mkinitramfs nor dracut is installed\nhint: install initramfs-tools or dracut"):
        build(machine, replace(machine.facts(), generator=None))


@pytest.mark.parametrize(
    ("lists", "fact"),
    [
        (INITRD_LIST.replace("etc/kdumpd-image", "etc/motd"), "the dump initrd was made without kdumpd's hook"),
        (
            INITRD_LIST.replace("virtio_blk", "virtio_net"),
            "the dump initrd has no module virtio_blk, which this machine needs to reach its disks",
        ),
    ],
    ids=["hook", "module"],
)
def test_an_initrd_that_could_not_save_anything_is_not_taken(machine: FakeMachine, stubs: Stubs, lists: str, fact: str) -> None:
    add_old_image(machine)
    machine.add_generator(stubs, lists=lists)

    with pytest.raises(ToolError) as caught:
        build(machine)

    assert str(caught.value).splitlines()[0] == fact
    assert caught.value.hint
    assert images(machine) == [OLD]


@pytest.mark.parametrize(
    ("program", "script", "fact"),
    [
        ("mkinitramfs", 'echo half > "$4"; echo no space left >&2; exit 1', r"(?s)failed with exit code 1.*no space left"),
        ("mkinitramfs", ': > "$4"', "initramfs-tools ended well, but made no initrd"),
        ("lsinitramfs", "echo cpio: premature end of archive >&2; exit 2", "premature end of archive"),
        # As initramfs-tools 0.148 and 0.151 say it of one that zstd has packed.
        ("lsinitramfs", "echo unmkinitramfs: zstd failed >&2; exit 1", "unmkinitramfs: zstd failed"),
    ],
    ids=["fails", "empty", "does not unpack", "zstd does not unpack"],
)
def test_a_build_that_fails_leaves_the_old_image_and_nothing_else(
    machine: FakeMachine, stubs: Stubs, program: str, script: str, fact: str
) -> None:
    add_old_image(machine)
    stubs.add(program, script)

    with pytest.raises(ToolError, match=fact):
        build(machine)

    assert images(machine) == [OLD]


def test_an_initrd_that_does_not_fit_into_the_reserved_memory_is_not_taken(machine: FakeMachine, stubs: Stubs) -> None:
    machine.write_bytes(f"boot/vmlinuz-{RELEASE}", bzimage())
    machine.reserve()
    build(machine)
    machine.add_generator(stubs, lists=INITRD_LIST.replace("15000000", "150000000"))

    with pytest.raises(
        ToolError, match=r"needs 143.2M of memory, the dump kernel would have 140.5M for it\nhint: ask for a larger"
    ):
        build(machine)


def test_as_long_as_nothing_is_reserved_the_size_decides_nothing(machine: FakeMachine, stubs: Stubs) -> None:
    machine.add_generator(stubs, lists=INITRD_LIST.replace("15000000", "150000000"))

    build(machine)


def test_what_a_killed_build_left_is_removed_by_the_next_one(machine: FakeMachine) -> None:
    left = machine.root / layout.IMAGES / f".{OLD}.new/work/mkinitramfs_x"
    left.mkdir(parents=True)
    build(machine)

    assert images(machine) == [Path(STEP.folder).name]


def test_an_image_that_is_damaged_is_not_there_and_is_built_again(machine: FakeMachine) -> None:
    build(machine)
    about = machine.root / STEP.folder.lstrip("/") / "about.json"
    about.write_text("{}")
    assert machine.facts().images == ()

    build(machine)

    assert json.loads(about.read_text())["release"] == RELEASE


def test_all_but_the_images_that_are_kept_is_removed(machine: FakeMachine) -> None:
    build(machine)
    add_old_image(machine)
    machine.write(f"{layout.IMAGES}/initrd-of-an-early-version.img", "")
    machine.write(f"{layout.IMAGES}/.x.new/initrd.img", "")
    remove_old_images(machine.root, frozenset({OLD}))

    assert images(machine) == [OLD]


def test_a_disk_that_gets_full_at_any_moment_of_a_build_leaves_the_old_image(tmp_path: Path, stubs: Stubs) -> None:
    machine = FakeMachine(tmp_path / "root")
    machine.add_generator(stubs)
    stubs.add("mkinitramfs", f'cp {tmp_path}/initrd "$4"; cp {tmp_path}/initrd $TMPDIR/scratch')
    (tmp_path / "initrd").write_bytes(b"i" * 40_000)
    machine.write(f"boot/vmlinuz-{RELEASE}", "k" * 40_000)
    facts = machine.facts()

    built = []
    for free in range(0, 160, 8):
        with file_system(machine.root / layout.STATE, 256) as disk:
            add_old_image(machine)
            fill(disk, free)
            with contextlib.suppress(ToolError):
                build(machine, facts)
            built.append(len(images(machine)) == 2)
            names = [OLD, *([Path(STEP.folder).name] if built[-1] else [])]
            assert images(machine) == sorted(names), f"{free} KiB free"
            assert len(read_images(machine.root)) == built[-1]
        disk.rmdir()

    assert (built[0], built[-1]) == (False, True)
    assert built == sorted(built), "what is enough stays enough"


def test_the_error_of_a_full_disk_names_the_place_and_the_way_out(tmp_path: Path, stubs: Stubs) -> None:
    machine = FakeMachine(tmp_path / "root")
    machine.add_generator(stubs)
    machine.write(f"boot/vmlinuz-{RELEASE}", "k" * 40_000)
    facts = machine.facts()
    with file_system(machine.root / layout.STATE, 64) as disk:
        (disk / "images").mkdir()
        fill(disk, 16)
        with pytest.raises(ToolError) as caught:
            build(machine, facts)

    assert str(caught.value).startswith("the dump image could not be built, ")
    assert str(caught.value).endswith(
        ": No space left on device\nhint: make room for it in /var/lib/kdumpd; an image that was there before is still there"
    )


def test_a_kernel_that_is_cut_off_is_no_dump_kernel(machine: FakeMachine) -> None:
    machine.write_bytes(f"boot/vmlinuz-{RELEASE}", bzimage(paragraphs=(8192 - 2560) // 16))

    with pytest.raises(
        ToolError, match="is cut off: it has 4096 bytes, expected at least 8192\nhint: install that kernel's package"
    ):
        build(machine)
    assert images(machine) == []


def test_a_kernel_with_a_signature_behind_it_is_whole(machine: FakeMachine) -> None:
    machine.write_bytes(f"boot/vmlinuz-{RELEASE}", bzimage(paragraphs=(4000 - 2560) // 16))

    build(machine)
