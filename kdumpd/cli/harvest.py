# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd harvest`. The unit runs it while the machine boots: no policy, no YAML, no D-Bus."""

import argparse

from kdumpd.crashes.archive import capture_settings
from kdumpd.crashes.at_boot import first_store, harvest_at_boot, stores
from kdumpd.crashes.harvest import Harvested, harvest
from kdumpd.crashes.last_end import leave_out
from kdumpd.errors import ExitCode
from kdumpd.host.efi import keep_variables
from kdumpd.host.layout import PSTORE, ROOT
from kdumpd.terminal import one_line


def run(arguments: argparse.Namespace) -> ExitCode:
    keep_variables(ROOT)
    by_hand = arguments.source is not None or arguments.to is not None
    found = _harvest(arguments) if by_hand else harvest_at_boot(ROOT, _tell, begins=True)
    for crash in found:
        _tell(
            f"{'records of a crash that was dumped' if crash.has_dump else 'a crash'}: {crash.report.time} {crash.report.verdict}"
        )
        _tell(f"  {crash.folder}")
    if not found and not arguments.quiet:
        _tell(f"no crash in {arguments.source or ROOT / PSTORE}")
    return ExitCode.OK


def _harvest(arguments: argparse.Namespace) -> list[Harvested]:
    settings = capture_settings(ROOT)
    store = arguments.to or first_store(ROOT, settings)
    found = harvest(arguments.source or ROOT / PSTORE, store, stores(ROOT, settings), _tell)
    leave_out(ROOT, [crash.folder for crash in found])
    return found


def _tell(text: str) -> None:
    indent = "  " if text.startswith("  ") else ""
    print(indent + one_line(text))
