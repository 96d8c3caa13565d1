# SPDX-License-Identifier: LGPL-2.1-or-later
"""The administrator's programs in /etc/kdumpd/notify.d, which are run for every crash that was found."""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdumpd.crashes import report
from kdumpd.crashes.archive import Crash
from kdumpd.errors import ToolError
from kdumpd.host import layout
from kdumpd.host.trust import distrust
from kdumpd.run import run, run_aloud
from kdumpd.terminal import harmless, one_line

TIMEOUT = 30.0
MOST_LINES = 200
# What an editor or a package manager leaves beside a file (the list of systemd, hidden_or_backup_file() in src/basic/path-util.c),
# and the file that explains the folder.
IGNORED = re.compile(r"\..*|.*~|.*\.(rpm(new|save|orig)|(dpkg|ucf)-[a-z]+|swp|bak|old|new|orig)|README.*", re.DOTALL)
SYSTEMCTL_TIMEOUT = 30.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Notifier:
    """A program of notify.d. `refusal` is why it will not be run, in words; "" when it will."""

    path: Path
    refusal: str = ""


def find_notifiers(root: Path) -> tuple[Notifier, ...]:
    """What is in notify.d, in the order in which it is run.

    Raises:
        OSError: the folder can't be read.
    """
    folder = root / layout.NOTIFIERS
    try:
        names = sorted(path.name for path in folder.iterdir() if not IGNORED.fullmatch(path.name))
    except FileNotFoundError:
        return ()
    of_folder = _not_safe(folder.lstat(), f"its folder {folder}")
    return tuple(Notifier(path=folder / name, refusal=of_folder or _refusal(folder / name)) for name in names)


def start_notifiers(crash: Crash) -> None:
    """Has systemd run them, in the sandbox of their unit, and does not wait for it.

    Raises:
        ToolError: systemd did not take the order.
    """
    run(["systemctl", "start", "--no-block", f"kdumpd-notify@{crash.folder.name}.service"], timeout=SYSTEMCTL_TIMEOUT)


def run_notifiers(root: Path, crash: Crash, say: Say, warn: Say) -> bool:
    """Runs them all, one after the other. Returns whether each that was run has succeeded.

    Raises:
        OSError: the folder can't be read.
    """
    notifiers = find_notifiers(root)
    if not notifiers:
        say(f"there is no program in {layout.absolute(layout.NOTIFIERS)}")
    went_well = [_run(notifier, crash, say, warn) for notifier in notifiers]
    return all(went_well)


def _run(notifier: Notifier, crash: Crash, say: Say, warn: Say) -> bool:
    name = one_line(notifier.path.name)
    if notifier.refusal:
        warn(f"{name}: not run: {notifier.refusal}")
        return True
    output = _Output(name, say)
    try:
        problem = run_aloud(
            [notifier.path, crash.folder / report.FILE], timeout=TIMEOUT, environment=_environment(crash), say=output.line
        )
    except ToolError as failure:
        problem = failure.args[0]
    output.end()
    if problem:
        warn(f"{name}: {problem}")
    else:
        say(f"{name}: done")
    return not problem


class _Output:
    """What one program prints, with its name before each line, until it is too much."""

    def __init__(self, name: str, say: Say) -> None:
        self._name = name
        self._say = say
        self._count = 0

    def line(self, text: str) -> None:
        self._count += 1
        if self._count <= MOST_LINES:
            self._say(f"{self._name}: {harmless(text).rstrip()}")

    def end(self) -> None:
        if (more := self._count - MOST_LINES) > 0:
            self._say(f"{self._name}: … and {more} more line{'s' if more > 1 else ''}")


def _environment(crash: Crash) -> dict[str, str]:
    """What a script wants to know without reading JSON. The verdict is quoted from a log: one line, but of anything."""
    return {
        "KDUMPD_ID": crash.folder.name,
        "KDUMPD_VERDICT": one_line(crash.verdict),
        "KDUMPD_SIGNATURE": one_line(crash.signature or ""),
        "KDUMPD_FOLDER": str(crash.folder),
        "KDUMPD_TEST": "yes" if crash.test else "no",
    }


def _refusal(path: Path) -> str:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "it is gone"
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if unsafe := _not_safe(found, "it"):
        return unsafe
    # The unit runs it as a user of its own, who may read everything, but execute only what everybody may.
    if not found.st_mode & stat.S_IXOTH:
        return f"it is not executable for everybody (mode {stat.S_IMODE(found.st_mode):04o}; chmod a+x)"
    return ""


def _not_safe(found: os.stat_result, what: str) -> str:
    reason = distrust(found)
    return f"{what} {reason.fact} ({'; '.join(filter(None, (reason.mode, reason.remedy)))})" if reason else ""
