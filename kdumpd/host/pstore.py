# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at the kernel's store for last words."""

from pathlib import Path

from kdumpd.errors import ToolError
from kdumpd.files import exists, read_text
from kdumpd.host import layout
from kdumpd.host.facts import Pstore
from kdumpd.run import run

MODINFO_TIMEOUT = 10.0


def read_pstore(root: Path, release: str, *, asks_ramoops: bool) -> Pstore:
    """Which backend has pstore, and if somebody asks for it, what ramoops can do in this kernel."""
    active = read_text(root / "sys/module/pstore/parameters/backend")
    return Pstore(
        active=active.strip() if active is not None else None,
        loaded=exists(root / "sys/module/ramoops"),
        has_efi=exists(root / "sys/firmware/efi"),
        has_erst=exists(root / "sys/firmware/acpi/tables/ERST"),
        knows_reserve_mem=asks_ramoops and _knows_reserve_mem(root, release),
        options=read_text(root / layout.RAMOOPS_OPTIONS),
    )


def _knows_reserve_mem(root: Path, release: str) -> bool:
    """Linux 6.12 gave the kernel reserve_mem= and ramoops its mem_name= for it; that one can be asked for."""
    if exists(root / "sys/module/ramoops/parameters"):
        return exists(root / "sys/module/ramoops/parameters/mem_name")
    try:
        return "mem_name:" in run(["modinfo", "-k", release, "-F", "parm", "ramoops"], timeout=MODINFO_TIMEOUT).stdout
    except ToolError:
        return False
