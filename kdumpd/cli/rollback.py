# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd rollback`."""

import argparse

from kdumpd.apply.apply import apply_plan, recover
from kdumpd.apply.look import ROOT, look, policy_in_force
from kdumpd.cli.ask import agreed
from kdumpd.errors import ExitCode
from kdumpd.files import lock
from kdumpd.plan.make import arming_steps
from kdumpd.plan.rollback import make_rollback
from kdumpd.plan.steps import Plan
from kdumpd.policy.model import Policy


def run(arguments: argparse.Namespace) -> ExitCode:
    with lock(ROOT):
        recover(ROOT, print)
        facts = look(policy_in_force(arguments.policy, ROOT).policy or Policy(), ROOT)
        plan = make_rollback(facts)
        if not agreed(plan, arguments.yes):
            return ExitCode.USAGE
        apply_plan(plan, facts, ROOT, lambda text: print(text, flush=True), overwrite=arguments.overwrite)
        _load_again(arguments)
    for note in plan.notes:
        print(f"note: {note}")
    return ExitCode.OK


def _load_again(arguments: argparse.Namespace) -> None:
    """The dump kernel's command line follows the policy, too. When none is left in force, what is loaded stays."""
    policy = policy_in_force(arguments.policy, ROOT).policy
    if policy is None:
        return
    facts = look(policy, ROOT)
    apply_plan(Plan(steps=arming_steps(policy, facts)), facts, ROOT, lambda text: print(text, flush=True))
