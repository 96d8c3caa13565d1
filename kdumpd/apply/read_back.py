# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lets the program that will read a rendered file say whether it can."""

from pathlib import Path

from kdumpd.errors import ApplyError, ToolError
from kdumpd.host import layout
from kdumpd.run import run

# GRUB's own file is checked by grub-mkconfig, with grub-script-check, before it takes the place of the old one.
READ_BY_A_SHELL = {layout.absolute(path) for path in (layout.GRUB_DROP_IN, layout.KDUMP_TOOLS)}
TIMEOUT = 10.0


def check_syntax(root: Path, path: str) -> None:
    """
    Raises:
        ApplyError: its reader would not understand it, which is a template's fault.
    """
    if path not in READ_BY_A_SHELL:
        return
    try:
        run(["sh", "-n", root / path.lstrip("/")], timeout=TIMEOUT)
    except ToolError as problem:
        raise ApplyError(
            f"{path} would be nothing that a shell can read; every file was put back\n{problem}",
            hint=f"mend or remove the template in /{layout.ADMIN_TEMPLATES}",
        ) from problem
