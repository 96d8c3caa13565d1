# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes show --html`. Loaded only for that: jinja takes time."""

import os
import sys
from pathlib import Path

from kdumpd.crashes.html import render_html
from kdumpd.crashes.report import Report
from kdumpd.errors import ExitCode, HostError

STANDARD_OUTPUT = "-"
# It tells as much as the log, which is for root only.
MODE = 0o600


def write_html(report: Report, folder: Path, seen: int, target: str | None) -> ExitCode:
    """Writes the page and prints where it is. `target` is a file, "-" for standard output, None for a file in this folder.

    Raises:
        HostError: the file is there already.
        OSError: the crash can't be read, or the file not be written.
    """
    page = render_html(report, folder=folder, seen=seen)
    if target == STANDARD_OUTPUT:
        sys.stdout.buffer.write(page.encode())
        return ExitCode.OK
    file = Path(target or f"kdumpd-{folder.name}.html")
    _write_new(file, page)
    print(file.absolute())
    return ExitCode.OK


def _write_new(file: Path, page: str) -> None:
    try:
        # O_EXCL follows no link either.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError as problem:
        raise HostError(f"{file}: is there already", hint="remove it, or name another file after --html") from problem
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
    except OSError:
        file.unlink()
        raise
