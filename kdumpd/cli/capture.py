# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd capture`."""

import argparse

from kdumpd.capture.main import main
from kdumpd.errors import ExitCode


def run(_: argparse.Namespace) -> ExitCode:
    return ExitCode(main(["systemd"]))
