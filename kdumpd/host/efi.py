# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads variables of the firmware, each once in a boot."""

import contextlib
from enum import Enum
from pathlib import Path

from kdumpd.capture.durable import write_file
from kdumpd.files import read_own
from kdumpd.host import layout

EFIVARS = Path("sys/firmware/efi/efivars")
EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Each file of efivarfs begins with the attributes of the variable (Documentation/filesystems/efivarfs.rst).
ATTRIBUTES = 4
# The longest is LoaderInfo, a name and a version.
MAX_SIZE = 4096
MODE = 0o644


class Variable(Enum):
    """The variables that kdumpd reads.

    All of them are about how this machine was started, so their first value counts until the next boot.
    """

    SECURE_BOOT = f"SecureBoot-{EFI_GLOBAL}"
    SETUP_MODE = f"SetupMode-{EFI_GLOBAL}"
    # Set by systemd-boot, for programs that want to know what started them (systemd-boot(7)).
    LOADER_INFO = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def keep_variables(root: Path) -> None:
    """Asks the firmware early in a boot, so that nobody has to ask it later.

    While the firmware is asked, a crashing kernel can't write to it: efi_pstore_write() drops a part of the log when somebody else
    has the lock (efivar_trylock(), Linux 6.0).
    """
    for variable in Variable:
        read_variable(root, variable)


def read_variable(root: Path, variable: Variable) -> bytes | None:
    """Return the value that was kept in this boot, else ask the firmware and, as root, keep its answer. None: no such variable."""
    kept = root / layout.RUN / variable.value
    content = _kept(kept)
    if content is None:
        content = _ask(root / EFIVARS / variable.value)
        if content is None:
            return None
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_file(kept, content, MODE)
    return content[ATTRIBUTES:]


def _kept(path: Path) -> bytes | None:
    try:
        content = read_own(path)
    except PermissionError:
        return None
    return content if content and ATTRIBUTES < len(content) <= MAX_SIZE else None


def _ask(path: Path) -> bytes | None:
    """In one read(): each of them asks the firmware twice, for the size and the value (efivarfs_file_read())."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(MAX_SIZE)
    except OSError:
        return None
