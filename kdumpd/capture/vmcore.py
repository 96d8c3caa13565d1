# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves the memory of the kernel that died, without the pages that nobody needs."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from . import console
from .durable import remove_file, rename, sync
from .makedumpfile import Makedumpfile, parse_version
from .program import Saved, SaveError, follow
from .settings import VmcoreSettings

FILE = "vmcore"
INCOMPLETE = f"{FILE}.incomplete"
MODE = 0o600
# makedumpfile(8). An uncompressed dump takes no option.
OPTIONS: dict[str, list[str]] = {"lzo": ["-l"], "zlib": ["-c"], "snappy": ["-p"], "zstd": ["-z"], "none": []}
VERSION_TIMEOUT = 10.0
# Threads before corrupt the dump (makedumpfile issue 15, commit 65bf4c9).
THREADS_SINCE = (1, 7, 8)
# Stays free even where the policy asks for nothing: status.json and the end of the log of this capture come after the vmcore.
LEAST_FREE = 1 << 20
# Of the space, for what the file system itself writes about the file: btrfs keeps checksums of 0.4 %, twice.
BOOKKEEPING = 100
PROGRESS_INTERVAL = 10.0
PROGRESS = re.compile(r"Copying data\s*: \[\s*(\d+)\.\d+ %\]\W*(?:eta: (\S+))?")
LINES_KEPT = 40
# Progress, common messages and errors as by default, and the report at the end of what the memory was.
MESSAGES = ["--message-level", str(1 | 2 | 4 | 16)]
# A line of the report; the numbers are pages (print_report in makedumpfile.c).
REPORTED = re.compile(r"\s*(\w[\w -]*?\s*: 0x[0-9a-f]{16})")
# Comes with the report.
TIMING = "STEP ["
# What makedumpfile says where -L or the disk ended the dump (create_dumpfile, write_and_check_space); its exit status is 1
# as for any failure. It says the first only after it has marked the header of the dump, so the header is there.
MAY_BE_READ = "This is an incomplete dumpfile"
LIMIT_REACHED = "Size limit("
RETRIED = re.compile(r"Retry to create a dumpfile by dump_level\((\d+)\)")


def save_vmcore(
    vmcore: Path,
    folder: Path,
    settings: VmcoreSettings,
    *,
    keep_free: int,
    timeout: float,
    say: Callable[[str], None] = console.say,
) -> Saved:
    """Writes the file vmcore into `folder`; when this returns, it is on the disk. `say` gets a line of progress now and then.

    Raises:
        SaveError: there is no space to begin with, or makedumpfile is missing, failed or hung. Nothing is left of it, but for
            a dump that did not fit and may be of use: it stays as vmcore.incomplete.
        OSError: the store failed.
    """
    deadline = time.monotonic() + timeout
    unfinished = folder / INCOMPLETE
    # A capture before this one may have been killed; makedumpfile overwrites nothing.
    unfinished.unlink(missing_ok=True)
    room = _room(folder, keep_free)
    options, detail = choose_options(settings, _tool())
    output = _Output(say)
    try:
        argv = ["makedumpfile", "-L", str(room), *MESSAGES, *options, str(vmcore), str(unfinished)]
        status = follow(argv, timeout=max(0.0, deadline - time.monotonic()), on_output=output.take)
        if status != 0:
            raise _failure(status, output.said, unfinished, room=room, keep_free=keep_free)
        unfinished.chmod(MODE)
        sync(unfinished)
        rename(unfinished, folder / FILE)
    except _KeptError:
        raise
    except BaseException:
        remove_file(unfinished)
        raise
    for line in output.report:
        console.note(f"makedumpfile: {line}")
    levels = RETRIED.findall(output.said)
    smaller = f"it fitted only with level {levels[-1]}" if levels else ""
    return Saved((folder / FILE).stat().st_size, "; ".join(filter(None, (detail, smaller))))


def choose_options(settings: VmcoreSettings, tool: Makedumpfile, cpus: int | None = None) -> tuple[list[str], str]:
    """The options of makedumpfile, and what there is to say about them. `cpus`: how many are online, by default as it is."""
    level = ["-d", ",".join(map(str, settings.levels))]
    if settings.format == "elf":
        return [*level, "-E"], ""
    compress, detail = settings.compress, ""
    # A makedumpfile without zstd takes the option, writes an uncompressed dump and ends with 0 (Debian 12).
    if compress not in OPTIONS or compress in tool.disabled:
        # zlib can't be left out of a makedumpfile.
        compress = "zlib" if "lzo" in tool.disabled else "lzo"
        detail = f"compressed with {compress}: this makedumpfile has no {settings.compress}"
    return [*level, *OPTIONS[compress], *_threads(settings, tool, cpus or len(os.sched_getaffinity(0)))], detail


def _threads(settings: VmcoreSettings, tool: Makedumpfile, cpus: int) -> list[str]:
    # One thread beside these writes.
    workers = cpus - 1
    # With threads, makedumpfile 1.7.8 hangs at the second level: write_kdump_pages_parallel_cyclic() leaves the flags of the first,
    # for which there was no room, as they are, and both sides wait for each other.
    hangs = len(settings.levels) > 1
    return ["--num-threads", str(workers)] if workers and tool.version >= THREADS_SINCE and not hangs else []


def _tool() -> Makedumpfile:
    """One that does not tell its version gets no option that it may not know."""
    said: list[bytes] = []
    follow(["makedumpfile", "-v"], timeout=VERSION_TIMEOUT, on_output=said.append)
    unknown = Makedumpfile(version=(0, 0, 0), disabled=frozenset(OPTIONS) - {"zlib", "none"})
    return parse_version(b"".join(said).decode(errors="replace")) or unknown


def _room(folder: Path, keep_free: int) -> int:
    """How many bytes the dump may have."""
    free, reserve = _free(folder), max(keep_free, LEAST_FREE)
    if free <= reserve:
        raise SaveError(f"{free >> 20} MiB are free, and {reserve >> 20} MiB are to stay free")
    return (free - reserve) * (BOOKKEEPING - 1) // BOOKKEEPING


def _free(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


class _KeptError(SaveError):
    """What there is of the dump stays."""


def _failure(status: int, said: str, unfinished: Path, *, room: int, keep_free: int) -> SaveError:
    """Decides what becomes of the file, and what to tell."""
    if MAY_BE_READ not in said:
        return SaveError(f"makedumpfile failed with {status}: {' '.join(said.split())[-500:]}")
    fact = f"the memory does not fit into {room >> 20} MiB" if LIMIT_REACHED in said else "the disk is full"
    if _free(unfinished.parent) < max(keep_free, LEAST_FREE):
        # Something else took the space while we wrote. Half a dump is not worth a machine that boots with a full disk.
        return SaveError(f"{fact}; {INCOMPLETE} was removed, for it took what is to stay free")
    unfinished.chmod(MODE)
    sync(unfinished)
    sync(unfinished.parent)
    return _KeptError(f"{fact}; kept as {INCOMPLETE}: it may be analysable")


class _Output:
    """What makedumpfile says: progress, overwritten with carriage returns, and the rest, of which the end is kept."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lines = [""]
        self._told = time.monotonic()

    @property
    def said(self) -> str:
        return "\n".join(self._lines)

    @property
    def report(self) -> list[str]:
        return [found[1] for line in self._lines if (found := REPORTED.fullmatch(line))]

    def take(self, chunk: bytes) -> None:
        lines = re.split(r"[\r\n]+", self._lines.pop() + chunk.decode(errors="replace"))
        # Progress has its carriage return in front: the newest is never a whole line.
        self._tell(lines[-1])
        whole = [line for line in lines[:-1] if line and "%]" not in line and TIMING not in line]
        self._lines = [*self._lines, *whole, lines[-1]][-LINES_KEPT:]

    def _tell(self, line: str) -> None:
        found = PROGRESS.match(line)
        if found is None or time.monotonic() - self._told < PROGRESS_INTERVAL:
            return
        self._told = time.monotonic()
        percent, left = found.groups()
        self._say(f"saving the memory: {percent} %" + (f", {left} to go" if left else ""))
