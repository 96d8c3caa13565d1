# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies what the kernel left in persistent storage (EFI variables, ramoops, ERST) beside the log."""

import shutil
from pathlib import Path

from .durable import sync
from .program import Saved

FOLDER = "pstore"


def copy_pstore(pstore: Path, folder: Path) -> Saved:
    """Copies every record into `folder`/pstore, durably.

    The records stay where they are: the next boot may find them too, and twice is better than never.

    Raises:
        OSError: the store failed.
    """
    records = sorted(path for path in pstore.iterdir() if path.is_file()) if pstore.is_dir() else []
    if not records:
        return Saved(0)
    target = folder / FOLDER
    target.mkdir(mode=0o700)
    for record in records:
        copy = target / record.name
        shutil.copyfile(record, copy)
        copy.chmod(0o600)
        sync(copy)
    sync(target)
    sync(folder)
    return Saved(sum(copy.stat().st_size for copy in target.iterdir()))
