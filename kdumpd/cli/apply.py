# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd apply`."""

import argparse

from kdumpd.apply.apply import apply_plan, recover
from kdumpd.apply.look import ROOT, look, read_policy
from kdumpd.cli.ask import agreed
from kdumpd.errors import ExitCode
from kdumpd.files import lock
from kdumpd.plan.make import make_plan


def run(arguments: argparse.Namespace) -> ExitCode:
    policy = read_policy(arguments.policy)
    with lock(ROOT):
        recover(ROOT, print)
        facts = look(policy, ROOT)
        plan = make_plan(policy, facts)
        if not agreed(plan, arguments.yes):
            return ExitCode.USAGE
        apply_plan(plan, facts, ROOT, lambda text: print(text, flush=True), overwrite=arguments.overwrite)
    if plan.is_empty:
        print("nothing to change: this machine is as the policy says")
    for note in plan.notes:
        print(f"note: {note}")
    return ExitCode.OK
