# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lets the system's own program make the boot loader's files, and reads back what came of it."""

from collections.abc import Sequence
from pathlib import Path

from kdumpd.errors import ApplyError, ToolError
from kdumpd.host.boot import read_boot
from kdumpd.host.facts import BootLoader
from kdumpd.plan.boot import carries, entries_to_judge
from kdumpd.plan.steps import RunTool
from kdumpd.run import run

HINTS = {
    BootLoader.GRUB: "does another file set the command line after kdumpd's? see /etc/default/grub.d and /etc/grub.d",
    BootLoader.GRUBBY: "see what the entries say: grubby --info=ALL",
    BootLoader.SYSTEMD_BOOT: "see what the entries say: bootctl list; unified kernel images have their command line inside",
    BootLoader.NONE: "which boot loader is it? see kdumpd status",
}
# os-prober may look at every disk of the machine.
UPDATE_TIMEOUT = 300.0


def run_tool(argv: Sequence[str]) -> None:
    """Runs a program of a boot loader. update-grub writes to grub.cfg.new first, so a failure leaves the old one in place.

    Raises:
        ApplyError: it failed.
    """
    try:
        run(argv, timeout=UPDATE_TIMEOUT)
    except ToolError as problem:
        raise ApplyError(f"the boot loader could not be updated; every file was put back\n{problem}") from problem


def check_result(root: Path, tool: RunTool) -> None:
    """
    Raises:
        ApplyError: the program ended well, but no entry carries what it should.
    """
    boot = read_boot(root)
    normal = entries_to_judge(boot)
    if not tool.expects or any(carries(entry.command_line, tool.expects) for entry in normal):
        return
    found = f"the first of {len(normal)} has: {normal[0].command_line}" if normal else "there is none at all"
    fact = f"{tool.argv[0]} ended well, but no boot entry has {' '.join(tool.expects)}, {found}; every file was put back"
    raise ApplyError(fact, hint=HINTS[boot.loader])
