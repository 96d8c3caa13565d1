# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd disarm`."""

import argparse

from kdumpd.apply.look import ROOT
from kdumpd.errors import ExitCode
from kdumpd.files import lock
from kdumpd.host.read import read_kexec
from kdumpd.image.load import unload


def run(_: argparse.Namespace) -> ExitCode:
    with lock(ROOT):
        if not read_kexec(ROOT).loaded:
            print("nothing is loaded: this machine was not armed")
            return ExitCode.OK
        unload(ROOT)
    print("disarmed: a crash now would leave nothing; to arm again: kdumpd arm")
    return ExitCode.OK
