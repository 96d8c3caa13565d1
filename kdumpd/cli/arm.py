# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd arm`."""

import argparse

from kdumpd.apply.apply import do_steps
from kdumpd.apply.look import ROOT, look, policy_in_force, read_policy
from kdumpd.errors import ExitCode, NotArmedError
from kdumpd.files import lock
from kdumpd.plan.make import arming_steps, wanted_dump_set
from kdumpd.plan.readiness import judge


def run(arguments: argparse.Namespace) -> ExitCode:
    policy = read_policy(arguments.policy)
    with lock(ROOT):
        # What was rolled back must not come back with the next arming.
        policy = policy_in_force(arguments.policy, ROOT).policy or policy
        facts = look(policy, ROOT)
        steps = arming_steps(policy, facts)
        if not facts.kexec.reserved or (wanted_dump_set(policy, facts) is None and not steps):
            trouble = judge(policy, facts).first_trouble
            raise NotArmedError(trouble.fact, hint=trouble.way_out)
        do_steps(steps, facts, ROOT, lambda text: print(text, flush=True))
    print("armed" if steps else "armed already: nothing to do")
    return ExitCode.OK
