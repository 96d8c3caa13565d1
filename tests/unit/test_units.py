# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.units import GIB, KIB, MIB, approximate_size, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(("text", "size"), [("192M", 192 * MIB), ("512k", 512 * KIB), ("2G", 2 * GIB), ("0M", 0)])
def test_a_size_is_a_number_with_a_unit_as_the_kernel_reads_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("256", '"256" has no unit'),
        ("256T", '"T" is not a unit, expected K, M or G'),
        ("256MB", '"MB" is not a unit, expected K, M or G'),
        ("-1M", '"-1M" is not a size'),
        ("1.5G", '"1.5G" is not a size'),
        ("", '"" is not a size'),
    ],
)
def test_what_is_no_size_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_size(text)


@pytest.mark.parametrize("size", [1, 1023, KIB, 80 * MIB, 1536 * MIB, 4 * GIB])
def test_a_formatted_size_is_exact(size: int) -> None:
    text = format_size(size)
    assert (parse_size(text) if text[-1].isalpha() else int(text)) == size


@pytest.mark.parametrize(("size", "text"), [(0, "0B"), (1000, "1000B"), (1536, "1.5K"), (192 * MIB, "192M"), (2560 * MIB, "2.5G")])
def test_a_size_for_people_is_short(size: int, text: str) -> None:
    assert approximate_size(size) == text


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5min", 300), ("5 min", 300), ("1h", 3600), ("0s", 0)])
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30", '"30" has no unit'),
        ("30d", '"d" is not a unit, expected s, min or h'),
        ("soon", '"soon" is not a duration'),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [0, 7, 60, 90, 300, 7200])
def test_a_formatted_duration_is_exact(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 1 << 50).map(lambda number: number * KIB))
def test_any_size_is_the_same_after_it_was_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**9))
def test_any_duration_is_the_same_after_it_was_written_and_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
