# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd status`."""

import argparse
import json

from kdumpd.apply.look import ROOT
from kdumpd.errors import ExitCode
from kdumpd.state.screen import screen
from kdumpd.state.state import read_state


def run(arguments: argparse.Namespace) -> ExitCode:
    state = read_state(ROOT, arguments.policy)
    print(json.dumps(state.to_json(), indent=2) if arguments.json else "\n".join(screen(state)))
    return ExitCode.OK if state.readiness.armed else ExitCode.NOT_ARMED
