# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd daemon`."""

import argparse

from kdumpd.daemon.main import Daemon
from kdumpd.errors import ExitCode


def run(arguments: argparse.Namespace) -> ExitCode:
    Daemon(arguments.policy).run()
    return ExitCode.OK
