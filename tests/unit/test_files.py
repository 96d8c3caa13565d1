# SPDX-License-Identifier: LGPL-2.1-or-later
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture.durable import temporary_name, write_file
from kdumpd.crashes.harvest import SPOOL, harvest
from kdumpd.errors import BusyError
from kdumpd.files import LOCK, exists, hold, is_own, lock, lock_or_go_on, read_own, read_text
from tests.unit.pstores import dump, panic, put

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def link_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    path = tmp_path / LOCK
    path.parent.mkdir(parents=True)
    return path


def test_only_root_can_take_the_lock(tmp_path: Path) -> None:
    with lock(tmp_path):
        assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600


def test_the_folder_of_the_lock_is_for_root_to_write_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lock(tmp_path):
            assert (tmp_path / LOCK).parent.stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_a_lock_that_another_user_holds_by_an_old_mode_is_replaced(tmp_path: Path, lock_file: Path) -> None:
    lock_file.touch(mode=0o644)
    with lock_file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with lock(tmp_path, patience=1):
            assert lock_file.stat().st_mode & 0o777 == 0o600


@needs_root
def test_a_lock_file_of_another_user_is_replaced(tmp_path: Path, lock_file: Path) -> None:
    lock_file.touch(mode=0o600)
    os.chown(lock_file, NOBODY, NOBODY)
    with lock(tmp_path, patience=1):
        assert lock_file.stat().st_uid == 0


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, link_loop])
def test_what_is_in_the_place_of_the_lock_is_no_obstacle(tmp_path: Path, lock_file: Path, make: Callable[[Path], None]) -> None:
    make(lock_file)
    with lock(tmp_path, patience=1):
        assert is_own(lock_file)


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(BusyError), lock(tmp_path, patience=0):
        pass
    with lock(tmp_path, patience=0):
        pass


def test_a_process_that_was_killed_holds_no_lock(tmp_path: Path) -> None:
    program = "import os, sys, pathlib, kdumpd.files as f; f.lock(pathlib.Path(sys.argv[1])).__enter__(); os.abort()"
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False, capture_output=True)
    assert (tmp_path / LOCK).exists()

    with lock(tmp_path, patience=0):
        pass


def test_what_must_happen_happens_without_the_lock_too(tmp_path: Path) -> None:
    told: list[str] = []
    with lock(tmp_path), lock_or_go_on(tmp_path, told.append, patience=0):
        pass
    assert told == ["going on without the lock: another kdumpd has been changing this machine for 0 s"]


@pytest.fixture
def harvested(tmp_path: Path) -> Callable[[], int]:
    """Harvests one crash, and tells how many there are then."""

    def run() -> int:
        put(tmp_path / "pstore", *dump(1795358600, 1, "Panic", panic(9)))
        (tmp_path / "store").mkdir(exist_ok=True)
        return len(harvest(tmp_path / "pstore", tmp_path / "store", [], lambda text: None))

    return run


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, link_loop])
def test_a_durable_write_does_not_go_into_what_is_there(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(temporary_name(tmp_path / "file"))
    write_file(tmp_path / "file", b"text", 0o600)

    assert (tmp_path / "file").read_text() == "text"
    assert not os.path.lexists(temporary_name(tmp_path / "file"))


def test_the_lock_of_a_harvest_can_be_opened_by_root_only(tmp_path: Path, harvested: Callable[[], int]) -> None:
    (tmp_path / "store" / SPOOL).mkdir(parents=True)

    assert harvested() == 1
    assert (tmp_path / "store" / SPOOL).stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_harvest_does_not_wait_for_a_lock_of_another_user(tmp_path: Path, harvested: Callable[[], int]) -> None:
    spool = tmp_path / "store" / SPOOL
    spool.mkdir(parents=True)
    os.chown(spool, NOBODY, NOBODY)
    with hold(spool, patience=0):
        assert harvested() == 1


@pytest.mark.parametrize("make", [os.mkfifo, link_loop])
def test_what_is_in_the_place_of_the_spool_is_no_obstacle(
    tmp_path: Path, harvested: Callable[[], int], make: Callable[[Path], None]
) -> None:
    (tmp_path / "store").mkdir()
    make(tmp_path / "store" / SPOOL)

    assert harvested() == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, link_loop, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_plain_file_has_no_text_and_keeps_nobody_waiting(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    assert read_text(tmp_path / "file") is None
    assert read_own(tmp_path / "file") is None
    assert not is_own(tmp_path / "file")


def test_a_link_is_followed_where_the_file_is_not_kdumpds_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text\r\n")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "text\n"
    assert read_own(tmp_path / "link") is None


def test_a_file_that_others_may_write_is_not_kdumpds_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert read_own(tmp_path / "file") == b"text"
    (tmp_path / "file").chmod(0o664)
    assert read_own(tmp_path / "file") is None


@needs_root
def test_a_file_of_another_user_is_not_kdumpds_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    os.chown(tmp_path / "file", NOBODY, NOBODY)
    assert read_own(tmp_path / "file") is None


def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        file.truncate(1 << 40)
    assert read_own(tmp_path / "file") is None


def test_a_path_that_can_not_be_is_nothing(tmp_path: Path) -> None:
    for name in ("\0", "x" * 300):
        assert not exists(tmp_path / name)
        assert read_text(tmp_path / name) is None
        assert read_own(tmp_path / name) is None
