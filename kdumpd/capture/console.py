# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells a person in front of the machine what is happening."""

import os
import sys

KMSG = "/dev/kmsg"
# KERN_CRIT: shown on every console even when the loglevel is the 4 that `quiet` sets.
LEVEL = "<2>"


def say(text: str) -> None:
    """One line per line of text on all consoles of the kernel, not just on the last one, which is /dev/console."""
    for line in text.splitlines():
        try:
            # Not open(): Python's append mode seeks first, which this device refuses. One write() is one message.
            kmsg = os.open(KMSG, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(kmsg, f"{LEVEL}kdumpd: {line}\n".encode())
            finally:
                os.close(kmsg)
        except OSError:
            print(f"kdumpd: {line}", file=sys.stderr, flush=True)
