# SPDX-License-Identifier: LGPL-2.1-or-later
"""GRUB, the Debian way: kdumpd owns a drop-in in /etc/default/grub.d, update-grub writes grub.cfg."""

from collections.abc import Sequence

from kdumpd.errors import ApplyError, ToolError
from kdumpd.run import run

# os-prober may look at every disk of the machine.
UPDATE_TIMEOUT = 300.0


def update(argv: Sequence[str]) -> None:
    """Lets GRUB make its grub.cfg anew. It writes to grub.cfg.new first, so a failure leaves the old one in place.

    Raises:
        ApplyError: it failed.
    """
    try:
        run(argv, timeout=UPDATE_TIMEOUT)
    except ToolError as problem:
        raise ApplyError(f"the boot loader could not be updated; every file was put back\n{problem}") from problem
