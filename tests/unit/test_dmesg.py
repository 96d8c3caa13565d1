# SPDX-License-Identifier: LGPL-2.1-or-later
import errno
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.capture.dmesg import save_dmesg
from kdumpd.capture.program import SaveError
from tests.unit.fakes import Stubs, file_system, fill
from tests.unit.vmcores import Ring, write_core

LOG = "[    0.000000] Linux version 6.1.0\n[    1.000000] the end\n"
# makedumpfile --dump-dmesg VMCORE LOG, which refuses a LOG that exists; vmcore-dmesg VMCORE.
MAKEDUMPFILE = f"set -C; printf '{LOG}' > \"$3\""
VMCORE_DMESG = f"printf '{LOG}'"
HANGS = "exec /bin/sleep 100"


@pytest.fixture
def programs(stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    """A machine that has no programs but those that a test adds."""
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", str(tmp_path / "bin"))
    return stubs


@pytest.fixture
def vmcore(tmp_path: Path) -> Path:
    ring = Ring()
    ring.add(b"of our own reader")
    return write_core(tmp_path / "vmcore", ring)


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """A vmcore in which no program finds a log."""
    (tmp_path / "vmcore").write_bytes(b"damaged")
    return tmp_path / "vmcore"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store/2026-11-22T03-04-05Z"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with file_system(tmp_path / "disk", 512) as disk:
        yield disk


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_makedumpfile_is_the_first_and_where_it_succeeds_the_only_one(programs: Stubs, vmcore: Path, folder: Path) -> None:
    programs.add("makedumpfile", MAKEDUMPFILE)
    programs.add("vmcore-dmesg", VMCORE_DMESG)
    saved = save_dmesg(vmcore, folder, timeout=10)

    assert (saved.bytes, saved.detail) == (len(LOG), "")
    assert content(folder) == {"dmesg.txt": LOG}
    assert stat.S_IMODE((folder / "dmesg.txt").stat().st_mode) == 0o600
    assert [call.split()[0] for call in programs.calls] == ["makedumpfile"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no memory >&2; exit 1", "makedumpfile failed with 1: no memory"),
        ('echo "[    0.000000] half" > "$3"; kill -9 $$', "makedumpfile failed with -9: "),
        ("", "makedumpfile ended well but wrote nothing"),
        (': > "$3"', "makedumpfile ended well but wrote an empty log"),
        ('echo "a  [    0.000000]" > "$3"', "makedumpfile ended well but wrote 18 bytes that are no log"),
        (
            'printf "[    0.000000] Linux\\n[    1.0" > "$3"',
            "makedumpfile ended well but wrote 29 bytes that end in the middle of a line",
        ),
        (HANGS, "makedumpfile was still running after 1 s"),
    ],
)
def test_vmcore_dmesg_does_what_makedumpfile_could_not(
    programs: Stubs, vmcore: Path, folder: Path, script: str, reason: str
) -> None:
    programs.add("makedumpfile", script)
    programs.add("vmcore-dmesg", VMCORE_DMESG)
    saved = save_dmesg(vmcore, folder, timeout=0.6)

    assert saved.detail == f"by vmcore-dmesg; {reason}"
    assert content(folder) == {"dmesg.txt": LOG}
    assert stat.S_IMODE((folder / "dmesg.txt").stat().st_mode) == 0o600
    assert programs.calls[-1] == f"vmcore-dmesg {vmcore}"


def test_kdumpd_reads_the_log_itself_where_no_program_can(programs: Stubs, vmcore: Path, folder: Path) -> None:
    saved = save_dmesg(vmcore, folder, timeout=10)

    assert content(folder) == {"dmesg.txt": "[    1.234567] of our own reader\n"}
    assert stat.S_IMODE((folder / "dmesg.txt").stat().st_mode) == 0o600
    assert saved.bytes == 33
    assert saved.detail == (
        "by kdumpd; cannot run makedumpfile: No such file or directory; cannot run vmcore-dmesg: No such file or directory"
    )


def test_records_that_could_not_be_read_are_told(programs: Stubs, tmp_path: Path, folder: Path) -> None:
    ring = Ring()
    ring.add(b"good")
    ring.set_block(ring.add(b"damaged"), 0, 0)
    saved = save_dmesg(write_core(tmp_path / "vmcore", ring), folder, timeout=10)

    assert saved.detail.startswith("by kdumpd; 1 damaged or unfinished records are left out; cannot run makedumpfile: ")


def test_when_nobody_can_each_says_why_and_nothing_is_left(programs: Stubs, nothing: Path, folder: Path) -> None:
    programs.add("makedumpfile", "echo bad magic >&2; exit 1")
    programs.add("vmcore-dmesg", "echo missing elf signature >&2; exit 4")

    with pytest.raises(SaveError) as refused:
        save_dmesg(nothing, folder, timeout=10)
    assert str(refused.value) == (
        "makedumpfile failed with 1: bad magic; vmcore-dmesg failed with 4: missing elf signature; "
        f"{nothing} ends at 0x7, and 64 bytes at 0x0 are needed"
    )
    assert content(folder) == {}


def test_the_longest_part_is_kept_when_nobody_can_save_the_whole(programs: Stubs, nothing: Path, folder: Path) -> None:
    programs.add("makedumpfile", 'echo "[    0.000000] half of a log" > "$3"; exit 1')
    programs.add("vmcore-dmesg", 'echo "[    0.000000] less"; exit 60')

    with pytest.raises(SaveError, match=r"; a part of 29 bytes is in dmesg\.txt\.incomplete$"):
        save_dmesg(nothing, folder, timeout=10)
    assert content(folder) == {"dmesg.txt.incomplete": "[    0.000000] half of a log\n"}
    assert stat.S_IMODE((folder / "dmesg.txt.incomplete").stat().st_mode) == 0o600


def test_what_the_first_door_left_is_not_in_the_way_of_the_second(programs: Stubs, vmcore: Path, folder: Path) -> None:
    (folder / ".dmesg.txt.new").write_text("[    0.000000] ha")
    (folder / "dmesg.txt.incomplete").write_text("[    0.000000] a")
    programs.add("makedumpfile", MAKEDUMPFILE)

    assert save_dmesg(vmcore, folder, timeout=10).detail == ""
    assert content(folder) == {"dmesg.txt": LOG}


def test_what_the_first_door_left_is_kept_when_the_second_has_nothing(programs: Stubs, nothing: Path, folder: Path) -> None:
    (folder / ".dmesg.txt.new").write_text("[    0.000000] when the first door was killed")

    with pytest.raises(SaveError):
        save_dmesg(nothing, folder, timeout=10)
    assert content(folder) == {"dmesg.txt.incomplete": "[    0.000000] when the first door was killed"}


def test_the_time_for_each_program_is_that_of_our_own_reader_too(programs: Stubs, vmcore: Path, folder: Path) -> None:
    with pytest.raises(SaveError, match=r"there was no time left to read the whole log$"):
        save_dmesg(vmcore, folder, timeout=0)


@pytest.mark.parametrize("program", ["makedumpfile", "vmcore-dmesg"])
def test_a_program_that_finds_no_room_is_the_failure_of_the_store(
    programs: Stubs, vmcore: Path, folder: Path, program: str
) -> None:
    half = 'echo "[    0.000000] half" > "${3:-/dev/stdout}"'
    programs.add("makedumpfile", f"{half}; exit 1")
    programs.add(program, f'{half}; echo "Can\'t write the dump file. No space left on device" >&2; exit 1')

    with pytest.raises(OSError, match="No space left on device") as refused:
        save_dmesg(vmcore, folder, timeout=10)
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(folder))
    assert content(folder) == {}
    assert programs.calls[-1].startswith(program)


def test_our_own_reader_without_room_is_the_failure_of_the_store(programs: Stubs, vmcore: Path, small_disk: Path) -> None:
    fill(small_disk, 0)

    with pytest.raises(OSError, match="No space left on device") as refused:
        save_dmesg(vmcore, small_disk, timeout=10)
    assert refused.value.errno == errno.ENOSPC
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_store_that_is_read_only_is_not_tried_with_another_program(programs: Stubs, vmcore: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    programs.add("makedumpfile", 'echo "Can\'t open the dump file($3). Read-only file system" >&2; exit 1')

    with pytest.raises(OSError, match="Read-only file system") as refused:
        save_dmesg(vmcore, small_disk, timeout=10)
    assert refused.value.errno == errno.EROFS
    assert len(programs.calls) == 1


@pytest.fixture
def real_vmcore_dmesg(programs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """makedumpfile reads no core as small as ours; tests/vm has it."""
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", f"{tmp_path / 'bin'}:/usr/sbin")
    programs.add("makedumpfile", "exit 1")


def test_the_real_vmcore_dmesg_saves_what_our_own_reader_would(real_vmcore_dmesg: None, vmcore: Path, folder: Path) -> None:
    assert save_dmesg(vmcore, folder, timeout=10).detail == "by vmcore-dmesg; makedumpfile failed with 1: "
    assert content(folder) == {"dmesg.txt": "[    1.234567] of our own reader\n"}


def test_a_ring_without_end_that_the_real_vmcore_dmesg_walks_for_ever_is_read(
    real_vmcore_dmesg: None, tmp_path: Path, folder: Path
) -> None:
    ring = Ring()
    ring.add(b"before the end")
    ring.claimed_head = 1 << 61
    saved = save_dmesg(write_core(tmp_path / "vmcore", ring), folder, timeout=0.6)

    assert saved.detail == "by kdumpd; makedumpfile failed with 1: ; vmcore-dmesg was still running after 1 s"
    assert content(folder) == {"dmesg.txt": "[    1.234567] before the end\n"}


def test_the_real_vmcore_dmesg_without_room_is_the_failure_of_the_store(
    real_vmcore_dmesg: None, tmp_path: Path, small_disk: Path
) -> None:
    ring = Ring(size_bits=14)
    for _ in range(ring.count):
        ring.add(b"x" * 400)
    core = write_core(tmp_path / "vmcore", ring)
    fill(small_disk, 8)

    with pytest.raises(OSError, match="No space left on device"):
        save_dmesg(core, small_disk, timeout=10)
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
