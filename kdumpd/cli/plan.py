# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd plan`."""

import argparse
import json

from kdumpd.apply.look import ROOT, look, read_policy
from kdumpd.errors import ExitCode
from kdumpd.plan.make import make_plan
from kdumpd.terminal import harmless_lines


def run(arguments: argparse.Namespace) -> ExitCode:
    policy = read_policy(arguments.policy)
    plan = make_plan(policy, look(policy, ROOT))
    if arguments.json:
        print(json.dumps(plan.to_json(), indent=2))
    else:
        print("nothing to change: this machine is as the policy says" if plan.is_empty else "would:")
        if text := str(plan):
            print(harmless_lines(text))
    return ExitCode.OK if plan.is_empty else ExitCode.WOULD_CHANGE
