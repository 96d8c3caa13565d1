# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel modules as /lib/modules and /sys name them."""

from pathlib import Path

from kdumpd.files import exists, read_text


def module_name(path: str) -> str:
    """The name by which the kernel knows a module file, packed or not: "…/aesni-intel.ko.xz" is aesni_intel."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def builtin_modules(root: Path, release: str) -> frozenset[str]:
    """The modules that a kernel has inside."""
    text = read_text(root / "lib/modules" / release / "modules.builtin") or ""
    return frozenset(module_name(line) for line in text.splitlines())


def is_loaded(root: Path, name: str) -> bool:
    """Whether a module is loaded now. A built-in one may be in /sys/module too, but has no initstate."""
    return exists(root / "sys/module" / name / "initstate")
