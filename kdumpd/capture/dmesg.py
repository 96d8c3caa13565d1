# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves the log of the kernel that died. Three programs can read it out of /proc/vmcore; they are tried in turn."""

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .durable import rename, sync, temporary_name
from .printk_ring import open_log
from .program import Saved, SaveError, run

FILE = "dmesg.txt"
# What is left of a log that no program could save whole.
PARTIAL_FILE = f"{FILE}.incomplete"
MODE = 0o600
# The kernel stores the time of every record, whatever printk.time= says; from 1.7.5 makedumpfile may add the caller.
TIMESTAMP = re.compile(rb"^\[ *\d+\.\d{6}\]", re.MULTILINE)
EDGE = 4096
# A program that could not write says it in the words of strerror(3), and no other program will fare better there.
STORE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def save_dmesg(vmcore: Path, folder: Path, *, timeout: float) -> Saved:
    """Writes dmesg.txt into `folder`; when this returns, it is on the disk. Each program may take `timeout` seconds.

    Raises:
        SaveError: all programs failed. The longest text that one of them wrote is dmesg.txt.incomplete.
        OSError: the store failed; nothing unfinished is left.
    """
    unfinished, partial = temporary_name(folder / FILE), folder / PARTIAL_FILE
    failures: list[str] = []
    try:
        for name, write in WRITERS.items():
            # Also what an earlier door has left: makedumpfile refuses to write into a file that exists.
            _keep_longest(unfinished, partial)
            try:
                notes = [f"by {name}", *write(vmcore, unfinished, timeout)]
                size = _checked_size(unfinished, name)
            except SaveError as problem:
                failures.append(str(problem))
                _raise_if_the_store_failed(str(problem), folder)
                continue
            _finish(unfinished, folder / FILE)
            with suppress(OSError):
                partial.unlink()
            return Saved(size, "; ".join(notes + failures) if failures else "")
        _keep_longest(unfinished, partial)
    except OSError:
        for path in (unfinished, partial):
            with suppress(OSError):
                path.unlink()
        raise
    if partial.exists():
        failures.append(f"a part of {partial.stat().st_size} bytes is in {PARTIAL_FILE}")
    raise SaveError("; ".join(failures))


def _by_makedumpfile(vmcore: Path, output: Path, timeout: float) -> list[str]:
    run(["makedumpfile", "--dump-dmesg", str(vmcore), str(output)], timeout=timeout)
    return []


def _by_vmcore_dmesg(vmcore: Path, output: Path, timeout: float) -> list[str]:
    file = _create(output)
    try:
        run(["vmcore-dmesg", str(vmcore)], timeout=timeout, output=file)
    finally:
        os.close(file)
    return []


def _by_kdumpd(vmcore: Path, output: Path, timeout: float) -> list[str]:
    until = time.monotonic() + timeout
    with open(_create(output), "wb") as file, open_log(vmcore) as log:
        file.writelines(log.lines(until=until))
        return [f"{log.skipped} damaged or unfinished records are left out"] if log.skipped else []


# Each returns what there is to say about the log that it wrote.
WRITERS: dict[str, Callable[[Path, Path, float], list[str]]] = {
    "makedumpfile": _by_makedumpfile,
    "vmcore-dmesg": _by_vmcore_dmesg,
    "kdumpd": _by_kdumpd,
}


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)


def _finish(unfinished: Path, path: Path) -> None:
    unfinished.chmod(MODE)
    sync(unfinished)
    rename(unfinished, path)


def _keep_longest(unfinished: Path, partial: Path) -> None:
    """Keeps what a failed program wrote, if it is of use and longer than what is kept already."""
    if not unfinished.exists():
        return
    size = unfinished.stat().st_size
    if TIMESTAMP.search(_edges(unfinished, size)) and (not partial.exists() or size > partial.stat().st_size):
        _finish(unfinished, partial)
    else:
        unfinished.unlink()


def _checked_size(log: Path, program: str) -> int:
    """The size of a log that looks like one. Not all of it is read: this is the slowest machine that there is.

    Raises:
        SaveError: it does not.
    """
    if not log.exists():
        raise SaveError(f"{program} ended well but wrote nothing")
    size = log.stat().st_size
    edges = _edges(log, size)
    if not TIMESTAMP.search(edges):
        raise SaveError(
            f"{program} ended well but wrote {size} bytes that are no log"
            if size
            else f"{program} ended well but wrote an empty log"
        )
    if not edges.endswith(b"\n"):
        raise SaveError(f"{program} ended well but wrote {size} bytes that end in the middle of a line")
    return size


def _edges(log: Path, size: int) -> bytes:
    with log.open("rb") as file:
        begin = file.read(EDGE)
        file.seek(max(size - EDGE, len(begin)))
        return begin + file.read(EDGE)


def _raise_if_the_store_failed(said: str, folder: Path) -> None:
    for code in STORE_ERRORS:
        if os.strerror(code) in said:
            raise OSError(code, os.strerror(code), str(folder))
