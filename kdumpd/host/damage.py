# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes room for kdumpd's own files where something else is in their place."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from kdumpd.files import WRITABLE_BY_OTHERS, is_own, set_aside
from kdumpd.host import layout
from kdumpd.transaction import PREVIOUS, TRANSACTION

# What is in these is looked at, or made anew, before it is used; copies of the system's own files can't be judged.
MENDABLE = (layout.IMAGES, layout.INITRAMFS_CONF, layout.DRACUT_CONF)
FOLDERS = (*MENDABLE, Path(TRANSACTION), Path(PREVIOUS))


def set_damage_aside(root: Path, tell: Callable[[str], None]) -> None:
    """A folder or a FIFO where a file belongs, a file of another user: kdumpd reads none of it, and could not write there. It
    gets another name, and what is written next begins anew. The caller holds the lock, or is what the boot begins with.
    """
    expected = dict.fromkeys(layout.STATE_FILES, stat.S_IFREG) | dict.fromkeys(FOLDERS, stat.S_IFDIR)
    for path, kind in expected.items():
        place = root / path
        if os.path.lexists(place) and not is_own(place, kind):
            try:
                tell(_mend(place) if path in MENDABLE and _is_folder_of_root(place) else _move(place))
            except OSError as problem:
                tell(f"{place} is not as kdumpd left it, and can't be moved aside: {problem.strerror}")


def _is_folder_of_root(place: Path) -> bool:
    found = place.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid())


def _mend(folder: Path) -> str:
    folder.chmod(stat.S_IMODE(folder.lstat().st_mode) & ~WRITABLE_BY_OTHERS)
    return f"others than root could write to {folder}, now they can't"


def _move(place: Path) -> str:
    return f"{place} is not as kdumpd left it: moved aside, to {set_aside(place)}"
