# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.crashkernel import Crashkernel, CrashkernelError, Range, parse_crashkernel
from kdumpd.units import GIB, KIB, MIB

UBUNTU = "2G-4G:320M,4G-32G:512M,32G-64G:1024M,64G-128G:2048M,128G-:4096M"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("256M", Crashkernel(ranges=(Range(size=256 * MIB),))),
        ("256M@16M", Crashkernel(ranges=(Range(size=256 * MIB),), offset=16 * MIB)),
        ("512M,high", Crashkernel(ranges=(Range(size=512 * MIB),), high=True)),
        ("512M,high 128M,low", Crashkernel(ranges=(Range(size=512 * MIB),), high=True, low=128 * MIB)),
        ("2G-:256M", Crashkernel(ranges=(Range(start=2 * GIB, size=256 * MIB),))),
        ("0-2G:128M", Crashkernel(ranges=(Range(end=2 * GIB, size=128 * MIB),))),
        (
            "1G-2G:128M,2G-:256M@32M",
            Crashkernel(
                ranges=(Range(start=GIB, end=2 * GIB, size=128 * MIB), Range(start=2 * GIB, size=256 * MIB)), offset=32 * MIB
            ),
        ),
    ],
)
def test_every_form_that_the_kernel_knows_is_read_and_written(text: str, meaning: Crashkernel) -> None:
    assert parse_crashkernel(text) == meaning
    assert str(meaning) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("256m", "256M"),
        ("262144K", "256M"),
        ("4096M", "4G"),
        ("2048G-:1G", "2T-:1G"),
        ("0M-2G:128M", "0-2G:128M"),
        ("0-:256M", "256M"),
        ("128M,low   512M,high", "512M,high 128M,low"),
        (" 256M\n", "256M"),
    ],
)
def test_one_meaning_has_one_spelling(text: str, canonical: str) -> None:
    assert str(parse_crashkernel(text)) == canonical


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("256M", ("crashkernel=256M",)),
        ("512M,high", ("crashkernel=512M,high",)),
        ("128M,low 512M,high", ("crashkernel=512M,high", "crashkernel=128M,low")),
    ],
)
def test_a_high_and_a_low_part_are_two_parameters(text: str, parameters: tuple[str, ...]) -> None:
    assert parse_crashkernel(text).parameters() == parameters


@pytest.mark.parametrize(
    ("ram", "size"),
    [
        (GIB, None),
        (2 * GIB, 320 * MIB),
        (4 * GIB - 128 * MIB, 320 * MIB),
        (4 * GIB, 512 * MIB),
        (128 * GIB, 4 * GIB),
        (1 << 45, 4 * GIB),
    ],
)
def test_the_range_that_holds_the_ram_decides(ram: int, size: int | None) -> None:
    assert parse_crashkernel(UBUNTU).reserved_for(ram) == size


@pytest.mark.parametrize(("ram", "size"), [(2 * GIB - 128 * MIB, None), (2 * GIB - 128 * MIB + 1, 320 * MIB)])
def test_ram_is_rounded_up_to_128_mib_for_what_the_firmware_keeps(ram: int, size: int | None) -> None:
    assert parse_crashkernel(UBUNTU).reserved_for(ram) == size


@pytest.mark.parametrize("text", ["512M", "512M,high", "0-1G:512M"])
def test_a_machine_that_has_no_more_than_the_size_reserves_nothing(text: str) -> None:
    crashkernel = parse_crashkernel(text)

    assert crashkernel.reserved_for(512 * MIB) is None
    assert crashkernel.reserved_for(512 * MIB + KIB) == 512 * MIB


def test_the_low_part_does_not_count_as_reserved() -> None:
    assert parse_crashkernel("512M,high 128M,low").reserved_for(8 * GIB) == 512 * MIB


@pytest.mark.parametrize(
    ("text", "minimum"),
    [("192M", 192 * MIB), (UBUNTU, 320 * MIB), ("2G-4G:1G,4G-:192M", 192 * MIB), ("512M,high 72M,low", 512 * MIB)],
)
def test_the_minimum_is_the_smallest_that_the_dump_kernel_may_get(text: str, minimum: int) -> None:
    assert parse_crashkernel(text).minimum() == minimum


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", '"" is not a size', "write a whole number and its unit, like 192M"),
        ("auto", '"auto" is not a size', "write a whole number and its unit, like 192M"),
        ("-1M", '"-1M" is not a size', "write a whole number and its unit, like 192M"),
        ("1.5G", '"1.5G" is not a size', "write a whole number and its unit, like 192M"),
        ("1G-2G", '"1G-2G" is not a size', "write a whole number and its unit, like 192M"),
        ("256M@", '"" is not a size', "write a whole number and its unit, like 192M"),
        ("256", '"256" has no unit', "the kernel reads bytes; write 256M"),
        ("1-2G:256M", '"1" has no unit', "the kernel reads bytes; write 1M"),
        ("256MB", '"MB" is not a unit, expected K, M, G or T', "write 256M"),
        ("1P", '"P" is not a unit, expected K, M, G or T', None),
        ("16777216T", '"16777216T" is more than 64 bits', None),
        ("9" * 30 + "K", f'"{"9" * 30}K" is more than 64 bits', None),
        ("0", '"0" reserves nothing', None),
        ("1G-2G:0M", '"0M" reserves nothing', None),
        ("512M,high 0,low", '"0" reserves nothing', None),
    ],
)
def test_a_size_must_be_whole_and_have_its_unit(text: str, message: str, hint: str | None) -> None:
    assert refusal(text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("0256M", '"0256M" is not decimal', "the kernel reads 174M; write no 0 in front"),
        ("0192M", '"0192M" is not decimal', "the kernel reads 1; write no 0 in front"),
        ("0x100M", '"0x100M" is not decimal', "the kernel reads 256M; write no 0 in front"),
        ("0x10000000", '"0x10000000" is not decimal', "the kernel reads 268435456; write no 0 in front"),
        ("01G-:256M", '"01G" is not decimal', "the kernel reads 1G; write no 0 in front"),
    ],
)
def test_a_number_that_starts_with_0_is_refused_because_the_kernel_takes_it_for_octal_or_hexadecimal(
    text: str, message: str, hint: str
) -> None:
    assert refusal(text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("256M@0M", 'the offset "0M" is zero', "the kernel takes it for none; leave it out"),
        ("256M@1M", 'the offset "1M" is not a multiple of 16M', "write @16M"),
        ("256M@100M", 'the offset "100M" is not a multiple of 16M', "write @96M"),
        ("2G-:256M@1020M", 'the offset "1020M" is not a multiple of 16M', "write @1G"),
        ("1G-2G:64M@16M,2G-:128M", '"@16M" is not at the end', "write 1G-2G:64M,2G-:128M@16M"),
    ],
)
def test_an_offset_must_be_a_place_that_the_kernel_would_take(text: str, message: str, hint: str) -> None:
    assert refusal(text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("128M,low", '"128M,low" has no ",high" beside it', "write 128M"),
        ("512M,cma", '",cma" is not supported', "leave it out: what programs have in that memory can't be dumped"),
        ("256M 512M,cma", '",cma" is not supported', "leave it out: what programs have in that memory can't be dumped"),
        ("512M,HIGH", '",HIGH" is not known, expected ,high or ,low', None),
        ("2G-:512M,high", '"2G-:512M" does not go with ",high"', "write a single size, like 512M,high"),
        ("512M@16M,high", '"512M@16M" does not go with ",high"', "write a single size, like 512M,high"),
        ("512M,high 2G-:72M,low", '"2G-:72M" does not go with ",low"', "write a single size, like 512M,low"),
    ],
)
def test_high_and_low_go_with_a_single_size(text: str, message: str, hint: str | None) -> None:
    assert refusal(text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("256 M", 2),
        ("256M 512M", 2),
        ("256M 512M,high", 2),
        ("512M,high 512M,high", 2),
        ("1G-2G:64M ,2G-:128M@16M", 2),
        ("256M 512M,high 128M,low", 3),
    ],
)
def test_blanks_may_only_be_between_the_high_and_the_low_part(text: str, number: int) -> None:
    hint = "the kernel splits at blanks; only SIZE,high and SIZE,low go together"

    assert refusal(text) == (f'"{text}" is {number} parameters', hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("1G-2G:64M,512M", '"512M" is not a range and its size', "write it like 2G-4G:192M"),
        ("1G:64M", '"1G:64M" is not a range and its size', "write it like 2G-4G:192M"),
        ("1G-2G:64M,", '"1G-2G:64M," has nothing on one side of a comma', None),
        ("256M,", '"256M," has nothing on one side of a comma', None),
        ("-2G:64M", '"" is not a size', "write a whole number and its unit, like 192M"),
        ("2G-2G:64M", 'the range "2G-2G" is empty', None),
        ("2G-1G:64M", 'the range "2G-1G" is empty', None),
        ("1G-4G:8G", '"1G-4G:8G" takes more than such a machine has', None),
        ("1G-4G:64M,2G-8G:128M", 'the ranges "1G-4G" and "2G-8G" overlap', None),
        ("4G-8G:128M,1G-4G:64M", 'the range "1G-4G" comes after "4G-8G"', "put the smaller machines first"),
        ("1G-:64M,2G-:128M", 'the range "1G-" has no end', "write 1G-2G"),
    ],
)
def test_ranges_must_be_in_order_and_apart(text: str, message: str, hint: str | None) -> None:
    assert refusal(text) == (message, hint)


def refusal(text: str) -> tuple[str, str | None]:
    with pytest.raises(CrashkernelError) as caught:
        parse_crashkernel(text)
    return str(caught.value), caught.value.hint


SIZES = st.integers(1, 1 << 20).map(lambda count: count * KIB) | st.integers(1, 4096).map(lambda count: count * MIB)
OFFSETS = st.none() | st.integers(1, 1 << 12).map(lambda count: count * 16 * MIB)


@st.composite
def lists_of_ranges(draw: st.DrawFn) -> Crashkernel:
    """Ordered, apart, sometimes with gaps, and the last one open or not."""
    bounds = sorted(draw(st.sets(st.integers(0, 1 << 12), min_size=2, max_size=8)))
    closed = [
        Range(start=start * 64 * MIB, end=end * 64 * MIB, size=draw(st.integers(1, end * (64 * MIB // KIB) - 1)) * KIB)
        for start, end in pairwise(bounds)
    ]
    last = [Range(start=bounds[-1] * 64 * MIB, size=draw(SIZES))] if draw(st.booleans()) else []
    kept = [one for one in closed if draw(st.booleans())] + last
    return Crashkernel(ranges=tuple(kept or closed), offset=draw(OFFSETS))


SINGLE = SIZES.map(lambda size: (Range(size=size),))
CRASHKERNELS = (
    lists_of_ranges()
    | st.builds(Crashkernel, ranges=SINGLE, offset=OFFSETS)
    | st.builds(Crashkernel, ranges=SINGLE, high=st.just(True), low=st.none() | SIZES)
)


@settings(max_examples=100)
@given(CRASHKERNELS)
def test_what_is_written_is_read_back(crashkernel: Crashkernel) -> None:
    assert parse_crashkernel(str(crashkernel)) == crashkernel


@settings(max_examples=100)
@given(lists_of_ranges(), st.integers(0, 512 * GIB))
def test_the_reserved_size_is_what_the_kernel_finds_by_walking_the_text(crashkernel: Crashkernel, ram: int) -> None:
    assert crashkernel.reserved_for(ram) == walked(str(crashkernel), ram)


def walked(text: str, ram: int) -> int | None:
    """The kernel's own way, from the text: entry by entry, and any that is as large as the RAM ends it all."""
    total = ram + -ram % (128 * MIB)
    for entry in text.split("@")[0].split(","):
        span, size = entry.split(":") if ":" in entry else ("0-", entry)
        start, end = span.split("-")
        if in_bytes(size) >= total:
            return None
        if in_bytes(start) <= total < (in_bytes(end) if end else 1 << 64):
            return in_bytes(size) if in_bytes(size) < ram else None
    return None


def in_bytes(text: str) -> int:
    return int(text.rstrip("KMGT")) << 10 * " KMGT".find(text[-1]) if text[-1] in "KMGT" else int(text)


@settings(max_examples=300)
@given(
    st.text()
    | st.text(alphabet="0123456789xKMGT@:-, \t")
    | st.lists(st.sampled_from(["1G", "-", ":", ",", "@16M", ",high", " ", "0"])).map("".join)
)
def test_any_other_text_is_refused_with_a_reason(text: str) -> None:
    with contextlib.suppress(CrashkernelError):
        assert parse_crashkernel(str(parse_crashkernel(text))) == parse_crashkernel(text)
