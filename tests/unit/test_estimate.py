# SPDX-License-Identifier: LGPL-2.1-or-later
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.capture.status import Memory, Status, Step
from kdumpd.host.kernel_image import KernelImage, parse_kernel_image, read_kernel_image
from kdumpd.plan.estimate import EstimateInputs, MeasuredPeak, Source, estimate, keep_or_change, measured_peak
from kdumpd.units import GIB, KIB, MIB
from tests.unit.captures import changed
from tests.unit.fakes import RELEASE, bzimage

# Debian's 6.1.192-2, cloud flavour: what its header says.
CLOUD_KERNEL = KernelImage(file_size=14_186_432, init_size=53_968_896)
# The guest of tests/vm, and what a capture in it measured at crashkernel=192M.
GUEST = EstimateInputs(kernel=CLOUD_KERNEL, initrd=5_961_676, rootfs=15_623_680, cpus=1, ram=2 * GIB)
MEASURED = MeasuredPeak(reserved=192 * MIB, total=155_144 * KIB, peak_used=34_400 * KIB)

SIZES = st.integers(0, 2 * GIB)
INPUTS = st.builds(
    EstimateInputs,
    kernel=st.none()
    | st.builds(KernelImage, file_size=st.integers(1, 64 * MIB), init_size=st.none() | st.integers(MIB, 128 * MIB)),
    initrd=st.none() | SIZES,
    rootfs=st.none() | SIZES,
    cpus=st.integers(1, 64),
    ram=st.integers(256 * MIB, 32 << 40),
    measured=st.none() | st.just(MEASURED),
)
# Debian's own choice for a new key.
ARGON2 = GIB
some_examples = settings(max_examples=100)


def status(started: str = "2026-11-22T18:00:00Z", kernel: str = RELEASE, saved: bool = True, **memory: int) -> Status:
    sizes = {"given": 192 * 1024, "total": 155_144, "peak_used": 34_400} | memory
    return Status(started=started, kernel=kernel, steps=[Step(name="dmesg", ok=saved, seconds=0.2)], memory_kib=Memory(**sizes))


def test_a_bzimage_says_how_much_room_it_needs(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").write_bytes(bzimage())

    image = read_kernel_image(tmp_path, "/boot/vmlinuz")

    assert image == KernelImage(file_size=4096, init_size=53_968_896, release=RELEASE, whole=2560)
    assert image.room == 53_968_896


@pytest.mark.parametrize(
    "content",
    [b"", b"MZ\x00\x00zimg" + bytes(4096), bzimage()[:0x260], bzimage(version=0x209), bzimage(init_size=0)],
    ids=["empty", "EFI zboot", "cut off", "older than protocol 2.10", "zero"],
)
def test_an_image_that_does_not_say_it_gets_a_multiple_of_its_file(content: bytes) -> None:
    image = parse_kernel_image(content, file_size=12 * MIB)

    assert image.init_size is None
    assert image.room == 48 * MIB


def test_an_image_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_kernel_image(tmp_path, "/boot/vmlinuz") is None
    assert read_kernel_image(tmp_path, "/") is None


def test_the_table_explains_the_sum_line_by_line() -> None:
    assert str(estimate(GUEST)) == (
        "kernel image    51.5M  text, data and room to unpack itself (its init_size)\n"
        "CPUs             1.0M  per-CPU memory and threads, for 1\n"
        "drivers          0.5M  a guess by the machine's memory, 2G\n"
        "initrd           5.7M  as loaded\n"
        "its files       14.9M  unpacked, all in memory\n"
        "user space      34.0M  systemd, Python, makedumpfile: a measured peak\n"
        "bitmaps          0.1M  makedumpfile: 2 bits for each page of 2G\n"
        "memory map       8.2M  page tables: 1/64 of the reservation, in whole sections of 128M\n"
        "sum            115.8M\n"
        "margin          32.0M  25 %, at least 32M: what cannot be computed\n"
        "total          160.0M  rounded up to 32M, at least 160M\n"
        "crashkernel=160M"
    )


def test_the_reference_guest_gets_more_than_the_112m_that_it_lives_on_and_no_more_than_192m() -> None:
    assert 160 * MIB <= estimate(GUEST).total <= 192 * MIB


def test_a_large_server_gets_more_for_its_drivers_and_bitmaps_but_not_without_end() -> None:
    server, largest = (estimate(replace(GUEST, ram=ram)).total for ram in (512 * GIB, 16 << 40))

    assert server == largest == 288 * MIB


def test_without_a_measurement_it_is_never_less_than_160m() -> None:
    tiny = estimate(replace(GUEST, kernel=KernelImage(file_size=MIB, init_size=4 * MIB), initrd=0, rootfs=0))

    assert tiny.need == tiny.total == 160 * MIB


def test_an_initrd_that_is_not_built_yet_counts_as_a_typical_one_and_its_build_changes_nothing() -> None:
    before = estimate(replace(GUEST, initrd=None, rootfs=None))

    assert "initrd           8.0M  a typical one: none is built yet\n" in str(before)
    assert keep_or_change(before.total, estimate(GUEST)) == before.total


def test_files_of_an_initrd_that_nobody_has_counted_are_guessed_from_its_size() -> None:
    assert "its files       22.7M  unpacked, all in memory (guessed)\n" in str(estimate(replace(GUEST, rootfs=None)))


def test_a_kernel_that_cannot_be_read_counts_as_a_large_one() -> None:
    assert "kernel image    64.0M  text, data and room to unpack itself (guessed)\n" in str(estimate(replace(GUEST, kernel=None)))


def test_a_measurement_takes_the_place_of_what_it_covers_but_the_initrd_was_gone_when_it_began() -> None:
    found = estimate(replace(GUEST, measured=MEASURED))

    assert found.source is Source.MEASURED
    assert str(found) == (
        "kernel       40.5M  kept for itself, of 192M: measured\n"
        "peak         33.6M  the most in use while that crash was captured: measured\n"
        "initrd        5.7M  as loaded\n"
        "its files    14.9M  unpacked, all in memory\n"
        "sum          94.7M\n"
        "margin       24.0M  25 %, at least 24M: the next crash may take more\n"
        "total       128.0M  rounded up to 16M, at least 112M\n"
        "crashkernel=128M"
    )


def test_a_measured_guest_still_gets_more_than_the_96m_that_it_dies_of() -> None:
    assert estimate(replace(GUEST, measured=MEASURED)).need > 112 * MIB


def test_the_newest_capture_that_worked_under_this_kernel_is_the_measurement() -> None:
    old = status(started="2026-11-20T18:00:00Z", peak_used=30_000)
    new = status(started="2026-11-21T18:00:00Z")
    failed = status(started="2026-11-22T18:00:00Z", saved=False)
    other = status(started="2026-11-22T19:00:00Z", kernel="6.12.0-1-amd64")

    assert measured_peak([old, new, failed, other], RELEASE, ram=2 * GIB) == MEASURED


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"given": 0, "total": 155_144, "peak_used": 34_400},
        {"given": 192 << 10, "total": 155_144, "peak_used": 155_145},
        {"given": -1, "total": -2, "peak_used": -3},
        {"given": 2 << 30, "total": 2 << 29, "peak_used": 2 << 29},
        {"given": 1 << 20, "total": 900 << 10, "peak_used": 400 << 10},
        {"given": (2 << 20) + 1, "total": 2 << 20, "peak_used": 34_400},
    ],
    ids=["zeros", "of an older kdumpd", "more than all", "negative", "2 TiB", "over a quarter of the RAM", "more than the RAM"],
)
def test_a_measurement_that_cannot_be_is_none(memory: dict[str, int]) -> None:
    assert measured_peak([changed(status(), memory_kib=Memory(**memory))], RELEASE, ram=2 * GIB) is None


def test_a_measurement_of_next_to_nothing_asks_for_no_less_than_the_smallest_machine_needs() -> None:
    tiny = MeasuredPeak(reserved=3 * KIB, total=2 * KIB, peak_used=KIB)

    assert estimate(replace(GUEST, measured=tiny)).total == 112 * MIB


@some_examples
@given(st.lists(st.integers(-1, 1 << 60), min_size=3, max_size=3), st.integers(256 * MIB, 32 << 40))
def test_whatever_was_measured_the_reservation_is_neither_too_small_nor_too_large(memory: list[int], ram: int) -> None:
    given_memory, total, peak_used = memory
    found = measured_peak([status(given=given_memory, total=total, peak_used=peak_used)], RELEASE, ram=ram)

    assert 112 * MIB <= estimate(replace(GUEST, ram=ram, measured=found)).total <= 1440 * MIB


def test_large_machines_may_measure_up_to_a_gigabyte() -> None:
    large = status(given=4 << 20, total=3 << 20, peak_used=1)

    assert measured_peak([large], RELEASE, ram=64 * GIB) is None
    assert measured_peak(
        [changed(large, memory_kib=Memory(given=2 << 20, total=15 << 17, peak_used=7 << 17))], RELEASE, ram=64 * GIB
    )


@pytest.mark.parametrize(
    ("current", "asked"),
    [
        (None, 160 * MIB),
        (128 * MIB, 160 * MIB),
        (160 * MIB, 160 * MIB),
        (192 * MIB, 192 * MIB),
        (224 * MIB, 224 * MIB),
        (256 * MIB, 160 * MIB),
    ],
)
def test_what_is_asked_for_now_is_kept_unless_it_is_too_little_or_far_too_much(current: int | None, asked: int) -> None:
    assert keep_or_change(current, estimate(GUEST)) == asked


@some_examples
@given(INPUTS, SIZES, SIZES)
def test_more_initrd_never_means_less_memory(inputs: EstimateInputs, packed: int, unpacked: int) -> None:
    smaller = replace(inputs, initrd=inputs.initrd or 0, rootfs=inputs.rootfs or 0)
    larger = replace(smaller, initrd=(smaller.initrd or 0) + packed, rootfs=(smaller.rootfs or 0) + unpacked)

    assert estimate(larger).total >= estimate(smaller).total


@some_examples
@given(INPUTS)
def test_the_total_holds_all_lines_and_the_margin_and_is_round(inputs: EstimateInputs) -> None:
    found = estimate(inputs)

    assert sum(line.bytes for line in found.lines) + found.margin.bytes <= found.need <= found.total < found.need + found.step
    assert found.total % (16 * MIB if inputs.measured else 32 * MIB) == 0


@some_examples
@given(INPUTS, st.none() | st.integers(0, 8 * GIB))
def test_the_answer_to_its_own_answer_is_the_same(inputs: EstimateInputs, current: int | None) -> None:
    found = estimate(inputs)
    answer = keep_or_change(current, found)

    assert keep_or_change(answer, found) == answer


@pytest.mark.parametrize("measured", [None, MEASURED])
def test_a_root_whose_key_takes_memory_makes_the_need_larger(measured: MeasuredPeak | None) -> None:
    without = estimate(replace(GUEST, measured=measured))
    found = estimate(replace(GUEST, measured=measured, unlock=ARGON2))

    (line,) = (line for line in found.lines if line.name == "LUKS")
    assert line.why == "to open the root takes 1G (Argon2), so much more than what runs later"
    assert found.total > without.total + 900 * MIB


def test_a_key_that_takes_less_than_what_runs_later_changes_nothing() -> None:
    assert estimate(replace(GUEST, unlock=16 * MIB)) == estimate(GUEST)
