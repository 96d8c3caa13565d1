# SPDX-License-Identifier: LGPL-2.1-or-later
"""What crashkernel= this machine needs: computed line by line, or from what a dump kernel measured here.

The lines are added up, although not all of them are needed at the same moment. On the reference guest (kernel 6.1 cloud,
1 CPU, 2 GiB) that sum is where life begins: with an initrd of 5.7 MiB it is 95 MiB, by what was measured there, and the guest
dies at crashkernel=96M and lives at 112M. The margin comes on top of that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.capture.status import Status
from kdumpd.host.kernel_image import KernelImage
from kdumpd.units import GIB, KIB, MIB, approximate_size, format_size

# When the kernel image can't be read: init_size of Debian's 6.1 is 63.6 MiB, of its cloud kernel 51.5.
TYPICAL_KERNEL = 64 * MIB
# When the dump initrd is not built yet: with MODULES=dep the reference guest has 5.7 MiB, unpacked 14.9. This is more, but by
# less than KEEP_WITHIN, so that the first build does not ask for a second reboot.
TYPICAL_INITRD, TYPICAL_ROOTFS = 8 * MIB, 24 * MIB
# zstd packs the dump initrd of the reference guest to 1/2.6, its ordinary one to 1/3.9.
ROOTFS_PER_INITRD = 4
# 62 pages of per-CPU variables (6.1 says so in its log), slab caches and the stacks of the kernel's threads, rounded up.
PER_CPU = MIB
# makedumpfile keeps two bitmaps with a bit per page; when they get too large for it, it works in cycles on a part of them.
OLD_MEMORY_PER_BITMAP_BYTE, LARGEST_BITMAP = 4 * KIB * 8 // 2, 32 * MIB
# Queues and rings of real hardware. What there is can't be seen from here, but large machines have more of it: RHEL's
# defaults double from 256M to 512M at 64 GiB.
RAM_PER_DRIVER_BYTE, MOST_DRIVERS = 4 * KIB, 64 * MIB
# Peak of systemd, Python and makedumpfile, with the kernel's slabs for them: 33.5 MiB on the reference guest, six times.
USER_SPACE = 34 * MIB
# struct page: 64 bytes per 4 KiB. For a section of 128 MiB that has any memory at boot it is allocated whole (sparse_init_nid()
# in mm/sparse.c): 2 MiB for each end of the reservation, and 2 for the first MiB of the machine, which kexec hands on.
MAP_EDGES = 3 * 2 * MIB
# Others found 144M too little for a small real machine (a Steam Deck). To go lower takes a measurement, not a sum.
FLOOR = 160 * MIB
# Whatever was measured, no less: on this the reference guest lives, which is about as small as a machine can be.
MEASURED_FLOOR = 112 * MIB
# More than this, or than this part of the machine, no dump kernel has needed: RHEL reserves 512M at most on x86-64, and 256M of
# 2 GiB has room for anything that was seen. A status.json that says so is damaged.
MOST_MEASURED, RAM_PER_MEASURED_BYTE = GIB, 4
# What is in use is kept as long as it is at most this far above the need.
KEEP_WITHIN = 64 * MIB


class Source(StrEnum):
    """Where an estimate comes from."""

    COMPUTED = "computed"
    MEASURED = "measured"


@dataclass(frozen=True, kw_only=True)
class MeasuredPeak:
    """What one boot of a dump kernel on this machine had and used, in bytes: `total` is its MemTotal."""

    reserved: int
    total: int
    peak_used: int


@dataclass(frozen=True, kw_only=True)
class EstimateInputs:
    """What the need depends on. `initrd` is its size on the disk, `rootfs` unpacked, `cpus` those of the dump kernel; `unlock` is
    what it takes to open an encrypted root.
    """

    kernel: KernelImage | None
    initrd: int | None
    rootfs: int | None
    cpus: int
    ram: int
    measured: MeasuredPeak | None = None
    unlock: int = 0


@dataclass(frozen=True)
class EstimateLine:
    """One part of the need, in bytes, and the reason for it."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The need line by line. `step` is what the total is rounded up to, `floor` what it never falls below."""

    source: Source
    lines: tuple[EstimateLine, ...]
    margin: EstimateLine
    step: int
    floor: int = 0

    @property
    def sum(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def need(self) -> int:
        """The least that is safe, not rounded."""
        return max(self.sum + self.margin.bytes, self.floor)

    @property
    def total(self) -> int:
        """What to ask the kernel for."""
        return -(-self.need // self.step) * self.step

    def __str__(self) -> str:
        reason = f"rounded up to {format_size(self.step)}" + (f", at least {format_size(self.floor)}" if self.floor else "")
        rows = [*self.lines, EstimateLine("sum", self.sum, ""), self.margin, EstimateLine("total", self.total, reason)]
        width = max(len(row.name) for row in rows)
        table = [f"{row.name:{width}}  {row.bytes / MIB:6.1f}M  {row.why}".rstrip() for row in rows]
        return "\n".join([*table, f"crashkernel={self.crashkernel}"])

    @property
    def crashkernel(self) -> str:
        """The value to ask the kernel for."""
        return format_size(self.total)


def estimate(inputs: EstimateInputs) -> Estimate:
    """What to reserve. A measurement replaces all that it covers: it knows this machine's hardware."""
    if found := inputs.measured:
        lines: tuple[EstimateLine, ...] = (
            EstimateLine("kernel", found.reserved - found.total, f"kept for itself, of {format_size(found.reserved)}: measured"),
            EstimateLine("peak", found.peak_used, "the most in use while that crash was captured: measured"),
            *_initrd_lines(inputs),
            *_unlock_line(inputs, later=found.peak_used),
        )
        # Crashes differ: in the state that the hardware was left in, in the length of the log.
        margin = _margin(lines, least=24 * MIB, why="the next crash may take more")
        return Estimate(source=Source.MEASURED, lines=lines, margin=margin, step=16 * MIB, floor=MEASURED_FLOOR)
    lines = _computed_lines(inputs)
    # A quarter of a small machine's sum would be too little for one driver that is larger than guessed.
    margin = _margin(lines, least=32 * MIB, why="what cannot be computed")
    return Estimate(source=Source.COMPUTED, lines=lines, margin=margin, step=32 * MIB, floor=FLOOR)


def keep_or_change(current: int | None, estimate: Estimate) -> int:
    """What to ask for when `current` is asked for now: the same, unless it is too little or far too much.

    Every change takes a reboot, and an initrd grows and shrinks a little with every update.
    """
    if current is not None and estimate.need <= current <= estimate.need + KEEP_WITHIN:
        return current
    return estimate.total


def measured_peak(captures: Iterable[Status], release: str, *, ram: int) -> MeasuredPeak | None:
    """The newest measurement of a capture that worked, under this kernel release, and that can be one of so much RAM."""
    most = min(MOST_MEASURED, ram // RAM_PER_MEASURED_BYTE)
    fit = (capture for capture in captures if capture.dmesg_saved and capture.kernel == release)
    for capture in sorted(fit, key=lambda capture: capture.started, reverse=True):
        given, total, peak = (
            KIB * size for size in (capture.memory_kib.given, capture.memory_kib.total, capture.memory_kib.peak_used)
        )
        # Zeros when /proc could not be read.
        if 0 < peak <= total < given <= ram and given - total + peak <= most:
            return MeasuredPeak(reserved=given, total=total, peak_used=peak)
    return None


def _computed_lines(inputs: EstimateInputs) -> tuple[EstimateLine, ...]:
    kernel = inputs.kernel.room if inputs.kernel else TYPICAL_KERNEL
    said = "its init_size" if inputs.kernel and inputs.kernel.init_size else "guessed"
    bitmap = min(inputs.ram // OLD_MEMORY_PER_BITMAP_BYTE, LARGEST_BITMAP)
    drivers = min(inputs.ram // RAM_PER_DRIVER_BYTE, MOST_DRIVERS)
    lines = (
        EstimateLine("kernel image", kernel, f"text, data and room to unpack itself ({said})"),
        EstimateLine("CPUs", PER_CPU * inputs.cpus, f"per-CPU memory and threads, for {inputs.cpus}"),
        EstimateLine("drivers", drivers, f"a guess by the machine's memory, {approximate_size(inputs.ram)}"),
        *_initrd_lines(inputs),
        EstimateLine("user space", USER_SPACE, "systemd, Python, makedumpfile: a measured peak"),
        *_unlock_line(inputs, later=USER_SPACE),
        EstimateLine("bitmaps", bitmap, f"makedumpfile: 2 bits for each page of {approximate_size(inputs.ram)}"),
    )
    # Of the whole reservation, this line and the margin included: (x + x/50) * 1.25 / 64 is x/50.
    memory_map = sum(line.bytes for line in lines) // 50 + MAP_EDGES
    return (*lines, EstimateLine("memory map", memory_map, "page tables: 1/64 of the reservation, in whole sections of 128M"))


def _initrd_lines(inputs: EstimateInputs) -> tuple[EstimateLine, ...]:
    # A measurement begins with the capture. Where that is under systemd, the initrd is gone by then; where it is in the initrd, its
    # files are measured and come in twice, a few megabytes that nobody misses.
    initrd, why = (TYPICAL_INITRD, "a typical one: none is built yet") if inputs.initrd is None else (inputs.initrd, "as loaded")
    guess = TYPICAL_ROOTFS if inputs.initrd is None else ROOTFS_PER_INITRD * initrd
    rootfs, guessed = (guess, " (guessed)") if inputs.rootfs is None else (inputs.rootfs, "")
    return EstimateLine("initrd", initrd, why), EstimateLine("its files", rootfs, f"unpacked, all in memory{guessed}")


def _unlock_line(inputs: EstimateInputs, *, later: int) -> tuple[EstimateLine, ...]:
    """Opening a volume is over before what runs `later` begins: only what it takes beyond that counts."""
    if inputs.unlock <= later:
        return ()
    why = f"to open the root takes {approximate_size(inputs.unlock)} (Argon2), so much more than what runs later"
    return (EstimateLine("LUKS", inputs.unlock - later, why),)


def _margin(lines: tuple[EstimateLine, ...], *, least: int, why: str) -> EstimateLine:
    size = max(sum(line.bytes for line in lines) // 4, least)
    return EstimateLine("margin", size, f"25 %, at least {format_size(least)}: {why}")
