# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks before something changes."""

import sys

from kdumpd.errors import KdumpdError
from kdumpd.plan.steps import Plan


def agreed(plan: Plan, yes: bool) -> bool:
    """Shows the plan and asks, unless the command line has said yes already, or there is nothing to do.

    Raises:
        KdumpdError: there is nobody to ask.
    """
    if yes or plan.is_empty:
        return True
    if not sys.stdin.isatty():
        raise KdumpdError(
            "something would change, and there is no terminal to ask at", hint="see it: kdumpd plan; do it: add --yes"
        )
    print(f"would:\n{plan}")
    if input("do it? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("nothing was changed")
    return False
