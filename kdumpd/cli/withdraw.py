# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd withdraw`."""

import argparse

from kdumpd.apply.actions import withdraw
from kdumpd.apply.look import ROOT
from kdumpd.cli.ask import agreed, say
from kdumpd.cli.tell import everyone_told
from kdumpd.errors import ExitCode

HINT = "see it: run this at a terminal; do it: add --yes"


def run(arguments: argparse.Namespace) -> ExitCode:
    with everyone_told(ROOT, arguments.policy):
        plan = withdraw(
            ROOT,
            arguments.policy,
            say,
            agreed=lambda plan: agreed(plan, arguments.yes, hint=HINT),
            boot_loader=not arguments.keep_boot_loader,
        )
    if plan is None:
        return ExitCode.USAGE
    if plan.is_empty:
        print("nothing to take back: kdumpd has changed nothing here")
    for note in plan.notes:
        print(f"note: {note}")
    return ExitCode.OK
