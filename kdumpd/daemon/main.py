# SPDX-License-Identifier: LGPL-2.1-or-later
"""The loop: signals come in, one job at a time goes to the worker, systemd is told."""

import signal
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from gi.repository import GLib

from kdumpd.daemon.job import keep_armed
from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.notify import notify

ROOT = Path("/")
# What a GLib callback returns to stay, or not: GLib.SOURCE_CONTINUE and SOURCE_REMOVE, which have no types.
CONTINUE, REMOVE = True, False


class Daemon:
    """Runs until SIGTERM or SIGINT; SIGHUP reloads. Stopping it leaves the machine armed."""

    def __init__(self, policy_file: Path) -> None:
        self._policy_file = policy_file
        self._loop = GLib.MainLoop()
        self._worker = ThreadPoolExecutor(max_workers=1)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, self._stop)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGHUP, self._reload)
        self._start_job("starting: bringing this machine to the policy")
        self._loop.run()
        # A kexec or an update-grub that runs is never cut off in the middle.
        self._worker.shutdown(wait=True)

    def _start_job(self, state: str) -> None:
        notify(f"STATUS={state}")
        self._worker.submit(keep_armed, ROOT, self._policy_file).add_done_callback(lambda job: GLib.idle_add(self._job_done, job))

    def _job_done(self, job: "Future[str]") -> bool:
        try:
            state = job.result()
        except Exception as problem:  # noqa: BLE001 - a defect of ours must not end the daemon
            log(Priority.ERROR, "".join(traceback.format_exception(problem)))
            state = f"internal error, see the journal: {problem}"
        notify("READY=1", f"STATUS={state}")
        log(Priority.INFO, state)
        return REMOVE

    def _reload(self) -> bool:
        notify("RELOADING=1")
        self._start_job("reloading the policy")
        return CONTINUE

    def _stop(self) -> bool:
        notify("STOPPING=1", "STATUS=stopping; the dump kernel stays loaded")
        self._loop.quit()
        return CONTINUE
