# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd arm`."""

import argparse

from kdumpd.apply.actions import arm
from kdumpd.apply.look import ROOT
from kdumpd.cli.ask import say
from kdumpd.cli.tell import everyone_told
from kdumpd.errors import ExitCode


def run(arguments: argparse.Namespace) -> ExitCode:
    with everyone_told(ROOT, arguments.policy):
        did_something = arm(ROOT, arguments.policy, say, rebuild=arguments.rebuild)
    print("armed" if did_something else "armed already: nothing to do")
    return ExitCode.OK
