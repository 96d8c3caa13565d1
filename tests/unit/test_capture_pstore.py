# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd.capture import pstore as pstore_module
from kdumpd.capture.program import Saved, SaveError
from kdumpd.capture.pstore import copy_pstore
from tests.unit.fakes import Stubs, file_system, fill

# Any name that a file may have.
NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0"))


@pytest.fixture
def pstore(tmp_path: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is mounted at /sys/fs/pstore, empty; mount and modprobe succeed and do nothing."""
    stubs.add("mount")
    stubs.add("modprobe")
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    folder = tmp_path / "pstore"
    folder.mkdir()
    return folder


@pytest.fixture
def crash(tmp_path: Path) -> Path:
    folder = tmp_path / "crash"
    folder.mkdir()
    return folder


def copies(crash: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (crash / "pstore").iterdir()}


def test_records_are_moved_out_of_pstore_for_root_only(pstore: Path, crash: Path) -> None:
    (pstore / "dmesg-efi-1").write_text("one")
    (pstore / "dmesg-efi-2.enc.z").write_text("two!")

    assert copy_pstore(pstore, crash) == Saved(7)
    assert copies(crash) == {"dmesg-efi-1": "one", "dmesg-efi-2.enc.z": "two!"}
    assert list(pstore.iterdir()) == []
    assert stat.S_IMODE((crash / "pstore").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (crash / "pstore").iterdir()} == {0o600}


def test_no_record_leaves_pstore_before_all_copies_are_on_the_disk(
    pstore: Path, crash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (pstore / f"dmesg-efi-{number}").write_text("record")
    synced: list[tuple[Path, int]] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        fsync(handle)
        synced.append((Path(f"/proc/self/fd/{handle}").readlink(), len(list(pstore.iterdir()))))

    monkeypatch.setattr(os, "fsync", watched)
    copy_pstore(pstore, crash)

    assert [left for _, left in synced] == [3] * 5
    assert [path for path, _ in synced[-2:]] == [crash / "pstore", crash]


def test_the_modules_are_loaded_and_pstore_is_mounted_where_nothing_is_there(pstore: Path, crash: Path, stubs: Stubs) -> None:
    stubs.add("mount", 'echo record > "$4/dmesg-ramoops-0"')

    assert copy_pstore(pstore, crash, modules=["efi_pstore", "ramoops"]) == Saved(7)
    assert stubs.calls == ["modprobe -- efi_pstore", "modprobe -- ramoops", f"mount -t pstore pstore {pstore}"]


def test_a_pstore_that_is_mounted_is_not_mounted_again(tmp_path: Path, pstore: Path, crash: Path, stubs: Stubs) -> None:
    with file_system(tmp_path / "mounted", 64) as mounted:
        assert copy_pstore(mounted, crash) == Saved(0)
    assert stubs.calls == []


def test_a_module_that_can_not_be_loaded_is_told_and_the_records_are_taken(pstore: Path, crash: Path, stubs: Stubs) -> None:
    stubs.add("modprobe", "echo 'FATAL: Module ramoops not found' >&2; exit 1")
    (pstore / "dmesg-efi-1").write_text("record")

    assert copy_pstore(pstore, crash, modules=["ramoops"]) == Saved(6, "modprobe failed with 1: FATAL: Module ramoops not found")


def test_a_module_that_hangs_is_not_waited_for(pstore: Path, crash: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pstore_module, "COMMAND_TIMEOUT", 2.0)
    stubs.add("modprobe", "sleep 100")

    assert copy_pstore(pstore, crash, modules=["ramoops"]) == Saved(0, "modprobe was still running after 2 s")


def test_a_kernel_without_pstore_has_no_records(tmp_path: Path, crash: Path) -> None:
    assert copy_pstore(tmp_path / "missing", crash) == Saved(0)
    assert list(crash.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        (b"dmesg-efi_pstore-179535859601001", "dmesg-efi_pstore-179535859601001"),
        (b"..\\..\nevil\x1b[2J", "%2E.%5C..%0Aevil%1B%5B2J"),
        (b"\xff\xfe", "%FF%FE"),
        (b"100%", "100%25"),
        (b".incomplete", "%2Eincomplete"),
        (b"n" * 255, "n" * 240),
        (b"\n" * 255, "%0A" * 80),
    ],
)
def test_a_hostile_name_becomes_a_harmless_one(pstore: Path, crash: Path, name: bytes, copy: str) -> None:
    Path(os.fsdecode(os.fsencode(pstore) + b"/" + name)).write_text("record")
    copy_pstore(pstore, crash)

    assert copies(crash) == {copy: "record"}
    assert list(pstore.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(names=st.sets(NAMES, max_size=5))
def test_whatever_the_names_are_every_record_gets_a_file_of_its_own(tmp_path: Path, pstore: Path, names: set[bytes]) -> None:
    crash = tmp_path / "crash"
    shutil.rmtree(crash, ignore_errors=True)
    (crash / "pstore").mkdir(parents=True)
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(pstore) + b"/" + name)).write_text(f"record {number}")
    copy_pstore(pstore, crash)

    assert sorted(copies(crash).values()) == sorted(f"record {number}" for number in range(len(names)))
    assert all(name.isascii() and name.isprintable() and len(name) <= 255 for name in copies(crash))
    assert list(pstore.iterdir()) == []


def test_long_names_with_the_same_beginning_do_not_collide(pstore: Path, crash: Path) -> None:
    for end in "ab":
        (pstore / ("n" * 250 + end)).write_text(f"record {end}")
    copy_pstore(pstore, crash)

    assert copies(crash) == {"n" * 240: "record a", "n" * 240 + "=2": "record b"}


def test_what_is_not_a_record_is_left_alone_and_told(tmp_path: Path, pstore: Path, crash: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (pstore / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(pstore / "pipe")
    (pstore / "folder").mkdir()
    (pstore / "dmesg-efi-1").write_text("record")

    assert copy_pstore(pstore, crash) == Saved(6, "folder is not a record; link is not a record; pipe is not a record")
    assert copies(crash) == {"dmesg-efi-1": "record"}
    assert {path.name for path in pstore.iterdir()} == {"link", "pipe", "folder"}


def test_a_record_that_can_not_be_read_is_told_and_the_others_are_taken(
    pstore: Path, crash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "bad", "c"):
        (pstore / name).write_text("record")
    read = os.read

    def broken(handle: int, size: int) -> bytes:
        if Path(f"/proc/self/fd/{handle}").readlink().name == "bad":
            raise OSError(5, "Input/output error")
        return read(handle, size)

    monkeypatch.setattr(os, "read", broken)

    assert copy_pstore(pstore, crash) == Saved(12, "bad can't be read: Input/output error")
    assert set(copies(crash)) == {"a", "c"}
    assert [path.name for path in pstore.iterdir()] == ["bad"]


def test_a_record_of_64_mb_is_taken_and_one_larger_than_any_record_is_left(
    pstore: Path, crash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pstore_module, "MAX_RECORD", 64 << 20)
    for name, size in (("large", 64 << 20), ("larger", (64 << 20) + 1)):
        with (pstore / name).open("wb") as record:
            record.truncate(size)

    assert copy_pstore(pstore, crash) == Saved(64 << 20, "larger is larger than 64 MiB")
    assert {path.name: path.stat().st_size for path in (crash / "pstore").iterdir()} == {"large": 64 << 20}
    assert [path.name for path in pstore.iterdir()] == ["larger"]


def test_records_for_which_the_store_has_no_space_stay_in_pstore(tmp_path: Path, pstore: Path) -> None:
    for name, size in (("a", 4), ("b", 100), ("c", 4)):
        (pstore / name).write_bytes(b"x" * size * 1024)
    with file_system(tmp_path / "disk", 256) as disk:
        (disk / "pstore").mkdir()
        fill(disk, 64)

        with pytest.raises(SaveError) as caught:
            copy_pstore(pstore, disk)
        assert {path.name for path in (disk / "pstore").iterdir()} == {"a"}

    assert str(caught.value) == "1 of 3 records were saved, the others are still in pstore: No space left on device"
    assert {path.name for path in pstore.iterdir()} == {"b", "c"}


def test_when_there_is_no_time_left_the_records_stay(pstore: Path, crash: Path) -> None:
    (pstore / "dmesg-efi-1").write_text("record")

    with pytest.raises(SaveError, match=r"^0 of 1 records were saved, the others are still in pstore: there was no time left$"):
        copy_pstore(pstore, crash, timeout=-1)
    assert (pstore / "dmesg-efi-1").exists()


def test_a_backend_that_does_not_forget_is_told(pstore: Path, crash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pstore / "dmesg-efi-1").write_text("record")

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path.parent == pstore:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", refuses)

    assert copy_pstore(pstore, crash) == Saved(6, "dmesg-efi-1 can't be taken out of pstore: Input/output error")
    assert copies(crash) == {"dmesg-efi-1": "record"}


def test_of_many_troubles_a_few_are_told(pstore: Path, crash: Path) -> None:
    for number in range(9):
        (pstore / f"folder{number}").mkdir()

    assert copy_pstore(pstore, crash).detail == (
        "folder0 is not a record; folder1 is not a record; folder2 is not a record; and 6 more"
    )


def test_after_a_capture_that_was_killed_nothing_is_lost_and_nothing_is_there_twice(pstore: Path, crash: Path) -> None:
    (crash / "pstore").mkdir()
    (crash / "pstore/copied").write_text("the same")
    (crash / "pstore/other").write_text("of the first capture")
    (crash / "pstore/.incomplete").write_text("hal")
    (pstore / "copied").write_text("the same")
    (pstore / "other").write_text("of the second")
    copy_pstore(pstore, crash)

    assert copies(crash) == {"copied": "the same", "other": "of the first capture", "other=2": "of the second"}
    assert list(pstore.iterdir()) == []
