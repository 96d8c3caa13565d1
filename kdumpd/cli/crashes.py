# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes …`."""

import argparse
import json

from kdumpd.apply.look import ROOT
from kdumpd.crashes.archive import capture_stores, list_crashes
from kdumpd.errors import ExitCode


def run(arguments: argparse.Namespace) -> ExitCode:
    stores = capture_stores(ROOT)
    crashes = list_crashes(ROOT, stores)
    if arguments.json:
        print(json.dumps([crash.to_json() for crash in crashes], indent=2))
    elif not crashes:
        print(f"no crashes in {', '.join(stores)}")
    else:
        for crash in crashes:
            print(f"{crash.time}  {crash.verdict}\n                      {crash.log or crash.folder}")
    return ExitCode.OK
