# SPDX-License-Identifier: LGPL-2.1-or-later
"""The story of a capture, written down as it goes on: in memory for the next door, and beside the log for whoever asks later."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from .clock import uptime
from .console import say, size_text, told
from .doors import LOG_FILE, Door, take_over, write_state
from .durable import write_file
from .memory import MemoryMeter
from .program import Saved, SaveError
from .status import FILE as STATUS_FILE
from .status import Status, Step

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What stays on record of a step whose end nobody lived to see.
CUT_OFF = "was cut off"


class Story:
    """What has been tried so far, also through the door before this one."""

    def __init__(self, root: Path, door: Door, milestones: dict[str, float]) -> None:
        self._root = root
        self._door = door
        self._meter = MemoryMeter(root / "proc")
        # Only the second door has one before it; there is none before the first, whatever is lying there.
        before = take_over(root) if door is Door.SYSTEMD else None
        self.status = before or Status(started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), kernel=os.uname().release)
        self._memory_before = self.status.memory_kib
        self.status.doors.append(str(door))
        self.status.milestones |= milestones
        self.milestone("systemd" if before else "python")

    @property
    def folder(self) -> Path | None:
        """The crash folder of this crash, if there is one yet."""
        return self._root / self.status.folder.lstrip("/") if self.status.folder else None

    def goes_on_in(self, store: str, folder: Path) -> None:
        """Tells where the crash is being saved."""
        self.status.store, self.status.folder = store, f"/{folder.relative_to(self._root)}"

    def milestone(self, name: str) -> None:
        self.status.milestones[name] = uptime()

    def step(self, name: str, action: Callable[[], Saved], *, on_disk: bool = False) -> bool:
        """Does one step and puts on record how it went. `on_disk`: it takes so long that its beginning goes there too."""
        began = time.monotonic()
        self._put(Step(name=name, ok=False, seconds=0.0, detail=CUT_OFF), new=True)
        if on_disk:
            self.save()
        try:
            saved, ok = action(), True
        except Exception as problem:  # noqa: BLE001 - one step that goes wrong, even by a defect of ours, must not stop the next
            saved, ok = Saved(0, reason(problem)), False
        seconds = round(time.monotonic() - began, 3)
        self._put(Step(name=name, ok=ok, seconds=seconds, bytes=saved.bytes, detail=saved.detail))
        if not ok:
            say(f"{name}: {saved.detail} ({seconds:.1f} s)")
        return ok

    def failed(self, name: str, detail: str, began: float) -> None:
        """Puts on record what did not even get to its beginning."""
        self._put(Step(name=name, ok=False, seconds=round(time.monotonic() - began, 3), detail=detail), new=True)
        say(detail)

    def out_of_space(self) -> bool:
        """Whether the last step has failed because the store is full."""
        last = self.status.steps[-1] if self.status.steps else None
        return last is not None and not last.ok and any(os.strerror(code) in last.detail for code in OUT_OF_SPACE)

    def cut_off(self, why: str) -> None:
        """Puts on record what has stopped the step that is still running, if one is."""
        steps = self.status.steps
        if steps and steps[-1].detail == CUT_OFF:
            steps[-1] = steps[-1]._replace(detail=f"{CUT_OFF}: {why}")

    def in_words(self) -> str:
        """How much the last step has saved, and in which time."""
        last = self.status.steps[-1]
        return f"{size_text(last.bytes)} ({last.seconds:.1f} s{f', {last.detail}' if last.detail else ''})"

    def save(self) -> None:
        """Writes the story into the crash folder, if there is one, and for the next door."""
        self._measure()
        write_state(self._root, self.status)
        if self.folder is None:
            return
        try:
            write_file(self.folder / STATUS_FILE, self.status.to_json().encode(), 0o600)
            write_file(self.folder / LOG_FILE, told().encode(errors="replace"), 0o600)
        except OSError as problem:
            say(f"cannot write into {self.folder}: {problem.strerror}")

    def stop(self) -> None:
        self._meter.stop()

    def _put(self, step: Step, *, new: bool = False) -> None:
        step = step._replace(door=str(self._door))
        self.status.steps[len(self.status.steps) if new else -1 :] = [step]
        write_state(self._root, self.status)

    def _measure(self) -> None:
        """`seconds` and `uptime` are of one moment."""
        status = self.status
        status.uptime = uptime()
        status.seconds = round(status.uptime - status.milestones.get("python", status.uptime), 2)
        status.memory_kib = max(self._memory_before, self._meter.read(), key=lambda memory: memory.peak_used)


def reason(problem: BaseException) -> str:
    """What to put on record about something that went wrong."""
    if isinstance(problem, SaveError):
        return str(problem)
    if isinstance(problem, OSError):
        return problem.strerror or str(problem)
    say(trace(problem))
    return f"a defect in kdumpd: {problem!r}"


def trace(problem: BaseException) -> str:
    """Where a defect is, for whoever has to mend it."""
    import traceback  # noqa: PLC0415 - takes time to load, and is needed only then

    return "".join(traceback.format_exception(problem))
