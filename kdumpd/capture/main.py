# SPDX-License-Identifier: LGPL-2.1-or-later
"""The capture: the log first, durably; then the rest; then the end of the machine, in any case."""

import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from .console import say
from .dmesg import save_dmesg
from .durable import sync, write_file
from .keep import remove_old_crashes
from .machine import end_machine
from .memory import MemoryMeter
from .program import Saved, SaveError
from .pstore import copy_pstore
from .settings import MARKER, FinalAction, Settings, VmcoreSettings, is_dump_kernel
from .status import FILE as STATUS_FILE
from .status import Status, Step
from .vmcore import save_vmcore

SETTINGS = "var/lib/kdumpd/capture.json"
DMESG_TIMEOUT = 60.0
# More crashes in one second than this are not crashes.
MAX_SAME_SECOND = 100


def main() -> int:
    """Captures and ends the machine, if this is a dump kernel that kdumpd has loaded; refuses anywhere else."""
    root = Path("/")
    if not is_dump_kernel(root):
        print(
            f'kdumpd: this is not a dump kernel: /proc/cmdline has no "{MARKER}", and a capture ends by switching the machine off\n'
            "hint: to see what was captured: kdumpd crashes list",
            file=sys.stderr,
        )
        return 1
    Capture(root, end_machine).run()
    return 1


class Capture:
    """One capture. `end` ends the machine; a test passes its own."""

    def __init__(self, root: Path, end: Callable[[FinalAction], None]) -> None:
        self._root = root
        self._end = end
        self._ended = threading.Lock()
        self._settings = Settings()
        self._began = time.monotonic()
        self._meter = MemoryMeter(root / "proc")
        self._status = Status(started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), kernel=os.uname().release)

    def run(self) -> None:
        """Captures, then ends the machine, also when everything goes wrong or takes too long."""
        self._settings = self._read_settings()
        deadline = threading.Timer(self._settings.deadline, self._out_of_time)
        deadline.daemon = True
        deadline.start()
        try:
            self._capture()
        except Exception:  # noqa: BLE001 - whatever it was, the machine must still end
            say(traceback.format_exc())
        deadline.cancel()
        self._meter.stop()
        self._finish()

    def _read_settings(self) -> Settings:
        try:
            return Settings.from_json((self._root / SETTINGS).read_text())
        except (OSError, ValueError) as problem:
            say(f"cannot read /{SETTINGS}, using the defaults: {problem}")
            return Settings()

    def _capture(self) -> None:
        vmcore = self._root / "proc/vmcore"
        if not vmcore.exists():
            say("/proc/vmcore is missing: nothing of the crashed kernel can be saved")
            return
        say("this machine has crashed; this is its dump kernel, saving the log")
        for store in self._settings.store_paths:
            try:
                folder = new_crash_folder(self._root / store.lstrip("/"))
            except OSError as problem:
                say(f"{store}: {problem.strerror}")
                self._status.steps.append(Step(name="dmesg", ok=False, seconds=0.0, detail=f"{store}: {problem.strerror}"))
                continue
            self._status.store = store
            self._save_to(folder, vmcore)
            if self._is_saved():
                return
        say("no store took the log")

    def _save_to(self, folder: Path, vmcore: Path) -> None:
        """The log first; the rest even when the log could not be had."""
        wanted = self._settings
        if wanted.dmesg and self._step("dmesg", lambda: save_dmesg(vmcore, folder, timeout=DMESG_TIMEOUT)):
            say(f"the log is safe in {folder}")
        self._save_status(folder)
        if wanted.pstore:
            self._step("pstore", lambda: copy_pstore(self._root / "sys/fs/pstore", folder))
            self._save_status(folder)
        if wanted.vmcore:
            self._save_vmcore(vmcore, folder, wanted.vmcore)
            self._save_status(folder)
        if self._is_saved():
            remove_old_crashes(folder, count=wanted.keep_count, size=wanted.keep_size, free=wanted.keep_free)

    def _save_vmcore(self, vmcore: Path, folder: Path, settings: VmcoreSettings) -> None:
        say("saving the memory, this may take minutes")
        left = self._settings.deadline - (time.monotonic() - self._began)
        self._step("vmcore", lambda: save_vmcore(vmcore, folder, settings, keep_free=self._settings.keep_free, timeout=left))

    def _step(self, name: str, action: Callable[[], Saved]) -> bool:
        """Does one step and puts on record how it went."""
        began = time.monotonic()
        try:
            saved, ok = action(), True
        except (SaveError, OSError) as problem:
            saved, ok = Saved(0, str(problem)), False
        seconds = round(time.monotonic() - began, 3)
        self._status.steps.append(Step(name=name, ok=ok, seconds=seconds, bytes=saved.bytes, detail=saved.detail))
        say(f"{name}: {f'{saved.bytes} bytes' if ok else saved.detail} ({seconds:.1f} s)")
        return ok

    def _save_status(self, folder: Path) -> None:
        self._status.seconds = round(time.monotonic() - self._began, 3)
        self._status.uptime = float((self._root / "proc/uptime").read_text().split()[0])
        self._status.memory_kib = self._meter.read()
        self._status.final_action = str(self._final_action())
        try:
            write_file(folder / STATUS_FILE, self._status.to_json().encode(), 0o600)
        except OSError as problem:
            say(f"cannot write {folder / STATUS_FILE}: {problem.strerror}")

    def _final_action(self) -> FinalAction:
        return self._settings.then if self._is_saved() else self._settings.on_failure

    def _is_saved(self) -> bool:
        """Whether what matters most was saved: the log, or where it is not wanted, the memory."""
        return self._status.saved("dmesg" if self._settings.dmesg else "vmcore")

    def _out_of_time(self) -> None:
        say(f"the deadline of {self._settings.deadline} s has passed")
        self._finish()

    def _finish(self) -> None:
        # The deadline and the end of the work may meet here; the first one ends the machine.
        if self._ended.acquire(blocking=False):
            self._end(self._final_action())


def new_crash_folder(store: Path) -> Path:
    """Makes a folder that is named by the time, readable for root only, durably.

    Raises:
        OSError: the store can't be written.
    """
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    for number in range(MAX_SAME_SECOND):
        folder = store / (f"{stamp}-{number}" if number else stamp)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        sync(store)
        return folder
    raise FileExistsError(errno.EEXIST, f"{MAX_SAME_SECOND} crash folders of {stamp} exist")
