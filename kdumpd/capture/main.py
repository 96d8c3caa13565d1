# SPDX-License-Identifier: LGPL-2.1-or-later
"""The capture: the log first, durably; then the rest; then the end of the machine, or the second door, in any case."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import patience
from .boot_parameters import default_settings, named_mounts, read_parameters
from .clock import uptime
from .console import say
from .dead_kernel import learn
from .dmesg import save_dmesg
from .doors import NOTHING_SAVED, Door, parse_arguments, time_allowed
from .machine import end_machine
from .mounts import mount
from .program import Saved, SaveError
from .settings import MARKER, FinalAction, Settings, is_dump_kernel, read_settings
from .stores import Stores
from .story import Story, reason, trace
from .watchdog import Watchdog, start_watchdog

SETTINGS = "var/lib/kdumpd/capture.json"
# For each of the programs that can read the log, of which there are three.
DMESG_TIMEOUT = 20.0
DMESG_PROGRAMS = 3
# More than a tool may take: a store that hangs in the kernel, not a tool that can be killed.
HANG_GRACE = 5.0
STORY_TIMEOUT = 10.0
TAIL_TIMEOUT = 20.0
# After the deadline: for a machine that should be off by then, and is not.
WATCHDOG_GRACE = 30.0


def main(argv: Sequence[str]) -> int:
    """Captures and ends the machine, if this is a dump kernel that kdumpd has loaded; refuses anywhere else."""
    root = Path("/")
    if not is_dump_kernel(root):
        print(
            f'kdumpd: this is not a dump kernel: /proc/cmdline has no "{MARKER}", and a capture ends by switching the machine off\n'
            "hint: to see what was captured: kdumpd crashes list",
            file=sys.stderr,
        )
        return 1
    # Somebody who leans on the keyboard must not end a capture.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    door, milestones = parse_arguments(argv)
    Capture(root, door, milestones).run()
    return 1


class Capture:
    """One capture through one door. `end` ends the machine, `leave` this program; a test passes its own."""

    def __init__(
        self,
        root: Path,
        door: Door,
        milestones: Mapping[str, float],
        *,
        end: Callable[[FinalAction], None] = end_machine,
        # Not sys.exit(), which would wait for what hangs.
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._root = root
        self._door = door
        self._end = end
        self._leave = leave
        self._vmcore = root / "proc/vmcore"
        self._ended = threading.Lock()
        self._settings = Settings()
        self._until = time.monotonic()
        self._deadline: threading.Timer | None = None
        self._watchdog: Watchdog | None = None
        self._story = Story(root, door, dict(milestones))
        self._status = self._story.status

    def run(self) -> None:
        """Captures, then ends the machine or hands over, also when everything goes wrong or takes too long."""
        for part in (self._prepare, self._capture):
            try:
                part()
            except BaseException as problem:  # noqa: BLE001 - whatever it was, the rest is tried, and the machine ends
                self._tell(problem)
        self._finish()

    def _prepare(self) -> None:
        """Sets the deadline first: all that comes later may hang."""
        self._start_deadline()
        parameters = read_parameters(self._root)
        self._follow(default_settings(parameters))
        if self._door is Door.INITRD:
            # Under systemd it is systemd that feeds it.
            self._watchdog = start_watchdog(self._root / "dev/watchdog0", self._may_go_on)
        for wanted in named_mounts(parameters):
            began = time.monotonic()
            try:
                mount(self._root, wanted, self._door)
            except (SaveError, OSError) as problem:
                self._story.failed("mount", f"{wanted.point}: {reason(problem)}", began)
        self._read_settings()

    def _start_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        seconds = time_allowed(self._door, self._settings.deadline, uptime())
        self._until = time.monotonic() + seconds
        self._deadline = threading.Timer(seconds, self._out_of_time)
        self._deadline.daemon = True
        self._deadline.start()

    def _may_go_on(self) -> bool:
        return time.monotonic() < self._until + WATCHDOG_GRACE

    def _left(self) -> float:
        return max(self._until - time.monotonic(), 1.0)

    def _read_settings(self) -> None:
        try:
            settings = read_settings(self._root / SETTINGS)
        except Exception as problem:  # noqa: BLE001 - no damage, nor a defect of ours, may cost the log
            say(f"cannot read /{SETTINGS}, using the defaults: {problem}")
            return
        self._follow(settings)

    def _follow(self, settings: Settings) -> None:
        changed = settings.deadline != self._settings.deadline
        self._settings = settings
        if changed:
            self._start_deadline()

    def _capture(self) -> None:
        if not self._vmcore.exists():
            say("/proc/vmcore is missing: nothing of the crashed kernel can be saved")
            return
        say("this machine has crashed; this is its dump kernel, saving the log")
        stores = Stores(self._story, self._root, self._door, save=self._save_first, left=self._left)
        when = learn(self._story, self._vmcore)
        folder = stores.take(self._settings, when, saved=self._is_saved())
        if folder and (self._is_saved() or self._door is Door.SYSTEMD):
            self._save_rest(folder, when)

    def _save_first(self, folder: Path, share: float) -> bool:
        """What matters most: the log; where that is not wanted, the memory."""
        if not self._settings.dmesg:
            return self._save_memory(folder)
        timeout = min(DMESG_TIMEOUT, share / DMESG_PROGRAMS)

        def save() -> Saved:
            return patience.call(
                lambda: save_dmesg(self._vmcore, folder, timeout=timeout),
                timeout=timeout * DMESG_PROGRAMS + HANG_GRACE,
                what="the store",
            )

        if not self._story.step("dmesg", save):
            return False
        self._story.milestone("log_safe")
        say(f"the log is safe in {self._status.folder}: {self._story.in_words()}")
        return True

    def _save_rest(self, folder: Path, when: float) -> None:
        from . import rest  # noqa: PLC0415 - what comes after the log is loaded after the log

        self._story.save()
        if self._settings.pstore and not self._status.saved("pstore"):
            rest.save_pstore(self._story, self._root, folder, self._settings, self._left())
        rest.look_for_loop(self._story, self._root, folder, when, self._settings)
        if self._settings.dmesg and not self._status.crash_loop:
            self._save_memory(folder)
        if self._is_saved():
            rest.make_room(folder, self._settings)

    def _save_memory(self, folder: Path) -> bool:
        from . import rest  # noqa: PLC0415 - the same

        wanted = self._settings.vmcore
        if wanted is None or self._status.saved("vmcore"):
            return False
        keep_free = self._settings.keep_free
        return rest.save_memory(self._story, self._vmcore, folder, wanted, keep_free=keep_free, left=self._left())

    def _is_saved(self) -> bool:
        """Whether what matters most was saved."""
        return self._status.saved("dmesg" if self._settings.dmesg else "vmcore")

    def _out_of_time(self) -> None:
        why = f"the deadline of {self._settings.deadline} s has passed"
        self._story.cut_off(why)
        say(why)
        self._finish()

    def _finish(self) -> None:
        """Ends the machine, or hands over to the second door; all before that is for the story, and none of it may prevent this."""
        # The deadline and the end of the work may meet here.
        if not self._ended.acquire(blocking=False):
            return
        if self._deadline:
            self._deadline.cancel()
        saved, crashed = self._is_saved(), self._vmcore.exists()
        hands_over = crashed and not saved and self._door is Door.INITRD
        action = self._settings.then if saved else self._settings.on_failure
        if self._status.crash_loop:
            action = FinalAction.POWEROFF
        try:
            if crashed and not saved and not hands_over and self._settings.dmesg:
                self._last_resort()
            self._tell_the_end("" if hands_over else str(action))
        except BaseException as problem:  # noqa: BLE001 - see above
            self._tell(problem)
        # A machine that is halted is not to be woken up.
        if self._watchdog and (hands_over or action is FinalAction.HALT):
            self._watchdog.release()
        if hands_over:
            self._leave(NOTHING_SAVED)
        else:
            self._end(action)

    def _last_resort(self) -> None:
        def tell() -> None:
            from .last_resort import tell_the_end_of_the_log  # noqa: PLC0415 - few captures need it; and it may hang

            tell_the_end_of_the_log(self._root, self._vmcore)

        try:
            patience.call(tell, timeout=TAIL_TIMEOUT, what="reading the end of the log")
        except SaveError as problem:
            say(f"the end of the log can't be shown: {problem}")

    def _tell_the_end(self, action: str) -> None:
        if not action:
            say("nothing is saved yet: going on to start systemd, and trying again from there")
        self._status.final_action = action
        self._story.milestone("end")
        patience.call(self._story.save, timeout=STORY_TIMEOUT, what="writing the story")
        self._story.stop()

    def _tell(self, problem: BaseException) -> None:
        with contextlib.suppress(Exception):
            say(trace(problem))
