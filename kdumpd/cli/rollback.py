# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd rollback`."""

import argparse

from kdumpd.apply.actions import roll_back
from kdumpd.apply.look import ROOT
from kdumpd.cli.ask import agreed, say
from kdumpd.cli.tell import everyone_told
from kdumpd.errors import ExitCode


def run(arguments: argparse.Namespace) -> ExitCode:
    with everyone_told(ROOT, arguments.policy):
        plan = roll_back(
            ROOT, arguments.policy, say, agreed=lambda plan: agreed(plan, arguments.yes), overwrite=arguments.overwrite
        )
    if plan is None:
        return ExitCode.USAGE
    for note in plan.notes:
        print(f"note: {note}")
    return ExitCode.OK
