# SPDX-License-Identifier: LGPL-2.1-or-later
"""What this machine is and what state it is in, as far as a plan needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class BootLoader(StrEnum):
    """Who passes the kernel its command line."""

    GRUB = "grub"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Kexec:
    """The kernel's own word on its crash reservation. None: this kernel does not tell, or not us."""

    reserved: int | None
    loaded: bool | None


@dataclass(frozen=True, kw_only=True)
class DumpSet:
    """What was loaded: the three things that make a dump kernel, and in which boot that happened."""

    kernel: str
    initrd: str
    command_line: str
    boot_id: str


@dataclass(frozen=True, kw_only=True)
class BootEntry:
    """One `linux` line of grub.cfg."""

    command_line: str
    recovery: bool


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder for crashes: does it exist, which mount holds it, how many bytes are free there."""

    path: str
    exists: bool
    mount_point: str
    free: int | None


@dataclass(frozen=True, kw_only=True)
class ManagedFile:
    """What is on the disk where kdumpd renders a file. `unreadable` says why it can't be compared."""

    content: str | None
    unreadable: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One look at the machine."""

    release: str
    boot_id: str
    command_line: str
    kexec: Kexec
    boot_loader: BootLoader
    boot_entries: tuple[BootEntry, ...] | None
    kernel_image: str | None
    image_digest: str | None
    images: tuple[str, ...]
    last_loaded: DumpSet | None
    stores: tuple[Store, ...]
    sysctls: Mapping[str, int]
    files: Mapping[str, ManagedFile]
    rendered: Mapping[str, str]
    templates: Mapping[str, str]
    missing_tools: tuple[str, ...]
