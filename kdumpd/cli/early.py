# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd early`. Runs while the machine boots: no policy, no YAML, no D-Bus, and only what kexec needs of kdumpd."""

import argparse

from kdumpd.errors import ExitCode
from kdumpd.files import lock_or_go_on
from kdumpd.host.damage import set_damage_aside
from kdumpd.host.layout import ROOT
from kdumpd.host.read import read_kexec
from kdumpd.image.load import load_last_good

# The unit has a minute, of which a kexec needs some seconds.
PATIENCE = 20.0


def run(_: argparse.Namespace) -> ExitCode:
    with lock_or_go_on(ROOT, print, patience=PATIENCE):
        set_damage_aside(ROOT, print)
        kexec = read_kexec(ROOT)
        if not kexec.reserved:
            print("no memory is reserved for a dump kernel: nothing to load")
        elif kexec.loaded:
            print("a dump kernel is loaded already")
        else:
            print(f"loaded {load_last_good(ROOT).kernel}")
    return ExitCode.OK
