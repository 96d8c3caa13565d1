# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the crash that somebody means."""

from collections.abc import Sequence
from pathlib import Path

from kdumpd.crashes.archive import Crash, read_crash
from kdumpd.errors import HostError, NoSuchCrashError

LATEST = "latest"
HINT = "see them: kdumpd crashes list"


def choose_crash(folders: Sequence[Path], name: str) -> Crash:
    """The crash that `choose_folder` finds, whole.

    Raises:
        NoSuchCrashError: there is none, or more than one.
        HostError: this user may not look inside.
    """
    crash = read_crash(choose_folder(folders, name))
    if not crash.readable and not crash.broken:
        raise HostError(f"only root may look inside {crash.folder}", hint="run this as root")
    return crash


def choose_folder(folders: Sequence[Path], name: str) -> Path:
    """The crash of this ID, of which the beginning is enough; or `latest`; or the folder itself. The oldest come first.

    Raises:
        NoSuchCrashError: there is none, or more than one.
    """
    if not folders:
        raise NoSuchCrashError("there is no crash", hint="would one be saved? kdumpd status")
    if name == LATEST:
        return folders[-1]
    same = [folder for folder in folders if name in (folder.name, str(folder))]
    found = same or [folder for folder in folders if name and folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        what = f"there are {len(folders)}, the latest is {folders[-1].name}" if len(folders) > 1 else f"there is {folders[0].name}"
        raise NoSuchCrashError(f'there is no crash "{name}": {what}', hint=HINT)
    if same:
        raise NoSuchCrashError(f'there is more than one "{name}"', hint=f"give the folder, as in {same[0]}")
    raise NoSuchCrashError(f'"{name}" may be {len(found)} crashes, from {found[0].name} to {found[-1].name}', hint=HINT)
