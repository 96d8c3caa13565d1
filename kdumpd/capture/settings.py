# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture.json: what apply tells the dump kernel to do."""

import json
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from .own_files import read_own_file
from .plain import parse_object, plain, restore, shown

VERSION = 2
# In seconds. Nobody waits longer for a machine, and a timer takes no more than 292 years (threading.TIMEOUT_MAX).
LONGEST_DEADLINE = 7 * 86400
# On the command line of every dump kernel that kdumpd loads, and of no other kernel.
MARKER = "kdumpd.capture"


class FinalAction(StrEnum):
    """How the machine ends when the capture is over."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    HALT = "halt"


class VmcoreSettings(NamedTuple):
    """How makedumpfile is to save the memory: what it leaves out (`-d`; the next level when the one before did not fit), how
    it compresses, and for which reader: `kdump` (crash, drgn) or `elf` (gdb too), which is never compressed.
    """

    levels: tuple[int, ...] = (31,)
    compress: str = "lzo"
    format: str = "kdump"


class Mount(NamedTuple):
    """A file system other than the root's: where it belongs, and what mount(8) needs to know.

    `by_systemd`: the way to it is too long for a capture to go by itself (LVM, LUKS, MD); systemd has to mount it.
    """

    point: str
    source: str
    type: str
    options: str
    by_systemd: bool = False


class StoreSettings(NamedTuple):
    """A folder for crashes. `mount` None: it is on the root file system."""

    path: str
    mount: Mount | None = None


# Where a capture can always try: every machine has it.
LAST_STORE = StoreSettings(path="/var/crash")


class CrashLoop(NamedTuple):
    """More than so many `crashes` `within` so many seconds are a loop."""

    crashes: int = 5
    within: int = 1800


class Settings(NamedTuple):
    """The defaults are what a capture does when it can't read its file: save to /var/crash, and never sit there.

    `keep_size` and `keep_free` are in bytes, `deadline` in seconds.
    """

    dmesg: bool = True
    pstore: bool = True
    pstore_modules: tuple[str, ...] = ()
    vmcore: VmcoreSettings | None = None
    stores: tuple[StoreSettings, ...] = (LAST_STORE,)
    keep_count: int = 10
    keep_size: int = 5 << 30
    keep_free: int = 1 << 30
    crash_loop: CrashLoop | None = CrashLoop()
    deadline: int = 300
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT

    @property
    def all_stores(self) -> tuple[StoreSettings, ...]:
        """The stores of the policy, and after them /var/crash, which is better than no store at all."""
        named = any(store.path == LAST_STORE.path for store in self.stores)
        return self.stores if named else (*self.stores, LAST_STORE)

    @property
    def store_paths(self) -> tuple[str, ...]:
        """Where a crash may be."""
        return tuple(store.path for store in self.all_stores)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **plain(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings in the text of capture.json. Each of them is one that a capture can work with.

        Raises:
            ValueError: it is no such text, or one of another version. There are no half settings.
        """
        found = parse_object(text)
        if found.get("version") != VERSION:
            raise ValueError(f"it is of version {shown(found.get('version'))}, not {VERSION}")
        settings: Settings = restore(cls, found, "settings")
        if not settings.dmesg and settings.vmcore is None:
            raise ValueError("neither the log nor the memory would be saved")
        for store in settings.stores:
            _check_path(store.path)
            if store.mount:
                _check_path(store.mount.point)
        return settings._replace(deadline=checked_deadline(settings.deadline))


def read_settings(path: Path) -> Settings:
    """Return what a capture.json says.

    Raises:
        OSError: it can't be read.
        ValueError: it is damaged, of another version, or not root's alone.
    """
    return Settings.from_json(read_own_file(path))


def checked_deadline(seconds: int) -> int:
    """Return a deadline that a timer can keep.

    Raises:
        ValueError: no capture could be done by then.
    """
    if seconds < 1:
        raise ValueError(f"a deadline of {seconds} s is none")
    return min(seconds, LONGEST_DEADLINE)


def _check_path(path: str) -> None:
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(f"{path!r:.60} is not an absolute path")


def is_dump_kernel(root: Path) -> bool:
    """Whether kdumpd has put its marker on this kernel's command line."""
    return MARKER in (root / "proc/cmdline").read_text(errors="replace").split()
