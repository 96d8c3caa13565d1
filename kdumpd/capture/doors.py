# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two doors to the capture, and what the first one leaves for the second."""

import contextlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from .console import told, was_told
from .durable import write_file
from .status import FILE as STATUS_FILE
from .status import Status

# In the memory of the dump kernel. devtmpfs is one and the same in the initrd and under systemd, and nothing empties it.
STATE = "dev/kdumpd"
LOG_FILE = "capture.log"
# What tells the script of the initrd that nothing was saved, so that it goes on to the second door.
NOTHING_SAVED = 3
# What the second door gets at least, when the first has used up the time: to mount and to read the log takes seconds.
LEAST_TIME = 60.0


class Door(StrEnum):
    """Who has started the capture: the script in the initrd, with nothing else running, or systemd."""

    INITRD = "initrd"
    SYSTEMD = "systemd"


def parse_arguments(argv: Sequence[str]) -> tuple[Door, dict[str, float]]:
    """The door, and the milestones before it: names, and the seconds since the kernel started. What is unknown is left out."""
    door = Door.INITRD if argv[:1] == [Door.INITRD] else Door.SYSTEMD
    milestones = {}
    for word in argv[1:]:
        name, _, seconds = word.partition("=")
        with contextlib.suppress(ValueError):
            milestones[name] = float(seconds)
    return door, milestones


def time_allowed(door: Door, deadline: float, uptime: float) -> float:
    """How many seconds the capture may take from now on."""
    return deadline if door is Door.INITRD else max(deadline - uptime, LEAST_TIME)


def write_state(root: Path, status: Status) -> None:
    """Leaves the story so far for the next door. This is memory, so it costs nothing."""
    folder = root / STATE
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(folder / LOG_FILE, told().encode(errors="replace"), 0o600)
        write_file(folder / STATUS_FILE, status.to_json().encode(), 0o600)


def take_over(root: Path) -> Status | None:
    """The story of the door before this one, also when that was killed; None when there was none."""
    folder = root / STATE
    try:
        status = Status.from_json((folder / STATUS_FILE).read_text())
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        was_told((folder / LOG_FILE).read_text(errors="replace"))
    return status
