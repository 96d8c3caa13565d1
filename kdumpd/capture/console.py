# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells a person in front of the machine what is happening, and remembers it for capture.log."""

import contextlib
import os
import sys

from .clock import uptime

KMSG = "/dev/kmsg"
# KERN_CRIT: shown on every console even when the loglevel is the 4 that `quiet` sets.
LEVEL = "<2>"
# The kernel refuses longer ones (LOG_LINE_MAX, 976 in Linux 6.1, kernel/printk/printk.c).
LONGEST = 900
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

_told: list[str] = []


def say(text: str) -> None:
    """One line per line of text on all consoles of the kernel, not just on the last one, which is /dev/console."""
    for line in text.splitlines():
        note(line)
        message = f"{LEVEL}kdumpd: {line}".encode(errors="replace")[:LONGEST] + b"\n"
        try:
            # Not open(): Python's append mode seeks first, which this device refuses. One write() is one message.
            kmsg = os.open(KMSG, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(kmsg, message)
            finally:
                os.close(kmsg)
        except OSError:
            # Standard error may be a pipe that nobody reads; what can't be told must not stop the capture.
            with contextlib.suppress(OSError, ValueError):
                print(f"kdumpd: {line}", file=sys.stderr, flush=True)


def note(line: str) -> None:
    """One line for capture.log alone."""
    _told.append(f"[{uptime():9.2f}] {line}\n")


def told() -> str:
    """All that was said and noted, each line with the seconds since this kernel started."""
    return "".join(_told)


def was_told(text: str) -> None:
    """Puts what another program of this boot has said in front of what this one says."""
    _told[:0] = text.splitlines(keepends=True)


def size_text(size: int) -> str:
    """A size in the largest unit that does not make it less than 1."""
    for factor, unit in UNITS:
        if size >= factor:
            number = size / factor
            return f"{number:.1f} {unit}" if number < 10 and factor > 1 << 10 else f"{number:.0f} {unit}"  # noqa: PLR2004
    return f"{size} bytes"
