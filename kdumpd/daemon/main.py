# SPDX-License-Identifier: LGPL-2.1-or-later
"""The loop: signals and calls come in, one job at a time goes to the worker, systemd is told."""

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from gi.repository import Gio, GLib

from kdumpd.apply.look import ROOT
from kdumpd.crashes.archive import Crash
from kdumpd.daemon.changes import Outcome, change
from kdumpd.daemon.hotplug import HotplugWatch
from kdumpd.daemon.job import keep_armed
from kdumpd.daemon.jobs import Jobs
from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.loop import CONTINUE, Mailbox, on_signal
from kdumpd.daemon.notify import notify, watchdog_seconds
from kdumpd.daemon.service import Service, Tell
from kdumpd.daemon.told import describe_whole
from kdumpd.host import layout


class Daemon:
    """Runs until SIGTERM or SIGINT; SIGHUP reloads. Stopping it leaves the machine armed."""

    def __init__(self, policy_file: Path, root: Path = ROOT) -> None:
        self._policy_file = policy_file
        self._root = root
        self._loop = GLib.MainLoop()
        self._mailbox = Mailbox()
        self._jobs = Jobs(self._mailbox, self._idle)
        self._service = Service(
            root,
            policy_file,
            self._jobs,
            self._mailbox,
            on_settled=partial(self._settled, "bus"),
            on_change=self._state_changed,
        )
        # What has to happen before we are ready. The machine is armed without a bus, too: a first attempt is enough.
        self._awaited = {"bus", "job"}
        self._stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            on_signal(number, GLib.PRIORITY_HIGH, self._stop)
        on_signal(signal.SIGHUP, GLib.PRIORITY_DEFAULT, self._reload)
        if limit := watchdog_seconds():
            # From the loop: what a job waits for has a time limit of its own, so a worker does not hang for ever.
            GLib.timeout_add(int(limit * 500), self._still_alive)
        # Before the first look, so that no change is missed in between.
        HotplugWatch(self.rearm).start()
        self._keep_armed("starting: bringing this machine to the policy")
        self._service.start()
        others = self._watch_others()
        self._loop.run()
        others.cancel()
        self._service.stop()

    def _watch_others(self) -> Any:
        """When a command has changed the state of this machine, those who listen on D-Bus hear of it, too."""
        told = self._root / layout.TOLD
        # GLib polls for a file whose folder is not there.
        told.parent.mkdir(parents=True, exist_ok=True)
        watch = Gio.File.new_for_path(str(told)).monitor_file(Gio.FileMonitorFlags.NONE, None)
        watch.connect("changed", self._others_told)
        return watch

    def _others_told(self, _watch: Any, _file: Any, _other: Any, what: Any) -> None:
        # Our own job has written there too, and says itself what has become of it.
        if what == Gio.FileMonitorEvent.CHANGES_DONE_HINT and "job" not in self._awaited:
            self._service.machine_changed(Tell.CHANGES)

    def rearm(self) -> None:
        """Memory or CPUs have changed, and what is loaded may have to be loaded again."""
        if not self._stopping:
            self._jobs.add("hotplug", partial(change, "hotplug", self._root, self._policy_file), self._rearmed)

    def _keep_armed(self, status: str) -> None:
        notify(f"STATUS={status}")
        self._jobs.add("keep armed", partial(keep_armed, self._root, self._policy_file, self._crash_found), self._kept_armed)

    def _crash_found(self, crash: Crash) -> None:
        """Called by the job, in the worker's thread."""
        self._mailbox.post(self._service.crash_found, describe_whole(crash))

    def _kept_armed(self, _: int, result: str | Exception) -> None:
        status = f"internal error, see the journal: {result}" if isinstance(result, Exception) else result
        notify(f"STATUS={status}")
        log(Priority.INFO, status)
        self._settled("job")
        self._service.machine_changed(Tell.NOTHING)

    def _rearmed(self, _number: int, _result: Outcome | Exception) -> None:
        self._service.machine_changed(Tell.ALWAYS)

    def _state_changed(self, state: str) -> None:
        # Not while the status says what the daemon is doing.
        if "job" not in self._awaited and not self._stopping:
            notify(f"STATUS={state}")

    def _settled(self, what: str) -> None:
        self._awaited.discard(what)
        if not self._awaited:
            notify("READY=1")

    def _reload(self) -> bool:
        if not self._stopping:
            # MONOTONIC_USEC is what systemd 253 and later want with it.
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._awaited.add("job")
            self._keep_armed("reloading the policy")
        return CONTINUE

    def _still_alive(self) -> bool:
        notify("WATCHDOG=1")
        return CONTINUE

    def _stop(self) -> bool:
        notify("STOPPING=1", "STATUS=stopping; the dump kernel stays loaded")
        self._stopping = True
        self._jobs.close()
        if self._jobs.is_idle:
            self._loop.quit()
        return CONTINUE

    def _idle(self) -> None:
        # A kexec or an update-grub that runs is never cut off in the middle.
        if self._stopping:
            self._loop.quit()
