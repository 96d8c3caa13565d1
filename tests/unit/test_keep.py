# SPDX-License-Identifier: LGPL-2.1-or-later
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture.keep import remove_old_crashes, remove_oldest_vmcore
from tests.unit.fakes import file_system, fill

ENOUGH = 1 << 40
IMPOSSIBLE = 1 << 60


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "crash"
    folder.mkdir()
    return folder


def crash(store: Path, name: str, *files: str, kib: int = 4) -> Path:
    """A crash folder; by default with a log and a status."""
    folder = store / name
    for file in files or ("dmesg.txt", "status.json"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * kib * 1024)
    return folder


def day(number: int) -> str:
    return f"2026-11-{number:02}T00-00-00Z"


def left(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.is_dir())


def test_the_oldest_go_when_there_are_too_many(store: Path, said: Callable[[], str]) -> None:
    crashes = [crash(store, day(number)) for number in (1, 2, 3, 4)]
    remove_old_crashes(crashes[-1], count=2, size=ENOUGH, free=0)

    assert left(store) == [day(3), day(4)]
    assert f"removed the older crash {crashes[0]}\n" in said()


def test_of_crashes_in_the_same_second_the_lower_number_is_the_older(store: Path) -> None:
    for name in (day(1), f"{day(1)}-2", f"{day(1)}-10"):
        crash(store, name)
    remove_old_crashes(crash(store, f"{day(1)}-11"), count=2, size=ENOUGH, free=0)

    assert left(store) == [f"{day(1)}-10", f"{day(1)}-11"]


def test_the_oldest_go_when_all_together_are_too_large(store: Path) -> None:
    for number in (1, 2, 3):
        crash(store, day(number), kib=100)
    remove_old_crashes(crash(store, day(4), kib=100), count=10, size=450 << 10, free=0)

    assert left(store) == [day(3), day(4)]


def test_the_oldest_go_when_too_little_space_is_free(tmp_path: Path) -> None:
    with file_system(tmp_path / "disk", 1024) as disk:
        for number in (1, 2, 3):
            crash(disk, day(number), kib=50)
        newest = crash(disk, day(4), kib=50)
        fill(disk, 20)
        remove_old_crashes(newest, count=10, size=ENOUGH, free=150 << 10)

        assert left(disk) == [day(3), day(4)]


def test_none_is_lost_for_space_that_all_of_them_could_not_free(store: Path) -> None:
    crash(store, day(1))
    remove_old_crashes(crash(store, day(2)), count=10, size=ENOUGH, free=IMPOSSIBLE)

    assert left(store) == [day(1), day(2)]


def test_the_newest_stays_whatever_the_limits_say(store: Path) -> None:
    crash(store, day(1))
    remove_old_crashes(crash(store, day(2)), count=0, size=0, free=0)

    assert left(store) == [day(2)]


def test_a_clock_that_was_set_back_does_not_stop_the_pruning_nor_cost_the_newest(store: Path) -> None:
    crash(store, day(1))
    crash(store, day(2))
    remove_old_crashes(crash(store, "1970-01-01T00-00-00Z"), count=2, size=ENOUGH, free=0)

    assert left(store) == ["1970-01-01T00-00-00Z", day(2)]


def test_crashes_of_a_clock_that_was_ahead_do_not_push_out_those_that_came_later(store: Path) -> None:
    crash(store, day(1))
    for number in range(10):
        crash(store, f"2099-01-01T00-00-{number:02}Z")
    remove_old_crashes(crash(store, day(2)), count=10, size=ENOUGH, free=0)
    remove_old_crashes(crash(store, day(3)), count=4, size=ENOUGH, free=0)

    assert left(store) == [day(1), day(2), day(3), "2099-01-01T00-00-09Z"]


def test_crashes_of_a_clock_that_begins_anew_are_kept_in_their_order(store: Path) -> None:
    crash(store, day(1))
    for number in range(3):
        remove_old_crashes(crash(store, f"1970-01-01T00-0{number}-00Z"), count=3, size=ENOUGH, free=0)

    assert left(store) == [f"1970-01-01T00-0{number}-00Z" for number in range(3)]


def test_for_a_log_without_room_the_oldest_memory_goes_and_no_log(store: Path, said: Callable[[], str]) -> None:
    for number in (1, 2, 3):
        crash(store, day(number), "dmesg.txt", "status.json", "vmcore")

    assert remove_oldest_vmcore(store, day(4))
    assert not (store / day(1) / "vmcore").exists()
    assert f"the store is full: removed {store / day(1)}/vmcore; the log of that crash stays\n" in said()
    assert remove_oldest_vmcore(store, day(4))
    assert not remove_oldest_vmcore(store, day(4))
    assert (store / day(3) / "vmcore").exists()
    assert all((store / day(number) / "dmesg.txt").exists() for number in (1, 2, 3))


def test_what_is_left_of_a_memory_goes_too_but_never_what_is_not_only_ours(store: Path) -> None:
    crash(store, day(1), "dmesg.txt", "status.json", "vmcore", "notes.txt")
    crash(store, day(2), "status.json", "vmcore.incomplete")
    crash(store, day(3))

    assert remove_oldest_vmcore(store, day(4))
    assert not remove_oldest_vmcore(store, day(4))
    assert (store / day(1) / "vmcore").exists()


def test_a_memory_that_can_not_be_removed_does_not_keep_the_next_one(
    store: Path, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        crash(store, day(number), "dmesg.txt", "status.json", "vmcore")
    unlink = Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path.parent == store / day(1):
            raise OSError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)

    assert remove_oldest_vmcore(store, day(4))
    assert not (store / day(2) / "vmcore").exists()
    assert f"cannot remove {store / day(1)}/vmcore: Operation not permitted\n" in said()


def test_when_the_new_one_has_nothing_to_read_the_newest_that_has_stays(store: Path) -> None:
    crash(store, day(1))
    crash(store, day(2), "vmcore", "status.json")
    crash(store, day(3), "status.json")
    remove_old_crashes(crash(store, day(4), "status.json"), count=0, size=0, free=0)

    assert left(store) == [day(2), day(4)]


def test_what_was_added_after_the_next_boot_is_removed_with_it(store: Path) -> None:
    crash(store, day(1), "dmesg.txt", "report.json", ".report.json.new", "analysis.txt", ".analysis.txt.new", "pstore/dmesg-efi-1")
    crash(store, day(2), "report.json", "pstore/mce-erst-1")
    (store / ".kdumpd-index.json").touch()
    remove_old_crashes(crash(store, day(3)), count=1, size=ENOUGH, free=0)

    assert left(store) == [day(3)]
    assert (store / ".kdumpd-index.json").exists()


def test_all_that_a_capture_leaves_is_removed_with_it(store: Path) -> None:
    crash(
        store,
        day(1),
        "dmesg.txt",
        "vmcore.incomplete",
        "capture.log",
        ".status.json.new",
        "pstore/dmesg-efi-1",
        "pstore/.incomplete",
    )
    crash(store, day(2), "dmesg.txt.incomplete")
    remove_old_crashes(crash(store, day(3)), count=1, size=ENOUGH, free=0)

    assert left(store) == [day(3)]


@pytest.mark.parametrize(
    "files",
    [
        ["dmesg.202611010000", "dump.202611010000"],
        ["status.json", "dmesg.txt", "notes.txt"],
        ["status.json", "dmesg.txt", "pstore/mine/notes.txt"],
        ["status.json", "dmesg.txt/file"],
        ["vmcore"],
        ["pstore/dmesg-efi-1"],
    ],
)
def test_a_folder_with_anything_that_is_not_from_a_capture_is_never_removed(store: Path, files: list[str]) -> None:
    crash(store, day(1), *files)
    remove_old_crashes(crash(store, day(2)), count=1, size=0, free=0)

    assert left(store) == [day(1), day(2)]
    assert all((store / day(1) / file).exists() for file in files)


@pytest.mark.parametrize("name", ["202611010000", "2026-11-01T00-00-00Z.bak", "2026-11-01T00-00-00", "old", f"x{day(1)}"])
def test_a_folder_of_another_name_is_never_removed(store: Path, name: str) -> None:
    crash(store, name)
    remove_old_crashes(crash(store, day(2)), count=1, size=0, free=0)

    assert left(store) == sorted([name, day(2)])


def test_an_empty_folder_is_nobodys(store: Path) -> None:
    (store / day(1)).mkdir()
    remove_old_crashes(crash(store, day(2)), count=1, size=0, free=0)

    assert left(store) == [day(1), day(2)]


def test_links_are_neither_followed_nor_removed(tmp_path: Path, store: Path) -> None:
    elsewhere = crash(tmp_path, "elsewhere")
    (store / day(1)).symlink_to(elsewhere)
    (crash(store, day(2)) / "pstore").symlink_to(elsewhere)
    (crash(store, day(3), "status.json") / "vmcore").symlink_to(elsewhere / "dmesg.txt")
    remove_old_crashes(crash(store, day(4)), count=1, size=0, free=0)

    assert left(store) == [day(1), day(2), day(3), day(4)]
    assert (elsewhere / "dmesg.txt").exists()


def test_what_is_mounted_in_a_crash_folder_is_left_alone(store: Path) -> None:
    crash(store, day(1))
    with file_system(store / day(1) / "pstore", 64) as mounted:
        (mounted / "of-somebody").write_text("else")
        remove_old_crashes(crash(store, day(2)), count=1, size=0, free=0)

        assert (mounted / "of-somebody").exists()
    assert left(store) == [day(1), day(2)]


def test_one_that_can_not_be_removed_stays_is_told_and_costs_no_newer_one(
    store: Path, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = crash(store, day(1))
    crash(store, day(2))
    unlink = Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path.parent == stuck:
            raise OSError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    remove_old_crashes(crash(store, day(3)), count=2, size=ENOUGH, free=0)

    assert left(store) == [day(1), day(2), day(3)]
    assert f"cannot remove {stuck}: Operation not permitted\n" in said()


def test_a_removal_is_on_the_disk_and_finished_the_next_time_when_it_was_cut_short(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(store, day(1), "dmesg.txt", "vmcore", "status.json", "pstore/dmesg-efi-1")
    newest = crash(store, day(2))
    removed: list[str] = []
    synced: list[Path] = []
    unlink, fsync = Path.unlink, os.fsync

    def cut_short(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok)

    def watched(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut_short)
        with pytest.raises(KeyboardInterrupt):
            remove_old_crashes(newest, count=1, size=ENOUGH, free=0)
    assert removed == ["dmesg-efi-1", "vmcore"]

    monkeypatch.setattr(os, "fsync", watched)
    remove_old_crashes(newest, count=1, size=ENOUGH, free=0)
    assert left(store) == [day(2)]
    assert synced == [store]


def test_a_crash_that_was_analysed_is_still_only_ours(store: Path) -> None:
    crash(store, day(1), "dmesg.txt", "status.json", "vmcore", "analysis.txt")
    remove_old_crashes(crash(store, day(2)), count=1, size=ENOUGH, free=0)

    assert left(store) == [day(2)]
