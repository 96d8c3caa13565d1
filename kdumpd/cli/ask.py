# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks before something changes, and tells what does."""

import sys

from kdumpd.errors import KdumpdError
from kdumpd.plan.steps import Plan
from kdumpd.terminal import harmless_lines


def say(text: str) -> None:
    """One line on standard output, there when it is true: a step may take minutes."""
    print(harmless_lines(text), flush=True)


def agreed(plan: Plan, yes: bool, *, hint: str = "see it: kdumpd plan; do it: add --yes") -> bool:
    """Shows the plan and asks, unless the command line has said yes already, or there is nothing to do.

    Raises:
        KdumpdError: there is nobody to ask.
    """
    if yes or plan.is_empty:
        return True
    need_terminal("something would change", hint=hint)
    print(harmless_lines(f"would:\n{plan}"))
    return said_yes("do it?", otherwise="nothing was changed")


def need_terminal(what: str, *, hint: str) -> None:
    """
    Raises:
        KdumpdError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise KdumpdError(f"{what}, and there is no terminal to ask at", hint=hint)


def said_yes(question: str, *, otherwise: str) -> bool:
    """Asks; any answer but yes is a no, which `otherwise` confirms."""
    if input(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print(otherwise)
    return False
