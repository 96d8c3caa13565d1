# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd apply`."""

import argparse

from kdumpd.apply.actions import apply_policy
from kdumpd.apply.look import ROOT
from kdumpd.cli.ask import agreed, say
from kdumpd.cli.tell import everyone_told
from kdumpd.errors import ExitCode


def run(arguments: argparse.Namespace) -> ExitCode:
    with everyone_told(ROOT, arguments.policy):
        plan = apply_policy(
            ROOT, arguments.policy, say, agreed=lambda plan: agreed(plan, arguments.yes), overwrite=arguments.overwrite
        )
    if plan is None:
        return ExitCode.USAGE
    if plan.is_empty:
        print("nothing to change: this machine is as the policy says")
    for note in plan.notes:
        print(f"note: {note}")
    return ExitCode.OK
