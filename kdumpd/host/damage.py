# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes room for kdumpd's own files where something else is in their place."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from kdumpd.files import WRITABLE_BY_OTHERS, is_own, set_aside
from kdumpd.host import layout
from kdumpd.transaction import PREVIOUS, TRANSACTION

FOLDERS = (layout.IMAGES, layout.INITRAMFS_CONF, layout.DRACUT_CONF, Path(TRANSACTION), Path(PREVIOUS))


def set_damage_aside(root: Path, tell: Callable[[str], None]) -> None:
    """A folder or a FIFO where a file belongs, a file of another user: kdumpd reads none of it, and could not write there. It
    gets another name, and what is written next begins anew. The caller holds the lock, or is what the boot begins with.
    """
    places = [(root / path, stat.S_IFREG) for path in layout.STATE_FILES] + [(root / path, stat.S_IFDIR) for path in FOLDERS]
    for place, kind in places:
        if os.path.lexists(place) and not is_own(place, kind):
            try:
                tell(_repair(place, kind))
            except OSError as problem:
                tell(f"{place} is not as kdumpd left it, and can't be moved aside: {problem.strerror}")


def _repair(place: Path, kind: int) -> str:
    found = place.lstat()
    if kind == stat.S_IFDIR == stat.S_IFMT(found.st_mode) and found.st_uid in (0, os.geteuid()):
        # Whatever is in there is looked at before it is used.
        place.chmod(stat.S_IMODE(found.st_mode) & ~WRITABLE_BY_OTHERS)
        return f"others than root could write to {place}, now they can't"
    return f"{place} is not as kdumpd left it: moved aside, to {set_aside(place)}"
