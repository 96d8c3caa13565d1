# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells a person in front of the machine what is happening."""

import sys

KMSG = "/dev/kmsg"
# KERN_CRIT: shown on every console even when the loglevel is the 4 that `quiet` sets.
LEVEL = "<2>"


def say(text: str) -> None:
    """One line per line of text on all consoles of the kernel, not just on the last one, which is /dev/console."""
    for line in text.splitlines():
        try:
            with open(KMSG, "a") as kmsg:
                kmsg.write(f"{LEVEL}kdumpd: {line}\n")
        except OSError:
            print(f"kdumpd: {line}", file=sys.stderr, flush=True)
