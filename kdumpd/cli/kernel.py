# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd kernel …`: for the hooks of package managers."""

import argparse

from kdumpd.apply.kernels import add_kernel, remove_kernel
from kdumpd.apply.look import ROOT
from kdumpd.errors import ExitCode


def _say(text: str) -> None:
    print(f"kdumpd: {text}", flush=True)


def run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.action == "add":
        add_kernel(ROOT, arguments.policy, arguments.release, _say)
    else:
        remove_kernel(ROOT, arguments.release, _say)
    return ExitCode.OK
