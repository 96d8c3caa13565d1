# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd disarm`."""

import argparse

from kdumpd.apply.actions import disarm
from kdumpd.apply.look import ROOT
from kdumpd.cli.parser import DEFAULT_POLICY
from kdumpd.cli.tell import everyone_told
from kdumpd.errors import ExitCode


def run(_: argparse.Namespace) -> ExitCode:
    with everyone_told(ROOT, DEFAULT_POLICY):
        did_something = disarm(ROOT)
    if did_something:
        print("disarmed: a crash now would leave nothing; to arm again: kdumpd arm")
    else:
        print("nothing is loaded: this machine was not armed")
    return ExitCode.OK
