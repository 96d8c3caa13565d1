# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd status`."""

import argparse
import json

from kdumpd.apply.look import ROOT
from kdumpd.errors import ExitCode, KdumpdError
from kdumpd.state.metrics import metrics
from kdumpd.state.screen import check_line, plugin_line, screen
from kdumpd.state.state import read_state


def run(arguments: argparse.Namespace) -> ExitCode:
    try:
        state = read_state(ROOT, arguments.policy)
    except KdumpdError as problem:
        if not arguments.check:
            raise
        # One line, as monitoring wants it; the rest is told without --check.
        print(plugin_line("UNKNOWN", str(problem).splitlines()[0]))
        return ExitCode.NOT_ARMED
    if arguments.json:
        print(json.dumps(state.to_json(), indent=2))
    elif arguments.check:
        print(check_line(state))
    elif arguments.prometheus:
        print(metrics(state), end="")
    else:
        print("\n".join(screen(state)))
    return ExitCode.OK if state.readiness.armed else ExitCode.NOT_ARMED
