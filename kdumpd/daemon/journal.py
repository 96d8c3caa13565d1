# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes to the journal: lines with a priority, and events that programs find by their MESSAGE_ID."""

import socket
import sys
from enum import IntEnum, StrEnum

from kdumpd.terminal import harmless_lines

SOCKET = "/run/systemd/journal/socket"
# A journald that hangs must not hang us.
PATIENCE = 5.0
# Keeps an entry in one datagram (at most net.core.wmem_default, 208 KiB); a longer one would have to go by a file descriptor.
LONGEST_FIELD = 16 << 10


class Priority(IntEnum):
    """syslog(3) levels."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Event(StrEnum):
    """What may happen, by the MESSAGE_ID that units/kdumpd.catalog explains. An id is never given to another event."""

    ARMED = "b17b81f62a22416c9a563d11ac567134"
    NOT_ARMED = "4e461b0df1774e7bb69e934d14774337"
    DEGRADED = "4ba1df6fd807474bb9aa1607c92960d6"
    CRASH_FOUND = "af3d02e84b964dd69c48385f1fdee0ed"
    TEST_PASSED = "4d8f19187e5e4353a834a30b5be24947"
    TEST_FAILED = "d48b4e5d8e434205b308a4852cba14bd"
    POLICY_REFUSED = "2b984d65e5124522b26effd9c77d6767"


PRIORITIES = {
    Event.ARMED: Priority.NOTICE,
    Event.NOT_ARMED: Priority.ERROR,
    Event.DEGRADED: Priority.WARNING,
    Event.CRASH_FOUND: Priority.CRITICAL,
    Event.TEST_PASSED: Priority.NOTICE,
    Event.TEST_FAILED: Priority.ERROR,
    Event.POLICY_REFUSED: Priority.ERROR,
}


def log(priority: Priority, text: str) -> None:
    """One journal entry per line of text: systemd takes them from standard error (sd-daemon(3))."""
    for line in harmless_lines(text).splitlines():
        print(f"<{priority.value}>{line}", file=sys.stderr, flush=True)


def event(what: Event, text: str, **fields: str) -> None:
    """One journal entry, with KDUMPD_NAME=value for every field; without a journal, its text on standard error."""
    entry = {
        "MESSAGE": text,
        "MESSAGE_ID": what.value,
        "PRIORITY": str(PRIORITIES[what].value),
        "SYSLOG_IDENTIFIER": "kdumpd",
        **{f"KDUMPD_{name.upper()}": value for name, value in fields.items()},
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
            journal.settimeout(PATIENCE)
            journal.sendto(b"".join(_field(name, value) for name, value in entry.items()), SOCKET)
    except OSError:
        log(PRIORITIES[what], text)


def _field(name: str, value: str) -> bytes:
    """A field of journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), in the form that any value may have."""
    content = value.encode(errors="replace")[:LONGEST_FIELD]
    # The journal shows what is not UTF-8 as a blob.
    content = content.decode(errors="ignore").encode()
    return name.encode() + b"\n" + len(content).to_bytes(8, "little") + content + b"\n"
