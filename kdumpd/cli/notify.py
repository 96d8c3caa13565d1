# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd notify`: at a terminal, and in kdumpd-notify@.service."""

import argparse
import os
import sys

from kdumpd.crashes.archive import capture_stores, crash_folders
from kdumpd.crashes.choose import choose_crash
from kdumpd.crashes.make import record_report
from kdumpd.crashes.notifiers import run_notifiers
from kdumpd.daemon.journal import Priority, log
from kdumpd.errors import ExitCode
from kdumpd.host.layout import ROOT

STANDARD_ERROR = 2


def run(arguments: argparse.Namespace) -> ExitCode:
    crash = choose_crash(crash_folders(ROOT, capture_stores(ROOT)), arguments.id)
    record_report(crash.folder)
    return ExitCode.OK if run_notifiers(ROOT, crash, _say, _warn) else ExitCode.ERROR


def _say(text: str) -> None:
    if _in_unit():
        log(Priority.INFO, text)
    else:
        print(text, flush=True)


def _warn(text: str) -> None:
    if _in_unit():
        log(Priority.WARNING, text)
    else:
        print(text, file=sys.stderr)


def _in_unit() -> bool:
    """Whether standard error is the journal, which takes a priority before each line (systemd.exec(5), $JOURNAL_STREAM)."""
    found = os.fstat(STANDARD_ERROR)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
