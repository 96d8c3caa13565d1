# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the boot loader, and says by what."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdumpd.files import exists, read_text
from kdumpd.host import layout
from kdumpd.host.boot_entries import parse_grub_cfg, parse_loader_entry
from kdumpd.host.efi import Variable, read_variable
from kdumpd.host.facts import Boot, BootEntry, BootLoader, CrashkernelSource, InstalledKernel
from kdumpd.run import find_program

ESPS = (Path("boot"), Path("efi"), Path("boot/efi"))
GRUB_DEFAULTS = Path("etc/default/grub")
# A # begins a comment where a word begins: not in ${GRUB_CMDLINE_LINUX_DEFAULT#quiet}.
COMMENT = re.compile(r"(^|\s)#.*")


def read_boot(root: Path) -> Boot:
    """The boot loader that started this machine, and its entries."""
    if (name := _loader_info(root)).startswith("systemd-boot") and find_program("kernel-install"):
        return _systemd_boot(root, f"{name} says so in the firmware's LoaderInfo")
    if find_program("grubby") and exists(root / "boot/loader/entries"):
        return _grubby(root)
    if exists(root / GRUB_DEFAULTS) and find_program("update-grub"):
        return _grub(root)
    return Boot(loader=BootLoader.NONE, seen="no systemd-boot in LoaderInfo, no grubby with /boot/loader/entries, no update-grub")


def _grub(root: Path) -> Boot:
    text = read_text(root / layout.GRUB_CFG)
    return Boot(
        loader=BootLoader.GRUB,
        seen=f"update-grub and /{GRUB_DEFAULTS}",
        entries=None if text is None else parse_grub_cfg(text),
        other_sources=tuple(_other_sources(root)),
    )


def _grubby(root: Path) -> Boot:
    entries, files = _loader_entries(root, [Path("boot")])
    # grubby keeps what it says for kernels to come in one of these, which it may create.
    defaults = (GRUB_DEFAULTS, layout.KERNEL_CMDLINE, Path("boot/grub2/grubenv"))
    return Boot(
        loader=BootLoader.GRUBBY,
        seen="grubby and /boot/loader/entries",
        entries=entries,
        entry_files=(*files, *map(layout.absolute, defaults)),
    )


def _systemd_boot(root: Path, seen: str) -> Boot:
    entries, files = _loader_entries(root, ESPS)
    return Boot(
        loader=BootLoader.SYSTEMD_BOOT,
        seen=seen,
        entries=entries,
        entry_files=files,
        kernel_cmdline=read_text(root / layout.KERNEL_CMDLINE),
        kernels=tuple(_installed_kernels(root)),
    )


def _loader_entries(root: Path, places: Sequence[Path]) -> tuple[tuple[BootEntry, ...] | None, tuple[str, ...]]:
    folders = [root / place / "loader/entries" for place in places]
    try:
        files = sorted(file for folder in folders if folder.is_dir() for file in folder.glob("*.conf"))
        machine_id = (read_text(root / "etc/machine-id") or "").strip()
        entries = (parse_loader_entry(file.read_text(errors="replace"), file.name, machine_id) for file in files)
        found = tuple(entry for entry in entries if entry is not None)
    except PermissionError:
        return None, ()
    return found, tuple(f"/{file.relative_to(root)}" for file in files)


def _installed_kernels(root: Path) -> Iterator[InstalledKernel]:
    for folder in sorted((root / "lib/modules").glob("*")):
        if (image := kernel_image(root, folder.name)) is not None:
            yield InstalledKernel(folder.name, image)


def kernel_image(root: Path, release: str) -> str | None:
    """The image of a kernel that is installed, else None."""
    candidates = (Path("boot") / f"vmlinuz-{release}", Path("lib/modules") / release / "vmlinuz")
    return next((layout.absolute(path) for path in candidates if exists(root / path)), None)


def _loader_info(root: Path) -> str:
    return (read_variable(root, Variable.LOADER_INFO) or b"").decode("utf-16-le", errors="replace").rstrip("\0")


def _other_sources(root: Path) -> list[CrashkernelSource]:
    """In the order in which grub-mkconfig reads them: the main file, then the folder by name."""
    files = [root / GRUB_DEFAULTS, *sorted((root / layout.GRUB_DROP_IN).parent.glob("*.cfg"))]
    ours = root / layout.GRUB_DROP_IN
    return [
        CrashkernelSource(path=f"/{file.relative_to(root)}", later=file.parent == ours.parent and file.name > ours.name)
        for file in files
        if file != ours and any("crashkernel=" in COMMENT.sub("", line) for line in (read_text(file) or "").splitlines())
    ]
