# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture.json: what apply tells the dump kernel to do."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

VERSION = 1
# On the command line of every dump kernel that kdumpd loads, and of no other kernel.
MARKER = "kdumpd.capture"


class FinalAction(StrEnum):
    """How the machine ends when the capture is over."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    HALT = "halt"


@dataclass(frozen=True, kw_only=True)
class VmcoreSettings:
    """How makedumpfile is to save the memory: what it leaves out (`-d`), and how it compresses."""

    level: int = 31
    compress: str = "lzo"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The defaults are what a capture does when it can't read its file: save to /var/crash, and never sit there."""

    dmesg: bool = True
    pstore: bool = True
    vmcore: VmcoreSettings | None = None
    stores: tuple[str, ...] = ("/var/crash",)
    keep_count: int = 10
    keep_size: int = field(default=5 << 30, metadata={"unit": "bytes"})
    keep_free: int = field(default=1 << 30, metadata={"unit": "bytes"})
    deadline: int = field(default=300, metadata={"unit": "seconds"})
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings in the text of capture.json. Unknown keys are ignored: a newer apply may have written them.

        Raises:
            ValueError: it is not such a text.
        """
        try:
            found: dict[str, Any] = dict(json.loads(text))
            vmcore = found.get("vmcore")
            return cls(
                dmesg=bool(found.get("dmesg", True)),
                pstore=bool(found.get("pstore", True)),
                vmcore=VmcoreSettings(level=int(vmcore["level"]), compress=str(vmcore["compress"])) if vmcore else None,
                stores=tuple(str(store) for store in found["stores"]),
                keep_count=int(found.get("keep_count", cls.keep_count)),
                keep_size=int(found.get("keep_size", cls.keep_size)),
                keep_free=int(found.get("keep_free", cls.keep_free)),
                deadline=int(found["deadline"]),
                then=FinalAction(found["then"]),
                on_failure=FinalAction(found["on_failure"]),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a capture.json of version {VERSION}: {problem!r}") from problem


def is_dump_kernel(root: Path) -> bool:
    """Whether kdumpd has put its marker on this kernel's command line."""
    return MARKER in (root / "proc/cmdline").read_text().split()
