# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs captures on a fake machine, and reads what they leave."""

from pathlib import Path
from typing import Any

from kdumpd.capture.doors import STATE, Door
from kdumpd.capture.main import Capture
from kdumpd.capture.settings import FinalAction, Settings
from kdumpd.capture.status import Status
from tests.unit.fakes import FakeMachine

# What makedumpfile does when all is well: the log, its version, or the memory into the last of its arguments.
MAKEDUMPFILE = """
case "$1" in
    --dump-dmesg) echo "[    1.000000] the log" > "$3";;
    -v) ;;
    *) for last; do :; done; echo memory > "$last";;
esac"""


def capture(
    machine: FakeMachine, door: Door = Door.SYSTEMD, *, settings: Settings | None = None, **milestones: float
) -> list[FinalAction | int]:
    """Runs a capture and tells how it would have ended the machine, or with which code it would have left."""
    if settings:
        machine.write("var/lib/kdumpd/capture.json", settings.to_json())
    ended: list[FinalAction | int] = []
    Capture(machine.root, door, milestones, end=ended.append, leave=ended.append).run()
    return ended


def only_folder(machine: FakeMachine, store: str = "var/crash") -> Path:
    (folder,) = (machine.root / store).iterdir()
    return folder


def newest_status(machine: FakeMachine, store: str = "var/crash") -> Status:
    folder = max((machine.root / store).glob("*Z"))
    return Status.from_json((folder / "status.json").read_text())


def state(machine: FakeMachine) -> Status:
    """What a door has left for the next one."""
    return Status.from_json(machine.read(f"{STATE}/status.json"))


def steps(status: Status) -> list[tuple[str, bool, str]]:
    return [(step.name, step.ok, step.detail) for step in status.steps]


def changed(status: Status, **changes: Any) -> Status:
    """The same story, but for this."""
    return Status(**{**vars(status), **changes})
