# SPDX-License-Identifier: LGPL-2.1-or-later
"""The watchdogs that may reset this machine while a dump is saved."""

from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text

# softdog is a timer of the kernel that died (drivers/watchdog/softdog.c): it can't reset the dump kernel.
SOFTWARE = "Software Watchdog"


@dataclass(frozen=True, kw_only=True)
class Watchdog:
    """`active`: it is counting. `timeout` in seconds. None: the driver or CONFIG_WATCHDOG_SYSFS does not tell."""

    name: str
    identity: str | None
    active: bool | None
    timeout: int | None

    @property
    def survives_a_crash(self) -> bool:
        return self.identity != SOFTWARE


def read_watchdogs(root: Path) -> tuple[Watchdog, ...]:
    """All of this machine (Documentation/ABI/testing/sysfs-class-watchdog)."""
    return tuple(_watchdog(folder) for folder in sorted((root / "sys/class/watchdog").glob("watchdog*")))


def _watchdog(folder: Path) -> Watchdog:
    identity, state, timeout = (_word(folder / name) for name in ("identity", "state", "timeout"))
    return Watchdog(
        name=folder.name,
        identity=identity,
        active=None if state is None else state == "active",
        timeout=int(timeout) if timeout else None,
    )


def _word(path: Path) -> str | None:
    text = read_text(path)
    return None if text is None else text.strip()
