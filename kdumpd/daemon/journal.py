# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lines for the journal, with a priority (sd-daemon(3)): systemd takes them from standard error."""

import sys
from enum import IntEnum


class Priority(IntEnum):
    """syslog(3) levels."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def log(priority: Priority, text: str) -> None:
    """One journal entry per line of text."""
    for line in text.splitlines():
        print(f"<{priority.value}>{line}", file=sys.stderr, flush=True)
