# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves the memory of the kernel that died, without the pages that nobody needs."""

import os
from pathlib import Path

from .durable import rename, sync
from .program import Saved, SaveError, run
from .settings import VmcoreSettings

FILE = "vmcore"
MODE = 0o600
# makedumpfile(8). An uncompressed dump takes no option.
OPTIONS: dict[str, list[str]] = {"lzo": ["-l"], "zlib": ["-c"], "snappy": ["-p"], "zstd": ["-z"], "none": []}


def save_vmcore(vmcore: Path, folder: Path, settings: VmcoreSettings, *, keep_free: int, timeout: float) -> Saved:
    """Writes the file vmcore into `folder`; when this returns, it is on the disk.

    Raises:
        SaveError: there is no space to begin with, or makedumpfile is missing, failed or hung. Nothing is left of it.
        OSError: the store failed.
    """
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free <= keep_free:
        raise SaveError(f"{free >> 20} MiB are free, and {keep_free >> 20} MiB are to stay free")
    unfinished = folder / f"{FILE}.incomplete"
    options = ["-d", ",".join(map(str, settings.levels)), *OPTIONS.get(settings.compress, [])]
    try:
        run(["makedumpfile", *options, str(vmcore), str(unfinished)], timeout=timeout)
        unfinished.chmod(MODE)
        sync(unfinished)
        rename(unfinished, folder / FILE)
    finally:
        unfinished.unlink(missing_ok=True)
    return Saved((folder / FILE).stat().st_size)
