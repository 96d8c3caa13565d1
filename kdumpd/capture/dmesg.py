# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves the log of the kernel that died. makedumpfile reads it out of /proc/vmcore."""

from pathlib import Path

from .durable import rename, sync
from .program import Saved, SaveError, run

FILE = "dmesg.txt"
MODE = 0o600


def save_dmesg(vmcore: Path, folder: Path, *, timeout: float) -> Saved:
    """Writes dmesg.txt into `folder`; when this returns, it is on the disk.

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
    return Saved(size)
