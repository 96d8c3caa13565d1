# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which makedumpfile this is."""

from kdumpd.capture.makedumpfile import Makedumpfile, parse_version
from kdumpd.errors import ToolError
from kdumpd.run import run

__all__ = ["Makedumpfile", "read_makedumpfile"]

VERSION_TIMEOUT = 10.0


def read_makedumpfile() -> Makedumpfile | None:
    """None when it is not installed or does not tell."""
    try:
        return parse_version(run(["makedumpfile", "-v"], timeout=VERSION_TIMEOUT).stdout)
    except ToolError:
        return None
