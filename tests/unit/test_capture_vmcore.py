# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import random
import shutil
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdumpd.capture import console, vmcore
from kdumpd.capture.makedumpfile import Makedumpfile, parse_version
from kdumpd.capture.program import Saved, SaveError
from kdumpd.capture.settings import VmcoreSettings
from kdumpd.capture.vmcore import choose_options, save_vmcore
from tests.unit.fakes import Stubs, file_system

DEBIAN = Makedumpfile(version=(1, 7, 2), disabled=frozenset({"snappy", "zstd"}))
NEWER = Makedumpfile(version=(1, 7, 8), disabled=frozenset())
# What makedumpfile 1.7.2 says on standard output when the disk is full, after which it ends with 1.
DISK_FULL = """\
printf '\\nCan'"'"'t write the dump file(vmcore.incomplete). No space left on device\\n'
echo 'This is an incomplete dumpfile, but might analyzable.'; echo 'makedumpfile Failed.'; exit 1"""
LIMIT_REACHED = DISK_FULL.replace("No space left on device", "Size limit(123) reached.")
KEEP_FREE = 2 << 20
ELF = VmcoreSettings(format="elf", levels=(1,))


class Makedumpfiles:
    """makedumpfile as Debian 12 has it; the script of a test knows the file to write as $target."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs

    def does(self, script: str, version: str = "1.7.2") -> None:
        about = f"echo 'makedumpfile: version {version} (released on 20 Oct 2022)'; printf 'lzo\\tenabled\\nzstd\\tdisabled\\n\\n'"
        self._stubs.add("makedumpfile", f'if [ "$1" = -v ]; then {about}; exit; fi\nfor target; do :; done\n{script}')

    @property
    def options(self) -> list[str]:
        """Of the last call, without -L and its size, what it is to say, and the two names."""
        _, limit, _, *messages, _, _ = self._stubs.calls[-1].split()
        assert (limit, messages[:2]) == ("-L", ["--message-level", "23"])
        return messages[2:]

    @property
    def limit(self) -> int:
        return int(self._stubs.calls[-1].split()[2])


@pytest.fixture
def makedumpfile(stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Makedumpfiles:
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Makedumpfiles(stubs)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A crash folder on a disk of 16 MiB."""
    with file_system(tmp_path / "disk", 16 << 10) as disk:
        (disk / "crash").mkdir()
        yield disk / "crash"


def save(folder: Path, settings: VmcoreSettings | None = None, *, keep_free: int = KEEP_FREE, timeout: float = 20) -> Saved:
    return save_vmcore(Path("/proc/vmcore"), folder, settings or VmcoreSettings(), keep_free=keep_free, timeout=timeout)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_memory_is_saved_for_root_only(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo memory > "$target"')

    assert save(folder, VmcoreSettings(levels=(17,), compress="zlib")) == Saved(7)
    assert makedumpfile.options == ["-d", "17", "-c"]
    assert names(folder) == {"vmcore"}
    assert stat.S_IMODE((folder / "vmcore").stat().st_mode) == 0o600


def test_the_dump_may_not_grow_into_the_space_that_is_to_stay_free(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo memory > "$target"')
    save(folder)

    assert (13 << 20) < makedumpfile.limit < (16 << 20) - KEEP_FREE


def test_where_no_space_is_left_makedumpfile_is_not_even_run(makedumpfile: Makedumpfiles, folder: Path, stubs: Stubs) -> None:
    with pytest.raises(SaveError, match=r"^1[56] MiB are free, and 20 MiB are to stay free$"):
        save(folder, keep_free=20 << 20)

    assert stubs.calls == []


def test_some_space_for_the_status_stays_free_whatever_the_policy_says(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo memory > "$target"')
    save(folder, keep_free=0)

    assert makedumpfile.limit < 15 << 20


def test_several_levels_are_left_to_makedumpfile_and_the_one_that_fitted_is_told(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo "Retry to create a dumpfile by dump_level(31)."; echo memory > "$target"')

    assert save(folder, VmcoreSettings(levels=(1, 31))).detail == "it fitted only with level 31"
    assert makedumpfile.options == ["-d", "1,31", "-l"]


def test_a_compression_that_makedumpfile_lacks_is_replaced_and_told(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo memory > "$target"')

    assert save(folder, VmcoreSettings(compress="zstd")).detail == "compressed with lzo: this makedumpfile has no zstd"
    assert makedumpfile.options == ["-d", "31", "-l"]


def test_a_makedumpfile_that_tells_nothing_of_itself_gets_the_compression_that_all_have(
    makedumpfile: Makedumpfiles, folder: Path, stubs: Stubs
) -> None:
    stubs.add("makedumpfile", '[ "$1" != -v ] || exit 1\nfor target; do :; done\necho memory > "$target"')
    save(folder)

    assert makedumpfile.options == ["-d", "31", "-c"]


@pytest.mark.parametrize(
    ("settings", "tool", "cpus", "options"),
    [
        (VmcoreSettings(compress="none"), DEBIAN, 1, ["-d", "31"]),
        (VmcoreSettings(compress="snappy"), DEBIAN, 1, ["-d", "31", "-l"]),
        (VmcoreSettings(compress="of the future"), NEWER, 1, ["-d", "31", "-l"]),
        (VmcoreSettings(compress="zstd"), NEWER, 1, ["-d", "31", "-z"]),
        (VmcoreSettings(compress="lzo"), Makedumpfile(version=(1, 7, 2), disabled=frozenset({"lzo"})), 1, ["-d", "31", "-c"]),
        # gdb reads no compressed dump, and makedumpfile has no threads for this format.
        (VmcoreSettings(format="elf", compress="zstd"), NEWER, 4, ["-d", "31", "-E"]),
        (VmcoreSettings(), NEWER, 4, ["-d", "31", "-l", "--num-threads", "3"]),
        # They corrupt the dump.
        (VmcoreSettings(), DEBIAN, 4, ["-d", "31", "-l"]),
        # They hang at the second level.
        (VmcoreSettings(levels=(1, 31)), NEWER, 4, ["-d", "1,31", "-l"]),
    ],
)
def test_makedumpfile_gets_no_option_that_it_does_not_have(
    settings: VmcoreSettings, tool: Makedumpfile, cpus: int, options: list[str]
) -> None:
    assert choose_options(settings, tool, cpus)[0] == options


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ('echo half > "$target"; echo "no memory" >&2; exit 1', "makedumpfile failed with 1: no memory"),
        ('echo half > "$target"; printf "no newline"; exit 2', "makedumpfile failed with 2: no newline"),
        ('echo half > "$target"; kill -9 $$', "makedumpfile failed with -9: "),
    ],
)
def test_of_a_dump_that_failed_nothing_stays(makedumpfile: Makedumpfiles, folder: Path, script: str, detail: str) -> None:
    makedumpfile.does(script)

    with pytest.raises(SaveError) as caught:
        save(folder)
    assert str(caught.value) == detail
    assert names(folder) == set()


def test_a_makedumpfile_that_hangs_is_killed_and_what_it_wrote_is_removed(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo half > "$target"; sleep 100')
    began = time.monotonic()

    with pytest.raises(SaveError, match=r"^makedumpfile was still running after 1 s$"):
        save(folder, timeout=1)
    assert time.monotonic() - began < 5
    assert names(folder) == set()


def test_one_that_closes_its_output_and_hangs_is_killed_too(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does('echo half > "$target"; exec >&- 2>&-; sleep 100')

    with pytest.raises(SaveError, match=r"^makedumpfile was still running after 1 s$"):
        save(folder, timeout=1)
    assert names(folder) == set()


def test_a_dump_that_did_not_fit_is_kept_when_it_may_be_of_use(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does(f'head -c "$2" /dev/zero > "$target"\n{LIMIT_REACHED}')

    with pytest.raises(SaveError, match=r"^the memory does not fit into 13 MiB; kept as vmcore\.incomplete: it may be analysable$"):
        save(folder)
    assert names(folder) == {"vmcore.incomplete"}
    assert stat.S_IMODE((folder / "vmcore.incomplete").stat().st_mode) == 0o600


def test_half_a_dump_on_a_disk_that_others_have_filled_is_removed(makedumpfile: Makedumpfiles, folder: Path) -> None:
    ballast = folder.parent / "ballast"
    makedumpfile.does(f'head -c 6M /dev/zero > {ballast}; head -c 20M /dev/zero > "$target"\n{DISK_FULL}')

    with pytest.raises(SaveError, match=r"^the disk is full; vmcore\.incomplete was removed, for it took what is to stay free$"):
        save(folder)
    assert names(folder) == set()


def test_what_a_capture_that_was_killed_has_left_is_overwritten(makedumpfile: Makedumpfiles, folder: Path) -> None:
    (folder / "vmcore.incomplete").write_bytes(bytes(12 << 20))
    # makedumpfile refuses to overwrite a file.
    makedumpfile.does('[ ! -e "$target" ] || exit 1; echo memory > "$target"')
    save(folder)

    assert makedumpfile.limit > 13 << 20
    assert names(folder) == {"vmcore"}


# '%-50s: [%3u.%u %%] %c  %16s', with a carriage return in front, on standard error.
PROGRESS = "printf '\\rCopying data                                      : [ %s %%] |  %16s' {} >&2"


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        ("45.1 'eta: 1m2s'", "saving the memory: 45 %, 1m2s to go"),
        ("0.0 ''", "saving the memory: 0 %"),
        ("99.9 'eta: >10H'", "saving the memory: 99 %, >10H to go"),
    ],
)
def test_progress_is_told_in_plain_words(
    makedumpfile: Makedumpfiles, folder: Path, monkeypatch: pytest.MonkeyPatch, progress: str, line: str
) -> None:
    monkeypatch.setattr(vmcore, "PROGRESS_INTERVAL", 0)
    makedumpfile.does(f'{PROGRESS.format(progress)}\necho memory > "$target"')
    told: list[str] = []
    save_vmcore(Path("/proc/vmcore"), folder, VmcoreSettings(), keep_free=0, timeout=20, say=told.append)

    assert told == [line]


def test_a_dump_that_takes_a_second_needs_no_progress(makedumpfile: Makedumpfiles, folder: Path, said: Callable[[], str]) -> None:
    makedumpfile.does(f"{PROGRESS.format('45.1 x')}\n" * 3 + 'echo memory > "$target"')
    save(folder)

    assert said() == ""


def test_progress_is_not_taken_for_the_reason_of_a_failure(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does(f"{PROGRESS.format('12.3 x')}\n" * 3 + "printf '\\nno memory\\n' >&2; exit 1")

    with pytest.raises(SaveError, match=r"^makedumpfile failed with 1: no memory$"):
        save(folder)


def test_what_the_memory_was_is_kept_in_the_log_of_the_capture_and_not_shown(
    makedumpfile: Makedumpfiles, folder: Path, said: Callable[[], str]
) -> None:
    # As makedumpfile 1.7.2 says it.
    makedumpfile.does(
        "echo 'STEP [Copying data               ] : 0.003624 seconds'; echo\n"
        "echo 'Original pages  : 0x0000000000000c00'; echo '    Free pages              : 0x0000000000000600'\n"
        """echo '  (The number of pages is reduced to 50%.)'; echo memory > "$target" """
    )
    save(folder)

    assert said() == ""
    assert [line.partition("] ")[2] for line in console.told().splitlines()] == [
        "makedumpfile: Original pages  : 0x0000000000000c00",
        "makedumpfile: Free pages              : 0x0000000000000600",
    ]


def test_what_comes_with_the_report_is_not_taken_for_the_reason_of_a_failure(makedumpfile: Makedumpfiles, folder: Path) -> None:
    makedumpfile.does("echo 'STEP [Copying data               ] : 0.003624 seconds'; echo 'no memory' >&2; exit 1")

    with pytest.raises(SaveError, match=r"^makedumpfile failed with 1: no memory$"):
        save(folder)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """An ELF core of 12 MiB of random memory with the registers of one CPU, enough for makedumpfile at levels 0 and 1."""
    size, start = 12 << 20, 0x1000
    note = struct.pack("<III", 5, 336, 1) + b"CORE\0\0\0\0" + bytes(336)
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 4, 0, 176, 0, 0, len(note), len(note), 0)
    segments += struct.pack("<IIQQQQQQ", 1, 7, start, 0xFFFF888000100000, 0x100000, size, size, 0)
    (tmp_path / "memory").write_bytes((header + segments + note).ljust(start, b"\0") + random.Random(1).randbytes(size))
    return tmp_path / "memory"


@pytest.mark.skipif(shutil.which("makedumpfile") is None, reason="makedumpfile is not installed")
@pytest.mark.parametrize(
    ("version", "released", "zstd"),
    [("1.7.2", "20 Oct 2022", "disabled"), ("1.7.6", "23 Oct 2024", "enabled"), ("1.7.8", "30 Oct 2025", "enabled")],
)
def test_the_makedumpfile_of_debian_12_and_later_tells_what_it_is(version: str, released: str, zstd: str) -> None:
    said = f"makedumpfile: version {version} (released on {released})\nlzo\tenabled\nsnappy\tdisabled\nzstd\t{zstd}\n\n"
    disabled = {"snappy"} | ({"zstd"} if zstd == "disabled" else set())

    assert parse_version(said) == Makedumpfile(version=(1, 7, int(version[-1])), disabled=frozenset(disabled))


class TestWithTheRealMakedumpfile:
    @pytest.mark.parametrize(("settings", "begins"), [(VmcoreSettings(levels=(1,)), b"KDUMP "), (ELF, b"\x7fELF")])
    def test_it_takes_our_options_and_writes_the_format(
        self, memory: Path, folder: Path, settings: VmcoreSettings, begins: bytes
    ) -> None:
        saved = save_vmcore(memory, folder, settings, keep_free=0, timeout=60)

        assert saved.detail == ""
        assert saved.bytes > 12 << 20
        # 12 MiB, in pages of 4 KiB.
        assert "makedumpfile: Original pages  : 0x0000000000000c00\n" in console.told()
        assert (folder / "vmcore").read_bytes().startswith(begins)

    @pytest.mark.parametrize("settings", [VmcoreSettings(levels=(0, 1)), ELF])
    def test_it_stops_at_the_space_that_is_to_stay_free(self, memory: Path, folder: Path, settings: VmcoreSettings) -> None:
        with pytest.raises(SaveError, match=r"does not fit into 7 MiB; kept as vmcore\.incomplete: it may be analysable$"):
            save_vmcore(memory, folder, settings, keep_free=8 << 20, timeout=60)

        space = os.statvfs(folder)
        assert space.f_bavail * space.f_frsize >= 8 << 20
        assert (folder / "vmcore.incomplete").stat().st_size > 7 << 20

    def test_half_a_dump_does_not_keep_the_disk_full(self, memory: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vmcore, "_room", lambda folder, keep_free: 1 << 30)
        (folder.parent / "of-others").write_bytes(bytes(8 << 20))

        with pytest.raises(SaveError, match=r"^the disk is full; vmcore\.incomplete was removed"):
            save_vmcore(memory, folder, VmcoreSettings(levels=(1,)), keep_free=KEEP_FREE, timeout=60)
        assert names(folder) == set()
