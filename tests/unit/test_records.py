# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one record of pstore tells of itself."""

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes import records
from kdumpd.crashes.records import Head, Name, inflate, parse_name, read_record
from tests.unit.pstores import EFI, RAMOOPS, TIME, deflate, record, records_of, text_of


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("dmesg-efi-179535860014001", Name(type="dmesg", backend="efi", id=179535860014001)),
        ("dmesg-efi_pstore-179535859601001", Name(type="dmesg", backend="efi_pstore", id=179535859601001)),
        ("dmesg-ramoops-0.enc.z", Name(type="dmesg", backend="ramoops", id=0, compressed=True)),
        ("dmesg-ramoops-0.enc.z=2", Name(type="dmesg", backend="ramoops", id=0, compressed=True, copy=2)),
        ("dmesg-ramoops-0%2Eenc.z", Name(type="dmesg", backend="ramoops", id=0, compressed=True)),
        ("dmesg-erst-7711008888888888888", Name(type="dmesg", backend="erst", id=7711008888888888888)),
        ("console-ramoops-0", Name(type="console", backend="ramoops", id=0)),
        ("powerpc-ofw-nvram-3", Name(type="powerpc-ofw", backend="nvram", id=3)),
        ("mce-erst-1", Name(type="mce", backend="erst", id=1)),
        ("pmsg-pstore_blk-0", Name(type="pmsg", backend="pstore_blk", id=0)),
        ("type9-someday-1", Name(type="type9", backend="unknown", id=1)),
    ],
)
def test_a_name_tells_type_backend_and_id(file: str, name: Name) -> None:
    assert parse_name(file) == name


@pytest.mark.parametrize("file", ["dmesg.txt", "README", ".incomplete", "dmesg-ramoops", "dmesg-ramoops-x", "a-b-" + "1" * 30, ""])
def test_another_files_name_is_none_of_a_record(file: str) -> None:
    assert parse_name(file) is None
    assert read_record(file, 0, lambda: iter([])) is None


def test_the_first_line_of_a_dump_is_not_its_text() -> None:
    found = record("dmesg-erst-1", b"Panic#2 Part7\n<4>[    5.597886] RSP: 0018\n<4>[    6.000001] end\n")

    assert found.head == Head(reason="Panic", count=2, part=7)
    assert text_of(found.text()) == "<4>[    5.597886] RSP: 0018\n<4>[    6.000001] end\n"
    assert (found.first, found.last, found.time) == (5.597886, 6.000001, TIME)


@pytest.mark.parametrize(
    "trailer", ["\nECC: No errors detected\n", "\nECC: 12 Corrected bytes, 3 unrecoverable blocks\n"], ids=["none", "some"]
)
def test_what_ramoops_says_of_its_error_correction_is_not_the_text(trailer: str) -> None:
    content = f"Oops#1 Part1\n<4>[    1.000000] last{trailer}".encode()

    assert text_of(record("dmesg-ramoops-0", content).text()) == "<4>[    1.000000] last"
    assert text_of(record("dmesg-erst-0", content).text()).endswith(trailer)


def test_the_trailer_is_found_whatever_pieces_the_record_comes_in() -> None:
    content = b"Oops#1 Part1\n<4>[    1.000000] last\n\nECC: No errors detected\n"
    found = read_record("dmesg-ramoops-0", 0, lambda: (bytes([byte]) for byte in content))

    assert found is not None
    assert text_of(found.text()) == "<4>[    1.000000] last\n"


def test_the_time_of_an_efi_record_is_in_its_name_as_a_file_may_have_been_copied() -> None:
    assert record("dmesg-efi-179535860115002", b"", time=5).time == 1795358601
    assert record("dmesg-efi-15002", b"", time=5).time == 5


def test_what_the_kernel_could_not_inflate_is_inflated() -> None:
    found = record("dmesg-efi_pstore-179535860115002.enc.z", deflate(b"Oops#1 Part1\n<4>[    1.000000] text\n"))

    assert found.head == Head(reason="Oops", count=1, part=1)
    assert text_of(found.text()) == "<4>[    1.000000] text\n"


@pytest.mark.parametrize("content", [b"", b"\x04\x22\x4d\x18 lz4", deflate(b"x" * 1000)[:3], deflate(b"no first line")])
def test_what_is_compressed_by_something_else_has_no_text(content: bytes) -> None:
    found = record("dmesg-ramoops-0.enc.z", content)

    assert (found.head, found.readable) == (None, False)


def test_a_small_record_does_not_inflate_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_TEXT", 1 << 20)
    bomb = deflate(b"\0" * (8 << 20))

    assert sum(len(piece) for piece in inflate([bomb], limit=1 << 20)) == 1 << 20
    assert max(len(piece) for piece in inflate([bomb])) <= 256 << 10


def test_a_record_of_64_mib_is_read_in_little_memory() -> None:
    def content() -> Iterator[bytes]:
        yield b"Panic#1 Part1\n"
        yield from itertools.repeat(b"<4>[    1.000000] line\n" * 2849, 1024)

    tracemalloc.start()
    found = read_record("dmesg-ramoops-0", 0, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found is not None
    assert found.size > 60 << 20
    assert peak < 4 << 20


@pytest.mark.parametrize(("folder", "count"), [(EFI, 29), (RAMOOPS, 2)])
def test_every_real_record_has_a_first_line_and_times(folder: object, count: int) -> None:
    found = records_of(EFI if folder == EFI else RAMOOPS)

    assert len(found) == count
    assert all(each.head and each.first is not None and each.last is not None for each in found)


NAMES = st.sampled_from(["dmesg-efi-1", "dmesg-ramoops-0.enc.z", "console-ramoops-0", "dmesg-erst-5", "ftrace-ramoops-0.enc.z"])


@given(NAMES | st.text(), st.lists(st.binary(max_size=300), max_size=6), st.booleans())
def test_no_bytes_are_too_hostile_to_be_read(file: str, pieces: list[bytes], compress: bool) -> None:
    raw = [deflate(b"".join(pieces))] if compress else pieces
    found = read_record(file, 0, lambda: iter(raw))

    if found is not None and found.readable:
        assert sum(len(piece) for piece in found.text()) == found.size
