# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd estimate`."""

import argparse

from kdumpd.apply.look import ROOT, look, read_policy
from kdumpd.errors import ExitCode
from kdumpd.plan.reservation import estimate_machine, wanted_crashkernel


def run(arguments: argparse.Namespace) -> ExitCode:
    policy = read_policy(arguments.policy)
    facts = look(policy, ROOT)
    estimate = estimate_machine(policy, facts)
    print(estimate)
    wanted = wanted_crashkernel(policy, facts)
    if policy.crashkernel is not None:
        print(f"note: the policy says {wanted}, not auto")
    elif str(wanted) != str(estimate.crashkernel):
        print(f"note: crashkernel={wanted} is asked for now, and is kept: it is enough, and a change takes a reboot")
    return ExitCode.OK
