# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves the log of the kernel that died. makedumpfile reads it out of /proc/vmcore."""

import os
import signal
import subprocess
from pathlib import Path

from .durable import rename, sync

FILE = "dmesg.txt"
MODE = 0o600
# Whoever started us may have no PATH at all.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class SaveError(Exception):
    """Something could not be saved, and why."""


def save_dmesg(vmcore: Path, folder: Path, *, timeout: float) -> int:
    """Writes dmesg.txt into `folder`; when this returns, it is on the disk. Returns its size in bytes.

    Raises:
        SaveError: makedumpfile is missing, failed, hung or wrote nothing.
        OSError: the store failed.
    """
    unfinished = folder / f"{FILE}.incomplete"
    run(["makedumpfile", "--dump-dmesg", str(vmcore), str(unfinished)], timeout=timeout)
    size = unfinished.stat().st_size
    if size == 0:
        raise SaveError("makedumpfile ended well but wrote an empty log")
    unfinished.chmod(MODE)
    sync(unfinished)
    rename(unfinished, folder / FILE)
    return size


def run(argv: list[str], *, timeout: float) -> None:
    """Runs one program to its end.

    Raises:
        SaveError: it is missing, failed, or was still running after `timeout` seconds.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True, env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as problem:
        raise SaveError(f"cannot run {argv[0]}: {problem.strerror}") from problem
    try:
        _, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as problem:
        os.killpg(process.pid, signal.SIGKILL)
        # Not waited for: a process that hangs in the kernel would take us along.
        raise SaveError(f"{argv[0]} was still running after {timeout:.0f} s") from problem
    if process.returncode != 0:
        raise SaveError(f"{argv[0]} failed with {process.returncode}: {' '.join(said.split())[-500:]}")
