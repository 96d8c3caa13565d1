# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what boot loaders would do at the next boot. Never changes it."""

import re

from kdumpd.host.facts import BootEntry

# What Debian's 10_linux adds to the entries that it titles "(recovery mode)".
RECOVERY_WORDS = frozenset({"single", "recovery", "dis_ucode_ldr"})
# dracut's own entry is MACHINE-ID-0-rescue.conf.
RESCUE = "-rescue"
# What grub-mkconfig wraps around what each of its scripts has printed; these two make entries of this system's kernels, by
# GRUB_CMDLINE_LINUX and _DEFAULT. memtest86+ and os-prober print `linux` lines as well.
SECTION = re.compile(r"### (BEGIN|END) /etc/grub\.d/(\S+) ###")
OUR_SECTIONS = frozenset({"10_linux", "20_linux_xen"})


def parse_grub_cfg(grub_cfg: str) -> tuple[BootEntry, ...]:
    """Every `linux` line of a grub.cfg for this system, in its order. Chain loaders and firmware entries have none."""
    entries = []
    section = None
    for line in grub_cfg.splitlines():
        if mark := SECTION.match(line):
            section = mark[2] if mark[1] == "BEGIN" else None
        command, _kernel, *arguments = [*line.split(), "", ""]
        if command in ("linux", "linux16", "linuxefi") and (section is None or section in OUR_SECTIONS):
            words = " ".join(arguments).strip()
            # GRUB's own quoting: a backslash keeps the next character as it is.
            unquoted = re.sub(r"\\(.)", r"\1", words)
            entries.append(BootEntry(command_line=unquoted, recovery=bool(RECOVERY_WORDS.intersection(arguments))))
    return tuple(entries)


def parse_loader_entry(text: str, name: str, machine_id: str) -> BootEntry | None:
    """One entry of the Boot Loader Specification: a file of `key value` lines, in which `options` may be repeated.

    None when it starts no Linux, or that of another system on the same disk.
    """
    pairs = [(words[0], words[1].strip()) for line in text.splitlines() if len(words := line.split(maxsplit=1)) > 1]
    first = dict(reversed(pairs))
    if "linux" not in first or (machine_id and first.get("machine-id", machine_id) != machine_id):
        return None
    options = [value for key, value in pairs if key == "options"]
    return BootEntry(command_line=" ".join(options), recovery=RESCUE in name)
