# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes log`, `export` and `rm`: the files of a crash."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kdumpd.capture.keep import OURS, crash_contents, remove_crash
from kdumpd.capture.pstore import FOLDER as PSTORE
from kdumpd.cli.ask import need_terminal, said_yes
from kdumpd.crashes.archive import capture_stores, crash_folders, read_crash
from kdumpd.crashes.choose import choose_crash, choose_folder
from kdumpd.crashes.export import MODE, Manifest, export_crash
from kdumpd.crashes.redact import Redactor, host_names, pieces
from kdumpd.crashes.secrets import Sort
from kdumpd.errors import ExitCode, HostError, KdumpdError
from kdumpd.files import open_own
from kdumpd.host.layout import ROOT
from kdumpd.terminal import harmless, harmless_lines

SORTS = {
    Sort.MAC: "MAC addresses",
    Sort.UUID: "UUIDs",
    Sort.IP: "IP addresses",
    Sort.SERIAL: "serial numbers",
    Sort.HOST: "host names",
    Sort.EMAIL: "mail addresses",
    Sort.USER: "user names",
    Sort.SECRET: "passwords and keys",
}


def run(arguments: argparse.Namespace) -> ExitCode:
    return {"log": _log, "export": _export, "rm": _rm}[arguments.action](arguments)


def _folders() -> tuple[Path, ...]:
    return crash_folders(ROOT, capture_stores(ROOT))


def _log(arguments: argparse.Namespace) -> ExitCode:
    crash = choose_crash(_folders(), arguments.id)
    if crash.log is None:
        raise HostError(f"{crash.id} has no log: {crash.verdict}", hint=f"what there is: kdumpd crashes show {crash.id}")
    with open_own(crash.log) as log:
        if sys.stdout.isatty():
            for piece in pieces(log):
                print(harmless_lines(piece), end="")
        else:
            sys.stdout.flush()
            shutil.copyfileobj(log, sys.stdout.buffer)
    return ExitCode.OK


def _export(arguments: argparse.Namespace) -> ExitCode:
    crash = choose_crash(_folders(), arguments.id)
    redactor = Redactor(host_names(ROOT)) if arguments.redact else None
    if arguments.file == "-":
        if sys.stdout.isatty():
            raise KdumpdError("the archive is not for a terminal", hint="name a file, or send it on: … | ssh …")
        manifest = export_crash(crash.folder, sys.stdout.buffer, redactor)
    else:
        path = Path(arguments.file or f"kdumpd-{crash.id}.tar.gz")
        with _new_file(path) as file:
            manifest = export_crash(crash.folder, file, redactor)
        print(f"{path}: {len(manifest.files)} files of {crash.id}, and a manifest")
    _tell(manifest)
    return ExitCode.OK


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Overwrites nothing; when something fails, nothing is left."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise KdumpdError(f"{path} exists, and is not overwritten", hint="name another file, or remove this one") from None
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _tell(manifest: Manifest) -> None:
    """On standard error, for standard output may be the archive."""
    for left in manifest.left_out:
        print(f"left out {harmless(left.name)}: {left.reason}", file=sys.stderr)
    if manifest.redacted:
        masked = ", ".join(f"{SORTS[Sort(sort)]}: {count}" for sort, count in manifest.masked.items())
        print(
            f"masked: {masked or 'nothing'}; what kdumpd can't know of is still there: look before you hand it out", file=sys.stderr
        )


def _rm(arguments: argparse.Namespace) -> ExitCode:
    known = _folders()
    folders = list(dict.fromkeys(choose_folder(known, name) for name in arguments.ids))
    # All are looked at before the first goes.
    contents = {folder: _removable(folder) for folder in folders}
    if not arguments.yes:
        need_terminal(f"{len(folders)} crashes would be removed for good", hint="do it: add --yes")
        for folder in folders:
            print(f"{folder}: {harmless(read_crash(folder).verdict)}")
        if not said_yes("remove for good?", otherwise="nothing was removed"):
            return ExitCode.WOULD_CHANGE
    for folder in folders:
        remove_crash(folder, contents[folder])
        print(f"removed {folder}")
    return ExitCode.OK


def _removable(folder: Path) -> list[Path]:
    """All that is in it.

    Raises:
        HostError: that is not all kdumpd's.
    """
    # Also says so where only root may look inside.
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in OURS and path.name != PSTORE)
    if contents := crash_contents(folder):
        return contents
    what = f"it holds {foreign[0]}" if foreign else "something in it is no plain file, or it never was a whole crash"
    raise HostError(
        f"{folder} is not all from kdumpd, so it stays: {harmless(what)}", hint=f"look, then do it yourself: rm -r {folder}"
    )
