# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was put on record of a crash, in its folder."""

from pathlib import Path

from kdumpd.capture import status
from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.capture.status import Status
from kdumpd.crashes.report import FILE, Report, ReportError
from kdumpd.decode import parse_json
from kdumpd.files import read_own


def read_report(folder: Path) -> Report:
    """The report of a crash; one that is missing or damaged is made anew, from what lies beside it.

    Raises:
        OSError: the folder, or the log in it, can't be read.
    """
    if report := recorded(folder):
        return report
    # It takes longer to load than all reports of an archive to look through, and most have been written already.
    from kdumpd.crashes.make import make_report  # noqa: PLC0415

    return make_report(folder)


def read_status(folder: Path) -> Status | None:
    """What the capture told; None: there was none, it was cut off before it had something to tell, or that is damaged.

    Raises:
        PermissionError: this user may not look.
    """
    content = read_own(folder / status.FILE)
    try:
        return None if content is None else parse_json(content, Status)
    except ValueError:
        return None


def time_of(folder: Path) -> str:
    """When the crash was, as in 2026-11-23T01:02:03Z, by the name of its folder; "" where it has none."""
    name = FOLDER_NAME.fullmatch(folder.name)
    return "{}T{}:{}:{}Z".format(*name.groups()) if name else ""


def recorded(folder: Path) -> Report | None:
    """What report.json tells; None: it is missing or damaged, or a newer kdumpd wrote it.

    Raises:
        PermissionError: this user may not look.
    """
    content = read_own(folder / FILE)
    try:
        return None if content is None else Report.from_text(content)
    except ReportError:
        return None
