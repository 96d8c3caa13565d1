# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells systemd how we are: the protocol of sd_notify(3)."""

import os
import socket


def notify(*states: str) -> None:
    """Sends states such as `READY=1` to the service manager; does nothing when there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        # A leading @ stands for the abstract namespace.
        connection.sendto("\n".join(states).encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear WATCHDOG=1 (sd_watchdog_enabled(3)); None when it does not, or not from this process."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    if not limit.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit) / 1_000_000
