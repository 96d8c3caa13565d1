# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other programs that load a dump kernel when this machine starts, and so would load theirs over kdumpd's."""

from pathlib import Path

from kdumpd.files import exists, read_text

KDUMP_TOOLS = "kdump-tools.service"
# Debian's kdump-tools; kdump-utils of Fedora and SUSE's kdump, the latter in two parts; kdumpst and what it was before.
UNITS = (KDUMP_TOOLS, "kdump.service", "kdump-early.service", "kdumpst-init.service", "kdump-steamos.service")
KDUMPD = "kdumpd.service"
ADMINISTRATOR = Path("etc/systemd/system")
UNIT_FOLDERS = (ADMINISTRATOR, Path("usr/lib/systemd/system"), Path("lib/systemd/system"))


def read_enabled_units(root: Path) -> tuple[str, ...]:
    """Those that are enabled and not masked, as systemd.unit(5) has it, and that a boot starts although kdumpd is enabled too."""
    conflicts = _conflicts(root) if _is_enabled(root, KDUMPD) else ()
    return tuple(unit for unit in UNITS if _is_enabled(root, unit) and unit not in conflicts)


def _conflicts(root: Path) -> tuple[str, ...]:
    """What kdumpd.service conflicts with, by its drop-ins: systemd does not start that when it starts kdumpd."""
    files = (file for folder in UNIT_FOLDERS for file in (root / folder).glob(f"{KDUMPD}.d/*.conf"))
    lines = (line for file in files for line in (read_text(file) or "").splitlines())
    return tuple(unit for line in lines if line.startswith("Conflicts=") for unit in line.removeprefix("Conflicts=").split())


def _is_enabled(root: Path, unit: str) -> bool:
    wanted = any(_links(root / folder, unit) for folder in UNIT_FOLDERS)
    # A package that was removed but not purged leaves its link.
    return wanted and any(exists(root / folder / unit) for folder in UNIT_FOLDERS) and not _is_masked(root, unit)


def _links(folder: Path, unit: str) -> bool:
    # The link points to a path of the machine, not below `root`, so it may look broken.
    return any((wanting / unit).is_symlink() for kind in ("wants", "requires") for wanting in folder.glob(f"*.{kind}"))


def _is_masked(root: Path, unit: str) -> bool:
    path = root / ADMINISTRATOR / unit
    return path.is_symlink() and str(path.readlink()) == "/dev/null"
