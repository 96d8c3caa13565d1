# SPDX-License-Identifier: LGPL-2.1-or-later
"""The range of RAM in which ramoops keeps crash records over a reboot: where it is, and who must be told."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kdumpd.errors import HostError
from kdumpd.host.facts import Facts
from kdumpd.host.memory_map import MemoryMap, MemoryRange
from kdumpd.parameters import tokenize, values
from kdumpd.policy.model import RamoopsPolicy
from kdumpd.units import GIB, KIB, MIB, approximate_size, format_size

BACKEND = "ramoops"
PAGE = 4 * KIB
# The direct map is made of pages of this size, and KASLR moves the kernel in steps of it (CONFIG_PHYSICAL_ALIGN): a
# region that fills whole ones splits no large page and costs no more slots than it must.
LARGE_PAGE = 2 * MIB
# A kernel that KASLR does not move, and every kernel while it unpacks itself, fills some 60 MiB from 16 MiB upwards;
# 256 MiB are far away from that, 32 MiB is where a small machine must begin to search.
HIGH_ENOUGH, LOWEST = 256 * MIB, 32 * MIB
# The kernel takes names of less than 16 bytes (mm/memblock.c, RESERVE_MEM_NAME_SIZE).
RESERVE_MEM_NAME = "kdumpd"
# reserve_mem= allocates top-down after everything that came earlier in this boot; a coarse alignment swallows most of
# what differs from boot to boot, so that the records are found where they were left.
RESERVE_MEM_ALIGNMENT = 32 * MIB
# What /sys/module/pstore/parameters/backend shows for a NULL pointer.
NO_BACKEND = "(null)"
# In the options that were rendered the last time.
EARLIER_ADDRESS = re.compile(r"\bmem_address=(0x[0-9a-f]+)")
AUTO_HINT = "leave out pstore.ramoops.address, then kdumpd chooses a free range"


@dataclass(frozen=True, kw_only=True)
class Region:
    """What the kernel and the module are told. `address` None: the kernel finds a place by itself, and remembers it by name."""

    address: int | None
    size: int
    parameter: str
    options: Mapping[str, str | int]


def plan_region(policy: RamoopsPolicy, facts: Facts) -> Region:
    """
    Raises:
        HostError: ramoops would not work on this machine, and why.
    """
    disabled = values(facts.command_line, "efi_pstore.pstore_disable")
    check_competing_backend(
        active_backend=facts.pstore.active,
        chosen_backend=next(reversed(values(facts.command_line, "pstore.backend")), None),
        has_efi=facts.pstore.has_efi,
        has_erst=facts.pstore.has_erst,
        efi_disabled=any(value.lower() in ("1", "y", "yes", "on", "") for value in disabled),
    )
    size = region_size(policy)
    if facts.pstore.knows_reserve_mem and policy.address is None:
        return Region(address=None, size=size, parameter=reserve_mem_parameter(size), options=module_options(policy, None))
    found = EARLIER_ADDRESS.search(facts.pstore.options or "")
    address = choose_address(policy, facts.memory_map, int(found[1], 16) if found else None)
    options = module_options(policy, address)
    return Region(address=address, size=size, parameter=memmap_parameter(size, address), options=options)


def may_be_loaded(region: Region, facts: Facts) -> bool:
    """Whether the running kernel was booted with the region set aside; else the module would write over memory in use."""
    if region.parameter not in tokenize(facts.command_line):
        return False
    if region.address is None:
        return True
    return facts.memory_map is not None and reserved_now(region.size, region.address, facts.memory_map)


def region_size(policy: RamoopsPolicy) -> int:
    """The bytes to reserve: a power of two, because ramoops.rst still says that it rounds any other size down to one."""
    return 1 << (policy.size - 1).bit_length()


def choose_address(policy: RamoopsPolicy, memory_map: MemoryMap | None, earlier: int | None) -> int:
    """Where the region goes: the given address, else the `earlier` one while it is good, else the first good candidate.

    Raises:
        HostError: the given address is no good, no range is free, or the memory map is not known.
    """
    if memory_map is None:
        raise HostError("cannot tell where this machine has free memory: /proc/iomem shows no addresses", hint="run this as root")
    size = region_size(policy)
    if policy.address is not None:
        if objection := _objection(policy.address, size, memory_map):
            raise objection
        return policy.address
    places = [*([] if earlier is None else [earlier]), *_candidates(memory_map.ram, size)]
    free = next((place for place in places if not _objection(place, size, memory_map)), None)
    if free is None:
        fact = f"no {format_size(size)} of free memory for ramoops in {approximate_size(memory_map.total)} of RAM"
        expected = f"expected it at {format_size(LOWEST)} or above, in the lower half of the RAM below 4G"
        raise HostError(f"{fact}, {expected}", hint="make pstore.ramoops.size smaller, or name a range in pstore.ramoops.address")
    return free


def reserved_now(size: int, address: int, memory_map: MemoryMap) -> bool:
    """Whether the running kernel leaves the region alone, so that the module may be loaded."""
    # ramoops never asks: it maps and overwrites RAM in use as well (fs/pstore/ram_core.c, persistent_ram_buffer_map).
    return not any(memory.overlaps(_region(address, size)) for memory in memory_map.usable)


def memmap_parameter(size: int, address: int) -> str:
    """The parameter as it must reach /proc/cmdline; a boot loader may want the `$` escaped."""
    return f"memmap={format_size(size)}${address:#x}"


def reserve_mem_parameter(size: int) -> str:
    """The parameter with which the kernel (from 6.11 on) finds a place by itself, and remembers it by name."""
    return f"reserve_mem={format_size(size)}:{format_size(RESERVE_MEM_ALIGNMENT)}:{RESERVE_MEM_NAME}"


def module_options(policy: RamoopsPolicy, address: int | None) -> dict[str, str | int]:
    """Options of the module; without an address for the region that reserve_mem= has named."""
    # mem_name brings its own size. With mem_size beside it, a name that the kernel does not know would not end in no
    # region at all but in one at address 0 (fs/pstore/ram.c, ramoops_register_dummy).
    place: dict[str, str | int] = (
        {"mem_name": RESERVE_MEM_NAME} if address is None else {"mem_address": f"{address:#x}", "mem_size": region_size(policy)}
    )
    return {
        **place,
        "record_size": policy.record_size,
        # Debian builds none of these front ends; each would still take its default 4 KiB.
        "console_size": 0,
        "ftrace_size": 0,
        "pmsg_size": 0,
        "max_reason": 2,  # KMSG_DUMP_OOPS: panics and oopses
        "ecc": 1,  # means 16 bytes of it per block; RAM loses bits while nobody refreshes it
    }


def check_competing_backend(
    *, active_backend: str | None, chosen_backend: str | None, has_efi: bool, has_erst: bool, efi_disabled: bool = False
) -> None:
    """Whether ramoops will get pstore, which takes one backend only (fs/pstore/platform.c, pstore_register).

    `active_backend` is None when it can't be told; `chosen_backend` is the pstore.backend= of the command line, and
    `efi_disabled` its efi_pstore.pstore_disable.

    Raises:
        HostError: another backend has it, or would have it at the next boot.
    """
    if chosen_backend == BACKEND:
        return
    if chosen_backend is not None:
        fact = f'the kernel command line has pstore.backend={chosen_backend}, expected "{BACKEND}" or nothing'
        raise HostError(fact, hint=f"set pstore.ramoops: off; or boot with pstore.backend={BACKEND}")
    if active_backend not in (None, NO_BACKEND, BACKEND):
        raise _lost_to(active_backend, f'pstore already has the backend "{active_backend}", a second one is refused by the kernel')
    if has_erst and active_backend is None:
        # Built in, so before any module; where the active backend is known and not this, it was disabled.
        raise _lost_to("erst", 'the firmware has an error record store, so the backend "erst" comes before ramoops')
    if has_efi and not efi_disabled:
        # udev and systemd-pstore.service both load efi_pstore: a race at best, even where ramoops has won it this time.
        raise _lost_to("efi", "this machine was started by UEFI, so efi_pstore is loaded by itself and can come before ramoops")


def _lost_to(name: str | None, fact: str) -> HostError:
    return HostError(fact, hint=f"set pstore.ramoops: off, {name} keeps crash records too; or boot with pstore.backend={BACKEND}")


def _candidates(ram: Sequence[MemoryRange], size: int) -> Iterator[int]:
    """Good places, best first.

    They depend on nothing but the firmware's map. Where KASLR has put the kernel in this boot does not matter for the
    next one, in which it avoids our memmap= (arch/x86/boot/compressed/kaslr.c); only a place that is taken right now
    is passed over. All are in the lower half of the RAM below 4 GiB: crashkernel=, the initrd and the boot loader's heap
    come down from its top. On a small machine the search goes down from the middle, away from the kernel as well.
    """
    middle = _middle(ram)
    yield from _places(ram, size, HIGH_ENOUGH, middle)
    yield from reversed([*_places(ram, size, LOWEST, min(middle, HIGH_ENOUGH))])


def _middle(ram: Sequence[MemoryRange]) -> int:
    return max((min(memory.end, 4 * GIB) for memory in ram if memory.start < 4 * GIB), default=0) // 2


def _places(ram: Sequence[MemoryRange], size: int, low: int, high: int) -> Iterator[int]:
    step = max(size, LARGE_PAGE)
    for memory in ram:
        first = -(-max(memory.start, low) // step) * step
        yield from range(first, min(memory.end, high) - size + 1, step)


def _region(address: int, size: int) -> MemoryRange:
    return MemoryRange(start=address, end=address + size, kind=BACKEND)


def _objection(address: int, size: int, memory_map: MemoryMap) -> HostError | None:
    region = _region(address, size)
    if address % PAGE:
        fact = f"the address {address:#x} for ramoops is not aligned to {format_size(PAGE)}"
        return HostError(fact, hint=f"use {address - address % PAGE:#x}")
    if not any(memory.contains(region) for memory in memory_map.ram):
        large = ", ".join(str(memory) for memory in memory_map.ram if memory.end - memory.start >= size)
        hint = f"there is RAM for {format_size(size)} at {large}" if large else "make pstore.ramoops.size smaller"
        return HostError(f"the range {region} for ramoops is not inside RAM", hint=hint)
    for taken, owner in _taken(memory_map):
        if region.overlaps(taken):
            return HostError(f"the range {region} for ramoops overlaps {owner} at {taken}", hint=AUTO_HINT)
    return None


def _taken(memory_map: MemoryMap) -> Iterator[tuple[MemoryRange, str]]:
    yield from ((crash, "the crash reservation") for crash in memory_map.crash)
    if kernel := memory_map.kernel:
        # From the first part to the last: what /proc/iomem leaves out between them is the kernel's too while it starts.
        whole = MemoryRange(start=min(part.start for part in kernel), end=max(part.end for part in kernel), kind="kernel")
        yield whole, "the running kernel"
