# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture.json: what apply tells the dump kernel to do."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from .plain import plain

VERSION = 2
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
    stores: tuple[StoreSettings, ...] = (StoreSettings(path="/var/crash"),)
    keep_count: int = 10
    keep_size: int = 5 << 30
    keep_free: int = 1 << 30
    crash_loop: CrashLoop | None = CrashLoop()
    deadline: int = 300
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT

    @property
    def store_paths(self) -> tuple[str, ...]:
        return tuple(store.path for store in self.stores)

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **plain(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings in the text of capture.json. Unknown keys are ignored: a newer apply may have written them.

        Raises:
            ValueError: it is not such a text.
        """
        try:
            own, found = cls(), dict(json.loads(text))
            vmcore, loop = found.get("vmcore"), found.get("crash_loop")
            return cls(
                dmesg=bool(found.get("dmesg", True)),
                pstore=bool(found.get("pstore", True)),
                pstore_modules=tuple(str(name) for name in found.get("pstore_modules", ())),
                vmcore=_vmcore(vmcore) if vmcore else None,
                stores=tuple(_store(store) for store in found["stores"]),
                keep_count=int(found.get("keep_count", own.keep_count)),
                keep_size=int(found.get("keep_size", own.keep_size)),
                keep_free=int(found.get("keep_free", own.keep_free)),
                crash_loop=CrashLoop(crashes=int(loop["crashes"]), within=int(loop["within"])) if loop else None,
                deadline=int(found["deadline"]),
                then=FinalAction(found["then"]),
                on_failure=FinalAction(found["on_failure"]),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a capture.json of version {VERSION}: {problem!r}") from problem


def _vmcore(found: dict[str, Any]) -> VmcoreSettings:
    return VmcoreSettings(
        levels=tuple(int(level) for level in found["levels"]), compress=str(found["compress"]), format=str(found["format"])
    )


def _store(found: dict[str, Any]) -> StoreSettings:
    mount = found.get("mount")
    return StoreSettings(path=str(found["path"]), mount=Mount(**mount) if mount else None)


def is_dump_kernel(root: Path) -> bool:
    """Whether kdumpd has put its marker on this kernel's command line."""
    return MARKER in (root / "proc/cmdline").read_text().split()
