# SPDX-License-Identifier: LGPL-2.1-or-later
"""What this machine is and what state it is in, as far as a plan needs to know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kdumpd.capture.status import Status
from kdumpd.host.hotplug import Hardware
from kdumpd.host.kernel_image import KernelImage
from kdumpd.host.memory_map import MemoryMap
from kdumpd.host.mounted import Mounted
from kdumpd.host.original import Original
from kdumpd.host.platform import Platform
from kdumpd.host.security import Security
from kdumpd.host.storage import Storage
from kdumpd.transaction import Generation


class BootLoader(StrEnum):
    """Who passes the kernel its command line."""

    GRUB = "GRUB"
    GRUBBY = "grubby"
    SYSTEMD_BOOT = "systemd-boot"
    NONE = "none"


class Generator(StrEnum):
    """Who makes the dump initrd."""

    INITRAMFS_TOOLS = "initramfs-tools"
    DRACUT = "dracut"


@dataclass(frozen=True, kw_only=True)
class Kexec:
    """The kernel's own word on its crash reservation. None: this kernel does not tell, or not us."""

    reserved: int | None
    loaded: bool | None


@dataclass(frozen=True, kw_only=True)
class DumpSet:
    """What was loaded: the three things that make a dump kernel, and in which boot that happened.

    What does not make it another dump kernel: `memory` and `cpus` are the hardware that it was told of, as in Hardware, empty in
    the record of an older kdumpd; `degraded` is why another one, which was wanted, could not be loaded, in the kernel's words.
    """

    kernel: str
    initrd: str
    command_line: str
    boot_id: str
    memory: str = field(default="", compare=False)
    cpus: str = field(default="", compare=False)
    degraded: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class BootEntry:
    """One kernel command line that the next boot may use."""

    command_line: str
    recovery: bool = False


@dataclass(frozen=True)
class InstalledKernel:
    """A kernel that may be booted, and its image."""

    release: str
    image: str


@dataclass(frozen=True, kw_only=True)
class CrashkernelSource:
    """A file that is not kdumpd's and sets crashkernel= too; `later`: it is read after kdumpd's, so it would win."""

    path: str
    later: bool


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The boot loader, by what it was recognised, and what it would do at the next boot.

    `entries` None: this user may not read them. `entry_files` are the files that hold them, where each has its own.
    `kernel_cmdline` is /etc/kernel/cmdline, None when it is not there.
    """

    loader: BootLoader
    seen: str
    entries: tuple[BootEntry, ...] | None = None
    entry_files: tuple[str, ...] = ()
    other_sources: tuple[CrashkernelSource, ...] = ()
    kernel_cmdline: str | None = None
    kernels: tuple[InstalledKernel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pstore:
    """Who keeps the kernel's last words. `active` is the backend that has it; `knows_reserve_mem`: ramoops has mem_name=."""

    active: str | None
    loaded: bool
    has_efi: bool
    has_erst: bool
    knows_reserve_mem: bool
    options: str | None


@dataclass(frozen=True, kw_only=True)
class KdumpTools:
    """Debian's kdump-tools: how it called kexec the last time, and whether that was in this boot.

    `own_settings` is its /etc/default/kdump-tools as the package brings it, where it had to lay that beside ours.
    """

    last_command: str | None
    loaded_in_this_boot: bool
    own_settings: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What decides how much memory a dump kernel needs here, and what it may have to save. Sizes in bytes, None where not known.

    `meminfo` is /proc/meminfo; what it says counts from now, not from the moment of a crash.
    """

    ram: int
    meminfo: Mapping[str, int]
    kernel: KernelImage | None
    initrd: int | None
    unpacked: int | None
    captures: tuple[Status, ...] | None


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder for crashes: does it exist, how many bytes are free there, what is it on.

    `folder` is the same folder as seen from the top of its file system. `mount` None: it is on what is mounted at /. `read_only`
    is how that is mounted now.
    """

    path: str
    folder: str
    exists: bool
    free: int | None
    read_only: bool = False
    mount: Mounted | None = None


@dataclass(frozen=True, kw_only=True)
class ManagedFile:
    """What is on the disk where kdumpd renders a file. `unreadable`: not for this user. `pristine`: as its package brought it."""

    content: str | None
    unreadable: bool = False
    pristine: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One look at the machine.

    `kernel_image` is the kernel for the dump: the policy's, or the one that runs; None when it is not there. `dump_release`
    is its release, None when it does not tell, and `has_modules` whether its modules are installed. `storage` is the way to
    the root file system, `root_obstacle` why an /init of a few lines could not mount it. `state` are the mounts on the way to
    /var/lib/kdumpd, but that of /. `images` are the names of the dump images that are there. `saved_copies` are files
    that `kdumpd apply --overwrite` has left beside those of kdumpd; `made_folders` are the folders that it has made, with the names
    in them.
    """

    release: str
    boot_id: str
    command_line: str
    platform: Platform
    kexec: Kexec
    security: Security
    boot: Boot
    sizing: Sizing
    memory_map: MemoryMap | None
    hardware: Hardware
    pstore: Pstore
    kdump_tools: KdumpTools | None
    kernel_image: str | None
    dump_release: str | None
    has_modules: bool
    storage: Storage | None
    root_obstacle: str
    state: tuple[Mounted, ...]
    generator: Generator | None
    image_digest: str | None
    images: tuple[str, ...]
    last_loaded: DumpSet | None
    stores: tuple[Store, ...]
    values: Mapping[str, str]
    files: Mapping[str, ManagedFile]
    rendered: Mapping[str, str]
    templates: Mapping[str, str]
    template_problem: tuple[str, str] | None
    previous: Generation | None
    original: Original
    saved_copies: frozenset[str]
    made_folders: Mapping[str, frozenset[str]]
    missing_tools: tuple[str, ...]

    @property
    def rescue_store(self) -> Store | None:
        """Where an initrd alone could save a log when the root file system is dead."""
        return find_rescue(self.stores)

    @property
    def store_modules(self) -> tuple[str, ...]:
        """What the ways to the stores take beside what the root takes."""
        return find_store_modules(self.stores, self.storage)


def find_rescue(stores: Iterable[Store]) -> Store | None:
    """The first store on another file system than the root's that takes nothing but mount(8)."""
    return next((store for store in stores if store.mount and not store.mount.on_root and not store.mount.obstacle), None)


def find_store_modules(stores: Iterable[Store], storage: Storage | None) -> tuple[str, ...]:
    """The modules on the way to each store that takes nothing but mount(8), without those on the way to the root.

    The others are left to systemd, whose udev loads what it needs off the root.
    """
    simple = (store.mount.storage for store in stores if store.mount and not store.mount.obstacle)
    needed = (module for way in simple if way for module in way.modules)
    known = storage.modules if storage else ()
    return tuple(dict.fromkeys(module for module in needed if module not in known))
