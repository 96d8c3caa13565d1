# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what update-grub wrote. Never changes it: /etc/default/grub.d is the way in."""

from kdumpd.host.facts import BootEntry

# What Debian's 10_linux adds to the entries that it titles "(recovery mode)".
RECOVERY_WORDS = frozenset({"single", "recovery", "dis_ucode_ldr"})


def parse_boot_entries(grub_cfg: str) -> tuple[BootEntry, ...]:
    """Every `linux` line of a grub.cfg, in its order. Chain loaders and firmware entries have none."""
    entries = []
    for line in grub_cfg.splitlines():
        command, _kernel, *arguments = [*line.split(), "", ""]
        if command in ("linux", "linux16", "linuxefi"):
            entries.append(
                BootEntry(command_line=" ".join(arguments).strip(), recovery=bool(RECOVERY_WORDS.intersection(arguments)))
            )
    return tuple(entries)
