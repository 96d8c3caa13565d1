# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes analyse`."""

import argparse
import sys

from kdumpd.capture.keep import ANALYSIS
from kdumpd.crashes.analyse import AnalysisError, analyse
from kdumpd.crashes.archive import Crash, capture_stores, crash_folders
from kdumpd.crashes.choose import choose_crash
from kdumpd.crashes.record import read_report
from kdumpd.errors import ExitCode
from kdumpd.files import read_text
from kdumpd.host.layout import ROOT
from kdumpd.terminal import harmless_lines


def run(arguments: argparse.Namespace) -> ExitCode:
    crash = choose_crash(crash_folders(ROOT, capture_stores(ROOT)), arguments.id)
    return _show(crash) if arguments.print else _analyse(crash, arguments)


def _analyse(crash: Crash, arguments: argparse.Namespace) -> ExitCode:
    made = analyse(ROOT, crash.folder, read_report(crash.folder), vmlinux=arguments.vmlinux, say=_say)
    print(made.text, end="")
    if made.failed:
        raise AnalysisError(
            "nothing of this dump could be read",
            hint="the answers above tell why; crash(8) must be newer than the kernel that died, or the dump is damaged",
        )
    return ExitCode.OK


def _show(crash: Crash) -> ExitCode:
    text = read_text(crash.folder / ANALYSIS)
    if text is None:
        raise AnalysisError(
            f"there is no analysis of crash {crash.folder.name} that you may read",
            hint=f"as root: kdumpd crashes analyse {crash.folder.name}",
        )
    print(harmless_lines(text), end="")
    return ExitCode.OK


def _say(text: str) -> None:
    """Not part of the analysis, which standard output is."""
    print(text, file=sys.stderr, flush=True)
