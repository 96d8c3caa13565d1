# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stores: mounted where they must be, one after the other, each for no longer than its share of the time."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture import main as capture_main
from kdumpd.capture import mounts, stores
from kdumpd.capture.boot_parameters import named_mounts
from kdumpd.capture.doors import Door
from kdumpd.capture.program import Saved, SaveError
from kdumpd.capture.settings import FinalAction, Mount, Settings, StoreSettings
from kdumpd.capture.status import Status
from tests.unit.captures import capture, newest_status, only_folder, state, steps
from tests.unit.fakes import FakeMachine, Stubs, file_system, fill

MOUNT = Mount(point="/srv", source="UUID=1", type="xfs", options="noatime")
ON_SRV = StoreSettings(path="/srv/crash", mount=MOUNT)
ON_ROOT = StoreSettings(path="/var/crash")


def mounted(machine: FakeMachine, point: str) -> str:
    """A shell command after which the kernel says that something is mounted there."""
    return f"printf '%s\\n' '30 22 254:2 / {point} rw shared:2 - xfs /dev/vdb rw' >> {machine.root}/proc/self/mountinfo"


def test_a_store_on_another_file_system_is_mounted_first(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("mount", mounted(dump_kernel, "/srv"))

    assert capture(dump_kernel, Door.INITRD, settings=Settings(stores=(ON_SRV,))) == [FinalAction.POWEROFF]
    assert stubs.calls[0] == f"mount -t xfs -o noatime UUID=1 {dump_kernel.root}/srv"
    assert (only_folder(dump_kernel, "srv/crash") / "dmesg.txt").exists()


def test_what_is_mounted_already_is_not_mounted_again(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    subprocess.run(["sh", "-c", mounted(dump_kernel, r"/my\040disk")], check=True)
    store = StoreSettings(path="/my disk/crash", mount=Mount(point="/my disk", source="UUID=1", type="xfs", options=""))
    capture(dump_kernel, settings=Settings(stores=(store,)))

    assert not any(call.startswith("mount ") for call in stubs.calls)
    assert newest_status(dump_kernel, "my disk/crash").dmesg_saved


def test_the_module_of_a_file_system_is_loaded_from_the_root_when_the_initrd_has_not(
    dump_kernel: FakeMachine, stubs: Stubs
) -> None:
    dump_kernel.write("proc/filesystems", "nodev\tproc\n\text4\n")
    stubs.add("modprobe", "exit 0")
    stubs.add("mount", mounted(dump_kernel, "/srv"))
    mount = Mount(point="/srv", source="UUID=1", type="xfs", options="")
    capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/srv/crash", mount=mount),)))

    assert stubs.calls[:2] == ["modprobe -q xfs", f"mount -t xfs UUID=1 {dump_kernel.root}/srv"]


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo can not find UUID=1 >&2; exit 32", "/srv/crash: mount failed with 32: can not find UUID=1"),
        ("exit 0", "/srv/crash: /srv was to be mounted, but nothing is mounted there"),
        ("sleep 100", "/srv/crash: mount was still running after 0 s"),
    ],
)
def test_nothing_is_written_below_a_mount_point_where_nothing_is_mounted(
    dump_kernel: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, script: str, detail: str
) -> None:
    monkeypatch.setattr(mounts, "TIMEOUT", 0.3)
    stubs.add("mount", script)

    assert capture(dump_kernel, settings=Settings(stores=(ON_SRV, ON_ROOT))) == [FinalAction.POWEROFF]
    assert steps(newest_status(dump_kernel))[:2] == [("dmesg", False, detail), ("dmesg", True, "")]
    assert not (dump_kernel.root / "srv/crash").exists()


def by_systemd(point: str) -> Settings:
    mount = Mount(point=point, source="/dev/mapper/vg-crash", type="xfs", options="", by_systemd=True)
    return Settings(stores=(StoreSettings(path=f"{point}/crash", mount=mount),))


def test_what_only_systemd_can_mount_is_left_to_the_second_door(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("systemctl", mounted(dump_kernel, "/srv/the-big_1"))

    assert capture(dump_kernel, Door.INITRD, settings=by_systemd("/srv/the-big_1")) == [3]
    assert steps(state(dump_kernel))[0][2].startswith("/srv/the-big_1/crash: /srv/the-big_1 is not mounted, and only systemd can")
    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert stubs.calls[0] == "systemctl start --no-ask-password /srv/the-big_1"


def test_a_read_only_store_is_made_writable(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("mount", 'exec /usr/bin/mount "$@"')
    with file_system(dump_kernel.root / "srv", 1024) as disk:
        subprocess.run(["sh", "-c", mounted(dump_kernel, "/srv")], check=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        assert capture(dump_kernel, settings=Settings(stores=(ON_SRV,))) == [FinalAction.POWEROFF]
        assert f"mount -o remount,rw {disk}" in stubs.calls


def test_a_store_that_stays_read_only_is_passed_by(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    with file_system(dump_kernel.root / "srv", 1024) as disk:
        stubs.add("mount")
        subprocess.run(["sh", "-c", mounted(dump_kernel, "/srv")], check=True)
        subprocess.run(["/usr/bin/mount", "-o", "remount,ro", disk], check=True)
        capture(dump_kernel, settings=Settings(stores=(ON_SRV, ON_ROOT)))

    assert steps(newest_status(dump_kernel))[0] == ("dmesg", False, "/srv/crash: /srv stays read-only")


def test_a_full_store_leaves_no_folder_when_the_next_takes_the_log(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    log = "echo '[    1.000000] a long log' && seq 30000"
    stubs.add("makedumpfile", f'{{ {log}; }} > "$3" 2> /dev/null || {{ echo No space left on device >&2; rm -f "$3"; exit 1; }}')
    with file_system(dump_kernel.root / "srv", 64) as disk:
        subprocess.run(["sh", "-c", mounted(dump_kernel, "/srv")], check=True)
        fill(disk, free=16)
        capture(dump_kernel, settings=Settings(stores=(ON_SRV, ON_ROOT)))

        assert list((disk / "crash").iterdir()) == []
    status = newest_status(dump_kernel)
    assert [step.ok for step in status.steps[:2]] == [False, True]
    assert (status.store, status.folder) == ("/var/crash", f"/var/crash/{only_folder(dump_kernel).name}")


LONG_LOG = """
case "$1" in
    --dump-dmesg) { { echo '[    1.000000] a long log'; seq 30000; } > "$3"; } 2> /dev/null && exit
        echo No space left on device >&2; rm -f "$3"; exit 1;;
    *) exit 1;;
esac"""
OLDER = [f"2020-01-0{number}T00-00-00Z" for number in (1, 2, 3)]


def full_of_memory(store: Path, kib: int = 200) -> None:
    """Leaves no room, but for that of the vmcores of older crashes."""
    for name in OLDER:
        (store / name).mkdir(parents=True)
        for file in ("dmesg.txt", "status.json"):
            (store / name / file).write_text("old\n")
        (store / name / "vmcore").write_bytes(b"x" * kib * 1024)
    fill(store, free=8)


@pytest.mark.parametrize("door", list(Door))
def test_in_a_store_full_of_old_memory_the_oldest_makes_room_for_the_log(
    dump_kernel: FakeMachine, stubs: Stubs, said: Callable[[], str], door: Door
) -> None:
    stubs.add("makedumpfile", LONG_LOG)
    with file_system(dump_kernel.root / "var/crash", 1024) as store:
        full_of_memory(store)

        assert capture(dump_kernel, door, settings=Settings(keep_free=0)) == [FinalAction.POWEROFF]
        assert [(store / name / "vmcore").exists() for name in OLDER] == [False, True, True]
        assert all((store / name / "dmesg.txt").read_text() == "old\n" for name in OLDER)
        (new,) = {path.name for path in store.iterdir() if path.is_dir()} - set(OLDER)
        assert (store / new / "dmesg.txt").read_text().endswith("30000\n")
        assert steps(Status.from_json((store / new / "status.json").read_text()))[:2] == [
            ("dmesg", False, "No space left on device"),
            ("dmesg", True, ""),
        ]
    assert f"the store is full: removed {store}/{OLDER[0]}/vmcore; the log of that crash stays\n" in said()


def test_in_a_store_where_not_even_a_folder_can_be_made_old_memory_makes_room(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", LONG_LOG)
    with file_system(dump_kernel.root / "var/crash", 1024) as store:
        full_of_memory(store)
        # A folder of a tmpfs takes an inode.
        subprocess.run(["/usr/bin/mount", "-o", f"remount,nr_inodes={len(list(store.rglob('*'))) + 1}", store], check=True)

        assert capture(dump_kernel, settings=Settings(keep_free=0)) == [FinalAction.POWEROFF]


def test_old_memory_stays_where_another_store_takes_the_log(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", LONG_LOG)
    with file_system(dump_kernel.root / "srv", 1024) as store:
        full_of_memory(store)
        capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/srv"), ON_ROOT)))

        assert all((store / name / "vmcore").exists() for name in OLDER)
    assert newest_status(dump_kernel).dmesg_saved


def test_old_memory_stays_while_systemd_may_reach_another_store(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", LONG_LOG)
    with file_system(dump_kernel.root / "var/crash", 1024) as store:
        full_of_memory(store)
        stores = (ON_ROOT, *by_systemd("/srv").stores)

        assert capture(dump_kernel, Door.INITRD, settings=Settings(stores=stores)) == [3]
        assert all((store / name / "vmcore").exists() for name in OLDER)


def test_old_memory_stays_when_the_log_can_not_be_read(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", "exit 1")
    with file_system(dump_kernel.root / "var/crash", 1024) as store:
        full_of_memory(store)
        capture(dump_kernel)

        assert all((store / name / "vmcore").exists() for name in OLDER)


def test_a_part_of_the_log_counts_more_than_the_order_of_the_stores(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", 'case "$3" in */second/*) echo "[    1.000000] the lo" > "$3";; esac; exit 1')
    capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/first"), StoreSettings(path="/second"))))

    assert list((dump_kernel.root / "first").iterdir()) == []
    assert newest_status(dump_kernel, "second").store == "/second"


def test_a_store_that_hangs_in_the_kernel_does_not_stop_the_next(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(vmcore: Path, folder: Path, *, timeout: float) -> Saved:
        if "srv" in folder.parts:
            time.sleep(30)
            raise SaveError("too late")
        return Saved(84 << 10)

    monkeypatch.setattr(capture_main, "save_dmesg", save)
    monkeypatch.setattr(capture_main, "DMESG_TIMEOUT", 0.1)
    monkeypatch.setattr(capture_main, "HANG_GRACE", 0.1)

    began = time.monotonic()
    capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/srv"), ON_ROOT)))
    assert time.monotonic() - began < 20
    assert steps(newest_status(dump_kernel))[0] == ("dmesg", False, "the store was still hanging after 0 s")


def test_a_store_that_can_not_even_be_opened_in_time_does_not_stop_the_next(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(root: Path, path: str) -> None:
        if path == "/srv":
            time.sleep(30)

    monkeypatch.setattr(stores, "make_writable", hangs)
    monkeypatch.setattr(stores, "OPEN_TIMEOUT", 0.1)
    capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/srv"), ON_ROOT)))

    assert steps(newest_status(dump_kernel))[0] == ("dmesg", False, "/srv: the store was still hanging after 0 s")


def test_the_command_line_names_what_must_be_mounted_to_read_the_settings(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("mount", mounted(dump_kernel, "/var"))
    dump_kernel.write("proc/cmdline", "kdumpd.capture kdumpd.mount=/var,UUID=7,ext4\n")
    capture(dump_kernel, Door.INITRD)

    assert stubs.calls[0] == f"mount -t ext4 UUID=7 {dump_kernel.root}/var"


def test_a_mount_of_the_command_line_that_fails_is_on_record_and_does_not_stop_the_capture(
    dump_kernel: FakeMachine, stubs: Stubs
) -> None:
    stubs.add("mount", "exit 32")
    dump_kernel.write("proc/cmdline", "kdumpd.capture kdumpd.mount=/var/lib,UUID=7,ext4\n")

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert steps(newest_status(dump_kernel))[0] == ("mount", False, "/var/lib: mount failed with 32: ")


@pytest.mark.parametrize("value", ["", "/var", "/var,UUID=1", "var,UUID=1,ext4", ",UUID=1,ext4"])
def test_what_names_no_mount_is_ignored(value: str) -> None:
    assert named_mounts([("kdumpd.mount", value)]) == []


def test_without_settings_the_command_line_says_how_it_ends(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    (dump_kernel.root / "var/lib/kdumpd/capture.json").unlink()
    dump_kernel.write("proc/cmdline", "kdumpd.deadline=x kdumpd.then=halt kdumpd.on_failure=poweroff kdumpd.capture\n")
    assert capture(dump_kernel) == [FinalAction.HALT]

    stubs.add("makedumpfile", "exit 1")
    dump_kernel.write("dev/kdumpd/status.json", "")
    assert capture(dump_kernel) == [FinalAction.POWEROFF]
