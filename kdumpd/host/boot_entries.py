# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what boot loaders would do at the next boot. Never changes it."""

import re

from kdumpd.host.facts import BootEntry

# What Debian's 10_linux adds to the entries that it titles "(recovery mode)".
RECOVERY_WORDS = frozenset({"single", "recovery", "dis_ucode_ldr"})
RESCUE = "-rescue-"


def parse_grub_cfg(grub_cfg: str) -> tuple[BootEntry, ...]:
    """Every `linux` line of a grub.cfg, in its order. Chain loaders and firmware entries have none."""
    entries = []
    for line in grub_cfg.splitlines():
        command, _kernel, *arguments = [*line.split(), "", ""]
        if command in ("linux", "linux16", "linuxefi"):
            words = " ".join(arguments).strip()
            # GRUB's own quoting: a backslash keeps the next character as it is.
            unquoted = re.sub(r"\\(.)", r"\1", words)
            entries.append(BootEntry(command_line=unquoted, recovery=bool(RECOVERY_WORDS.intersection(arguments))))
    return tuple(entries)


def parse_loader_entry(text: str, name: str) -> BootEntry:
    """One entry of the Boot Loader Specification: a file of `key value` lines, in which `options` may be repeated."""
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    options = [line[1].strip() for line in lines if len(line) > 1 and line[0] == "options"]
    return BootEntry(command_line=" ".join(options), recovery=RESCUE in name)
