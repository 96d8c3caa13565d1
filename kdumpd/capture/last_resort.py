# SPDX-License-Identifier: LGPL-2.1-or-later
"""When no store takes the log: its end goes to the console, and into the machine's own memory where that is possible."""

import os
from pathlib import Path

from .console import say
from .printk_ring import log_tail

# What fits on a screen of text.
LINES = 60
# The only way from a program into persistent storage (fs/pstore/pmsg.c). Debian's kernels are built without it.
PMSG = "dev/pmsg0"


def tell_the_end_of_the_log(root: Path, vmcore: Path) -> None:
    """Shows the last lines of the dead kernel's log, for a photo or whoever records the console.

    Raises:
        SaveError: the log can't be read.
    """
    lines = log_tail(vmcore, LINES)
    say(f"these are the last {len(lines)} lines of the log:")
    for line in lines:
        say(line)
    say(_keep_in_pstore(root / PMSG, "".join(f"{line}\n" for line in lines)))


def _keep_in_pstore(pmsg: Path, text: str) -> str:
    # One that is not there must not become a file.
    try:
        handle = os.open(pmsg, os.O_WRONLY)
        try:
            os.write(handle, text.encode(errors="replace"))
        finally:
            os.close(handle)
    except OSError as problem:
        return f"they are nowhere but here: /{PMSG}: {problem.strerror}"
    return "they are kept in pstore too, until the next boot reads them"
