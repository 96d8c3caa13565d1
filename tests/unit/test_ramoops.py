# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.apply.apply import apply_plan
from kdumpd.errors import HostError
from kdumpd.host.memory_map import MemoryMap, MemoryRange, parse_iomem, read_memory_map
from kdumpd.plan.make import make_plan
from kdumpd.plan.ramoops import (
    check_competing_backend,
    choose_address,
    memmap_parameter,
    module_options,
    region_size,
    reserve_mem_parameter,
    reserved_now,
)
from kdumpd.policy.model import Policy, PstorePolicy, RamoopsPolicy
from kdumpd.units import GIB, KIB, MIB
from tests.unit.fakes import COMMAND_LINE, POLICY, FakeMachine, Stubs

# QEMU q35 with 2 GiB and OVMF; KASLR has put the kernel at 0x2c000000.
SMALL_IOMEM = """\
00000000-00000fff : Reserved
00001000-0009ffff : System RAM
000a0000-000fffff : Reserved
  000a0000-000bffff : PCI Bus 0000:00
  000f0000-000fffff : System ROM
00100000-007fffff : System RAM
00800000-00807fff : ACPI Non-volatile Storage
00808000-0080afff : System RAM
0080b000-0080bfff : ACPI Non-volatile Storage
0080c000-00810fff : System RAM
00811000-008fffff : ACPI Non-volatile Storage
00900000-7e8ecfff : System RAM
  2c000000-2d20bb07 : Kernel code
  2d400000-2de09fff : Kernel rodata
  2e000000-2e27c13f : Kernel data
  2eb34000-2ec57fff : Kernel bss
  6f000000-7affffff : Crash kernel
7e8ed000-7eb6cfff : Reserved
7eb6d000-7eb7efff : ACPI Tables
7eb7f000-7ebfefff : ACPI Non-volatile Storage
7ebff000-7eef3fff : System RAM
7eef4000-7ef77fff : Reserved
7ef78000-7effffff : ACPI Non-volatile Storage
80000000-afffffff : PCI Bus 0000:00
b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]
  b0000000-bfffffff : Reserved
    b0000000-bfffffff : pnp 00:04
c0000000-febfffff : PCI Bus 0000:00
fec00000-fec003ff : IOAPIC 0
fee00000-fee00fff : Local APIC
"""

# A server with 64 GiB, most of it above 4 GiB; the kernel is there too, and the crash reservation has two parts.
BIG_IOMEM = """\
00000000-00000fff : Reserved
00001000-0009ffff : System RAM
000a0000-000fffff : Reserved
00100000-5b0fefff : System RAM
  4a000000-59ffffff : Crash kernel
5b0ff000-6f2fefff : Reserved
6f2ff000-6f7fefff : ACPI Non-volatile Storage
6f7ff000-6fffffff : System RAM
70000000-8fffffff : Reserved
  80000000-8fffffff : PCI ECAM 0000 [bus 00-ff]
90000000-c7ffffff : PCI Bus 0000:00
100000000-105fffffff : System RAM
  8f4000000-8f5201fff : Kernel code
  8f5400000-8f5e09fff : Kernel rodata
  8f6000000-8f627c13f : Kernel data
  8f6b34000-8f6c57fff : Kernel bss
  ff2000000-1051ffffff : Crash kernel
"""

HIDDEN_IOMEM = """\
00000000-00000000 : Reserved
00000000-00000000 : System RAM
  00000000-00000000 : Kernel code
"""


def memory_of(root: Path, iomem: str, firmware: tuple[MemoryRange, ...] = ()) -> MemoryMap | None:
    """The memory map of a machine with this /proc/iomem, and with this map of its firmware if it has one."""
    (root / "proc").mkdir()
    (root / "proc/iomem").write_text(iomem)
    for number, memory in enumerate(firmware):
        folder = root / f"sys/firmware/memmap/{number}"
        folder.mkdir(parents=True)
        (folder / "start").write_text(f"{memory.start:#x}\n")
        (folder / "end").write_text(f"{memory.end - 1:#x}\n")
        (folder / "type").write_text(f"{memory.kind}\n")
    return read_memory_map(root)


def ram(start: int, end: int) -> MemoryRange:
    return MemoryRange(start=start, end=end, kind="System RAM")


def kernel(start: int, end: int) -> MemoryRange:
    return MemoryRange(start=start, end=end, kind="Kernel code")


def crash(start: int, end: int) -> MemoryRange:
    return MemoryRange(start=start, end=end, kind="Crash kernel")


def memory_map(*memory: MemoryRange, kernel: tuple[MemoryRange, ...] = (), crash: tuple[MemoryRange, ...] = ()) -> MemoryMap:
    return MemoryMap(ram=memory, usable=memory, kernel=kernel, crash=crash)


def refusal(policy: RamoopsPolicy, memory: MemoryMap | None) -> str:
    with pytest.raises(HostError) as caught:
        choose_address(policy, memory, None)
    return str(caught.value)


def test_iomem_entries_keep_their_depth_and_their_name() -> None:
    entries = parse_iomem(SMALL_IOMEM)

    assert entries is not None
    assert [(entry.depth, str(entry.range), entry.range.kind) for entry in entries[-6:-3]] == [
        (0, "0xb0000000-0xbfffffff", "PCI ECAM 0000 [bus 00-ff]"),
        (1, "0xb0000000-0xbfffffff", "Reserved"),
        (2, "0xb0000000-0xbfffffff", "pnp 00:04"),
    ]


def test_a_memory_map_has_ram_the_kernel_and_the_crash_reservation(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, SMALL_IOMEM)

    assert memory is not None
    assert [str(found) for found in memory.ram if found.end - found.start > MIB] == [
        "0x100000-0x7fffff",
        "0x900000-0x7e8ecfff",
        "0x7ebff000-0x7eef3fff",
    ]
    assert [found.kind for found in memory.kernel] == ["Kernel code", "Kernel rodata", "Kernel data", "Kernel bss"]
    assert memory.crash == (crash(0x6F000000, 0x7B000000),)
    assert 2 * GIB - 32 * MIB < memory.total < 2 * GIB


def test_a_crash_reservation_can_have_two_parts(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, BIG_IOMEM)

    assert memory is not None
    assert memory.crash == (crash(0x4A000000, 0x5A000000), crash(0xFF2000000, 0x1052000000))


@pytest.mark.parametrize("iomem", [HIDDEN_IOMEM, ""], ids=["every address is zero", "nothing there"])
def test_memory_that_is_hidden_from_this_user_is_unknown(tmp_path: Path, iomem: str) -> None:
    assert memory_of(tmp_path, iomem) is None


def test_the_map_of_the_firmware_still_has_what_memmap_took_from_the_kernel(tmp_path: Path) -> None:
    after_reboot = "00001000-0fffffff : System RAM\n10000000-101fffff : Reserved\n10200000-7fffffff : System RAM\n"
    firmware = (ram(0x100000, 2 * GIB), MemoryRange(start=0xA0000, end=0x100000, kind="Reserved"), ram(0, 0xA0000))

    memory = memory_of(tmp_path, after_reboot, firmware)

    assert memory is not None
    assert memory.ram == (ram(0, 0xA0000), ram(0x100000, 2 * GIB))
    assert memory.usable == (ram(0x1000, 0x10000000), ram(0x10200000, 2 * GIB))
    assert choose_address(RamoopsPolicy(), memory, None) == 0x10000000


@pytest.mark.parametrize("iomem", [SMALL_IOMEM, BIG_IOMEM], ids=["2 GiB", "64 GiB"])
def test_the_region_goes_to_256_mib(tmp_path: Path, iomem: str) -> None:
    assert choose_address(RamoopsPolicy(), memory_of(tmp_path, iomem), None) == 0x10000000


@pytest.mark.parametrize(("size", "address"), [(512, 254), (256, 126), (128, 62)])
def test_a_small_machine_has_it_just_below_the_middle(size: int, address: int) -> None:
    assert choose_address(RamoopsPolicy(), memory_map(ram(MIB, size * MIB)), None) == address * MIB


def test_the_region_is_aligned_to_its_size() -> None:
    memory = memory_map(ram(258 * MIB, 2 * GIB))

    assert choose_address(RamoopsPolicy(size=2 * MIB), memory, None) == 258 * MIB
    assert choose_address(RamoopsPolicy(size=8 * MIB), memory, None) == 264 * MIB


def test_a_size_that_is_no_power_of_two_is_rounded_up() -> None:
    assert region_size(RamoopsPolicy(size=3 * MIB)) == 4 * MIB
    assert region_size(RamoopsPolicy(size=4 * MIB)) == 4 * MIB


def test_the_region_does_not_cross_a_hole() -> None:
    memory = memory_map(ram(MIB, 257 * MIB), ram(259 * MIB, 2 * GIB))

    assert choose_address(RamoopsPolicy(), memory, None) == 260 * MIB


def test_the_choice_does_not_follow_the_kernel_around() -> None:
    places = (16 * MIB, 300 * MIB, GIB)

    chosen = {
        choose_address(RamoopsPolicy(), memory_map(ram(MIB, 2 * GIB), kernel=(kernel(at, at + 60 * MIB),)), None) for at in places
    }

    assert chosen == {256 * MIB}


def test_a_place_that_is_taken_now_is_passed_over_for_the_next_one() -> None:
    here = kernel(250 * MIB, 259 * MIB)
    there = crash(260 * MIB, 452 * MIB)

    memory = memory_map(ram(MIB, 2 * GIB), kernel=(here,), crash=(there,))

    assert choose_address(RamoopsPolicy(), memory, None) == 452 * MIB


def test_what_lies_between_the_parts_of_the_kernel_is_taken_too() -> None:
    parts = (kernel(250 * MIB, 254 * MIB), kernel(270 * MIB, 271 * MIB))

    assert choose_address(RamoopsPolicy(), memory_map(ram(MIB, 2 * GIB), kernel=parts), None) == 272 * MIB


def test_the_earlier_address_is_kept_as_long_as_it_is_good() -> None:
    assert choose_address(RamoopsPolicy(), memory_map(ram(MIB, 2 * GIB)), 300 * MIB) == 300 * MIB


@pytest.mark.parametrize("earlier", [3 * GIB, 1200 * MIB], ids=["the RAM is gone", "the crash reservation is there now"])
def test_an_earlier_address_that_is_no_good_any_more_is_left(earlier: int) -> None:
    memory = memory_map(ram(MIB, 2 * GIB), crash=(crash(1100 * MIB, 1300 * MIB),))

    assert choose_address(RamoopsPolicy(), memory, earlier) == 256 * MIB


def test_a_given_address_wins_over_everything() -> None:
    policy = RamoopsPolicy(address=0x40001000)

    assert choose_address(policy, memory_map(ram(MIB, 2 * GIB)), 300 * MIB) == 0x40001000


def test_an_unknown_memory_map_is_refused() -> None:
    assert refusal(RamoopsPolicy(), None) == (
        "cannot tell where this machine has free memory: /proc/iomem shows no addresses\nhint: run this as root"
    )


def test_no_range_that_fits_is_refused() -> None:
    assert refusal(RamoopsPolicy(size=64 * MIB), memory_map(ram(0, 128 * MIB))) == (
        "no 64M of free memory for ramoops in 128M of RAM, expected it at 32M or above, in the lower half of the RAM below 4G\n"
        "hint: make pstore.ramoops.size smaller, or name a range in pstore.ramoops.address"
    )


def test_a_given_address_outside_of_ram_is_refused(tmp_path: Path) -> None:
    assert refusal(RamoopsPolicy(address=0x7E800000), memory_of(tmp_path, SMALL_IOMEM)) == (
        "the range 0x7e800000-0x7e9fffff for ramoops is not inside RAM\n"
        "hint: there is RAM for 2M at 0x100000-0x7fffff, 0x900000-0x7e8ecfff, 0x7ebff000-0x7eef3fff"
    )


def test_a_given_address_on_a_machine_that_is_too_small_for_the_size_is_refused() -> None:
    assert refusal(RamoopsPolicy(address=0, size=GIB), memory_map(ram(0, 512 * MIB))) == (
        "the range 0x0-0x3fffffff for ramoops is not inside RAM\nhint: make pstore.ramoops.size smaller"
    )


def test_a_given_address_in_the_middle_of_a_page_is_refused(tmp_path: Path) -> None:
    assert refusal(RamoopsPolicy(address=0x20000800), memory_of(tmp_path, SMALL_IOMEM)) == (
        "the address 0x20000800 for ramoops is not aligned to 4K\nhint: use 0x20000000"
    )


def test_a_given_address_in_the_crash_reservation_is_refused(tmp_path: Path) -> None:
    assert refusal(RamoopsPolicy(address=0x6EF00000), memory_of(tmp_path, SMALL_IOMEM)) == (
        "the range 0x6ef00000-0x6f0fffff for ramoops overlaps the crash reservation at 0x6f000000-0x7affffff\n"
        "hint: leave out pstore.ramoops.address, then kdumpd chooses a free range"
    )


def test_a_given_address_in_the_kernel_is_refused(tmp_path: Path) -> None:
    assert refusal(RamoopsPolicy(address=0x2D200000), memory_of(tmp_path, SMALL_IOMEM)) == (
        "the range 0x2d200000-0x2d3fffff for ramoops overlaps the running kernel at 0x2c000000-0x2ec57fff\n"
        "hint: leave out pstore.ramoops.address, then kdumpd chooses a free range"
    )


def test_the_kernel_is_told_by_memmap() -> None:
    assert memmap_parameter(2 * MIB, 0x20000000) == "memmap=2M$0x20000000"


def test_or_it_finds_a_place_by_itself() -> None:
    assert reserve_mem_parameter(2 * MIB) == "reserve_mem=2M:32M:kdumpd"


def test_the_module_is_told_the_address_and_the_size() -> None:
    assert list(module_options(RamoopsPolicy(), 0x20000000).items()) == [
        ("mem_address", "0x20000000"),
        ("mem_size", 2 * MIB),
        ("record_size", 256 * KIB),
        ("console_size", 0),
        ("ftrace_size", 0),
        ("pmsg_size", 0),
        ("max_reason", 2),
        ("ecc", 1),
    ]


def test_or_only_the_name_because_a_size_without_an_address_would_mean_address_zero() -> None:
    options = module_options(RamoopsPolicy(), None)

    assert next(iter(options.items())) == ("mem_name", "kdumpd")
    assert "mem_size" not in options
    assert "mem_address" not in options


def test_the_module_may_be_loaded_only_once_the_kernel_keeps_away() -> None:
    before = memory_map(ram(MIB, 2 * GIB))
    after = MemoryMap(ram=before.ram, usable=(ram(MIB, 256 * MIB), ram(258 * MIB, 2 * GIB)), kernel=(), crash=())

    assert not reserved_now(2 * MIB, 256 * MIB, before)
    assert reserved_now(2 * MIB, 256 * MIB, after)
    assert not reserved_now(4 * MIB, 256 * MIB, after)


@pytest.mark.parametrize("active", [None, "(null)", "ramoops"])
def test_ramoops_may_have_pstore_when_nobody_else_wants_it(active: str | None) -> None:
    check_competing_backend(active_backend=active, chosen_backend=None, has_efi=False, has_erst=False)


def test_ramoops_may_have_it_when_the_command_line_says_so() -> None:
    check_competing_backend(active_backend="efi", chosen_backend="ramoops", has_efi=True, has_erst=True)


def test_ramoops_may_have_it_when_efi_is_disabled() -> None:
    check_competing_backend(active_backend="(null)", chosen_backend=None, has_efi=True, has_erst=False, efi_disabled=True)


def test_a_record_store_that_did_not_register_is_no_competitor() -> None:
    check_competing_backend(active_backend="(null)", chosen_backend=None, has_efi=False, has_erst=True)


@pytest.mark.parametrize(
    ("active", "chosen", "has_efi", "has_erst", "message"),
    [
        pytest.param(
            "efi",
            None,
            True,
            False,
            'pstore already has the backend "efi", a second one is refused by the kernel\n'
            "hint: set pstore.ramoops: off, efi keeps crash records too; or boot with pstore.backend=ramoops",
            id="another backend is active",
        ),
        pytest.param(
            "efi_pstore",
            "efi_pstore",
            True,
            False,
            'the kernel command line has pstore.backend=efi_pstore, expected "ramoops" or nothing\n'
            "hint: set pstore.ramoops: off; or boot with pstore.backend=ramoops",
            id="another backend is chosen",
        ),
        pytest.param(
            "ramoops",
            None,
            True,
            False,
            "this machine was started by UEFI, so efi_pstore is loaded by itself and can come before ramoops\n"
            "hint: set pstore.ramoops: off, efi keeps crash records too; or boot with pstore.backend=ramoops",
            id="efi may come first at the next boot",
        ),
        pytest.param(
            None,
            None,
            False,
            True,
            'the firmware has an error record store, so the backend "erst" comes before ramoops\n'
            "hint: set pstore.ramoops: off, erst keeps crash records too; or boot with pstore.backend=ramoops",
            id="the firmware keeps records",
        ),
    ],
)
def test_ramoops_is_refused_where_another_backend_wins(
    active: str | None, chosen: str | None, has_efi: bool, has_erst: bool, message: str
) -> None:
    with pytest.raises(HostError) as caught:
        check_competing_backend(active_backend=active, chosen_backend=chosen, has_efi=has_efi, has_erst=has_erst)

    assert str(caught.value) == message


@st.composite
def memory_maps(draw: st.DrawFn) -> MemoryMap:
    """RAM with holes, at any page; a kernel and a crash reservation anywhere in it."""
    ranges, end = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 1 << 20)), min_size=1, max_size=6)):
        start = end + gap * 4 * KIB
        end = start + length * 4 * KIB
        ranges.append(ram(start, end))
    taken = draw(st.lists(st.tuples(st.integers(0, end), st.integers(1, 512 * MIB)), min_size=2, max_size=2))
    (code, code_size), (reserved, reserved_size) = taken
    return memory_map(*ranges, kernel=(kernel(code, code + code_size),), crash=(crash(reserved, reserved + reserved_size),))


POLICIES = st.builds(RamoopsPolicy, size=st.integers(64 * KIB, 16 * MIB))


@settings(max_examples=200)
@given(policy=POLICIES, memory=memory_maps())
def test_a_chosen_region_is_free_aligned_ram_in_the_lower_half(policy: RamoopsPolicy, memory: MemoryMap) -> None:
    size = region_size(policy)
    try:
        address = choose_address(policy, memory, None)
    except HostError:
        return
    region = ram(address, address + size)

    assert any(found.contains(region) for found in memory.ram)
    assert not any(found.overlaps(region) for found in (*memory.kernel, *memory.crash))
    assert address % max(size, 2 * MIB) == 0
    assert address >= 32 * MIB
    assert region.end <= min(memory.ram[-1].end, 4 * GIB) / 2


@settings(max_examples=200)
@given(policy=POLICIES, memory=memory_maps(), later=memory_maps())
def test_choosing_again_gives_the_same_wherever_kernel_and_crash_reservation_avoid_it(
    policy: RamoopsPolicy, memory: MemoryMap, later: MemoryMap
) -> None:
    try:
        address = choose_address(policy, memory, None)
    except HostError:
        return
    region = ram(address, address + region_size(policy))
    next_boot = MemoryMap(
        ram=memory.ram,
        usable=memory.usable,
        kernel=tuple(found for found in later.kernel if not found.overlaps(region)),
        crash=tuple(found for found in later.crash if not found.overlaps(region)),
    )

    assert choose_address(policy, memory, address) == address
    assert choose_address(policy, next_boot, address) == address


@pytest.fixture
def with_memory(machine: FakeMachine) -> FakeMachine:
    machine.write("proc/iomem", SMALL_IOMEM)
    return machine


RAMOOPS = Policy(crashkernel=POLICY.crashkernel, pstore=PstorePolicy(ramoops=RamoopsPolicy()))


def apply(machine: FakeMachine, policy: Policy) -> list[str]:
    facts = machine.facts(policy)
    told: list[str] = []
    apply_plan(make_plan(policy, facts), facts, machine.root, told.append)
    return told


def test_the_region_is_put_on_the_command_line_and_the_module_is_told(with_memory: FakeMachine) -> None:
    told = apply(with_memory, RAMOOPS)

    assert "memmap=2M\\$0x10000000\n" in with_memory.read("boot/grub/grub.cfg")
    assert with_memory.read("etc/modprobe.d/kdumpd-ramoops.conf").splitlines()[-1] == (
        "options ramoops mem_address=0x10000000 mem_size=2097152 record_size=262144 "
        "console_size=0 ftrace_size=0 pmsg_size=0 max_reason=2 ecc=1"
    )
    # Not before the reboot: the memory is still in use.
    assert not any("ramoops:" in line for line in told)


def test_the_module_is_loaded_once_the_kernel_was_booted_with_the_region(with_memory: FakeMachine, stubs: Stubs) -> None:
    apply(with_memory, RAMOOPS)
    with_memory.write("proc/cmdline", f"{COMMAND_LINE} crashkernel=192M memmap=2M$0x10000000\n")
    with_memory.write("sys/firmware/memmap/0/start", "0x100000\n")
    with_memory.write("sys/firmware/memmap/0/end", "0x7affffff\n")
    with_memory.write("sys/firmware/memmap/0/type", "System RAM\n")
    with_memory.write(
        "proc/iomem", "00100000-0fffffff : System RAM\n10000000-101fffff : Reserved\n10200000-7affffff : System RAM\n"
    )
    stubs.add("modprobe")

    assert apply(with_memory, RAMOOPS)[0] == "load the module ramoops: its memory is set aside by memmap=2M$0x10000000"
    assert "modprobe ramoops" in stubs.calls


def test_a_kernel_that_knows_reserve_mem_finds_the_place_itself(with_memory: FakeMachine) -> None:
    with_memory.write("sys/module/ramoops/parameters/mem_name", "\n")
    apply(with_memory, RAMOOPS)

    assert "reserve_mem=2M:32M:kdumpd\n" in with_memory.read("boot/grub/grub.cfg")
    assert "options ramoops mem_name=kdumpd record_size=" in with_memory.read("etc/modprobe.d/kdumpd-ramoops.conf")


def test_without_ramoops_nothing_of_it_is_left(with_memory: FakeMachine) -> None:
    apply(with_memory, RAMOOPS)
    apply(with_memory, POLICY)

    assert "memmap" not in with_memory.read("boot/grub/grub.cfg")
    assert not (with_memory.root / "etc/modprobe.d/kdumpd-ramoops.conf").exists()


def test_the_place_stays_when_the_policy_changes(with_memory: FakeMachine) -> None:
    apply(with_memory, Policy(crashkernel=POLICY.crashkernel, pstore=PstorePolicy(ramoops=RamoopsPolicy(address=0x18000000))))
    apply(with_memory, RAMOOPS)

    assert "memmap=2M\\$0x18000000" in with_memory.read("boot/grub/grub.cfg")
