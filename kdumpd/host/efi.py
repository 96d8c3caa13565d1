# SPDX-License-Identifier: LGPL-2.1-or-later
"""The variables of the firmware."""

import functools
from pathlib import Path

EFIVARS = Path("sys/firmware/efi/efivars")
# Each file of efivarfs begins with the attributes of the variable (Documentation/filesystems/efivarfs.rst).
ATTRIBUTES = 4


def read_variable(root: Path, name: str) -> bytes | None:
    """The value of NAME-GUID, or None where there is none.

    As long as the firmware is asked, a kernel that dies can't leave its last words there: efi_pstore only tries for the lock
    (efivar_trylock() in efi_pstore_write(), 6.0). So a process asks once, and again only when the variable was written to.
    """
    path = root / EFIVARS / name
    try:
        status = path.stat()
        return _ask(path, (status.st_ino, status.st_mtime_ns, status.st_size))
    except OSError:
        return None


@functools.cache
def _ask(path: Path, version: tuple[int, int, int]) -> bytes:
    del version
    return path.read_bytes()[ATTRIBUTES:]
