# SPDX-License-Identifier: LGPL-2.1-or-later
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.capture import printk_ring
from kdumpd.capture.printk_ring import COMMITTED, RESERVED, REUSABLE, log_tail, open_log
from kdumpd.capture.program import SaveError
from tests.unit.vmcores import DESCRIPTORS, INFOS, MEMORY, NOTES, TEXT, VMCOREINFO, VMCOREINFOS, Ring, write_core

# vmcore-dmesg leaves these as they are; we do not, because each ends a line for some reader.
LINE_ENDS = b"\n\v\f\r"
RECORDS = st.lists(st.none() | st.binary(max_size=40).filter(lambda text: not set(text) & set(LINE_ENDS)), max_size=80)


def read(core: Path) -> str:
    with open_log(core) as log:
        return b"".join(log.lines()).decode("ascii")


def lines_and_skipped(tmp_path: Path, ring: Ring) -> tuple[list[str], int]:
    with open_log(write_core(tmp_path / "vmcore", ring)) as log:
        return b"".join(log.lines()).decode("ascii").splitlines(), log.skipped


def by_vmcore_dmesg(core: Path) -> str:
    return subprocess.run(["/usr/sbin/vmcore-dmesg", core], capture_output=True, check=True, encoding="ascii").stdout


def full_ring(vmcoreinfo: str = VMCOREINFO) -> Ring:
    """One whose numbers have gone round more than once."""
    ring = Ring(vmcoreinfo)
    for number in range(100):
        ring.add(b"record %d %s" % (number, b"x" * (number * 7 % 60)), nanoseconds=number * 10**9 + 5_000)
    return ring


@pytest.mark.parametrize("vmcoreinfo", VMCOREINFOS.values(), ids=VMCOREINFOS)
def test_the_lines_are_what_dmesg_shows(tmp_path: Path, vmcoreinfo: str) -> None:
    ring = Ring(vmcoreinfo)
    ring.add(b"Linux version 6.1.0", nanoseconds=0)
    ring.add(b"second", nanoseconds=12_345_678_999)
    ring.add(b"late", nanoseconds=123_456 * 10**9)

    expected = ["[    0.000000] Linux version 6.1.0", "[   12.345678] second", "[123456.000000] late"]
    assert lines_and_skipped(tmp_path, ring) == (expected, 0)


@pytest.mark.parametrize("vmcoreinfo", VMCOREINFOS.values(), ids=VMCOREINFOS)
def test_the_oldest_records_have_given_way_to_the_newest(tmp_path: Path, vmcoreinfo: str) -> None:
    lines, skipped = lines_and_skipped(tmp_path, full_ring(vmcoreinfo))

    numbers = [int(line.split()[3]) for line in lines]
    assert numbers == list(range(numbers[0], 100))
    assert 80 < numbers[0] < 95
    assert skipped == 0
    assert "".join(f"{line}\n" for line in lines) == by_vmcore_dmesg(tmp_path / "vmcore")


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(VMCOREINFOS.values())),
    RECORDS,
    st.integers(2, 6),
    st.integers(8, 12),
    st.sampled_from(["little", "big"]),
)
def test_vmcore_dmesg_reads_the_same_from_any_ring(
    vmcoreinfo: str, records: list[bytes | None], count: int, size: int, order: str
) -> None:
    ring = Ring(vmcoreinfo, count_bits=count, size_bits=size, order="little" if order == "little" else "big")
    for number, text in enumerate(records):
        ring.add(text, nanoseconds=number * 1_000_001)
    with tempfile.NamedTemporaryFile() as file:
        core = write_core(Path(file.name), ring)

        assert read(core) == by_vmcore_dmesg(core)


def test_a_block_that_ends_with_the_ring_is_read_as_linux_6_18_stores_it(tmp_path: Path) -> None:
    ring = Ring(size_bits=6, exact_fit=True)
    for text in (b"a" * 24, b"b" * 24):
        ring.add(text)

    assert ring.position % ring.size == 0
    lines, skipped = lines_and_skipped(tmp_path, ring)
    assert [line.split()[-1] for line in lines] == ["a" * 24, "b" * 24]
    assert skipped == 0


def test_a_committed_record_is_read_one_that_was_being_written_is_counted_and_a_free_one_is_nothing(tmp_path: Path) -> None:
    ring = Ring()
    ring.add(b"finished")
    ring.add(b"could still have grown", state=COMMITTED)
    ring.add(b"half writ", state=RESERVED)
    ring.add(b"free again", state=REUSABLE)

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] finished", "[    1.234567] could still have grown"], 1)


def test_an_empty_line_and_a_text_that_found_no_room_keep_their_time(tmp_path: Path) -> None:
    ring = Ring()
    ring.add(b"")
    ring.add(None)

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] "] * 2, 0)


def test_every_line_of_a_record_has_its_time(tmp_path: Path) -> None:
    ring = Ring()
    ring.add(b"one\n\n[    0.000000] Linux version forged")

    expected = ["[    1.234567] one", "[    1.234567] ", "[    1.234567] [    0.000000] Linux version forged"]
    assert lines_and_skipped(tmp_path, ring) == (expected, 0)


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    ring = Ring()
    ring.add(b"a\tb\x1b[2J\r\0\x7f\xc3\xa4~")

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] a\tb\\x1b[2J\\x0d\\x00\\x7f\\xc3\\xa4~"], 0)


def test_a_length_beyond_the_block_is_cut_there(tmp_path: Path) -> None:
    ring = Ring()
    ring.add(b"12345678", length=65535)
    ring.add(b"next")

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] 12345678", "[    1.234567] next"], 0)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(-1024, -1008, id="the text of another record"),
        pytest.param(-8, -4, id="no room for the id"),
        pytest.param(8, 4, id="backwards"),
        pytest.param(0, 0, id="nothing"),
        pytest.param(1, 2, id="text and none"),
    ],
)
def test_a_record_whose_text_is_elsewhere_is_left_out_and_counted(tmp_path: Path, begin: int, end: int) -> None:
    ring = Ring()
    ring.add(b"first")
    ring.set_block(ring.add(b"damaged"), begin % 2**64, end % 2**64)
    ring.add(b"last")

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] first", "[    1.234567] last"], 1)


def test_a_record_with_the_number_of_another_is_left_out_and_counted(tmp_path: Path) -> None:
    ring = Ring()
    damaged = ring.add(b"damaged")
    ring.add(b"last")
    ring.descriptors[damaged % ring.count][0] ^= 2

    assert lines_and_skipped(tmp_path, ring) == (["[    1.234567] last"], 1)


def test_a_ring_that_does_not_know_its_end_loses_nothing(tmp_path: Path) -> None:
    ring = full_ring()
    whole, _ = lines_and_skipped(tmp_path, ring)
    ring.claimed_head = 1 << 61

    lines, skipped = lines_and_skipped(tmp_path, ring)
    assert sorted(lines) == sorted(whole)
    assert skipped == 0


@pytest.mark.parametrize(
    ("field", "value", "fact"),
    [
        ("prb_desc_ring.count_bits", b"\xff", r"damaged: 2\^255 records in 2\^10 bytes"),
        ("prb_desc_ring.count_bits", b"\x10", "its 1572864 bytes at 0x[0-9a-f]+ are not in the memory"),
        ("prb_desc_ring.descs", b"\xff" * 8, "its 768 bytes at 0xffffffffffffffff are not in the memory"),
        ("prb_desc_ring.infos", bytes(8), "its 2816 bytes at 0x0 are not in the memory"),
    ],
)
def test_a_ring_that_can_not_be_is_refused(tmp_path: Path, field: str, value: bytes, fact: str) -> None:
    ring = Ring()
    core = ring.core()
    at = field_of_the_ring(ring, field)
    core[at : at + len(value)] = value
    (tmp_path / "vmcore").write_bytes(core)

    with pytest.raises(SaveError, match=fact):
        read(tmp_path / "vmcore")


def field_of_the_ring(ring: Ring, field: str) -> int:
    """Where in the file a field of the descriptor ring is."""
    static = ring.layout.symbol("printk_rb_static")
    return MEMORY + static % 0x1000 + ring.layout.offset("printk_ringbuffer.desc_ring", field)


@pytest.mark.parametrize(
    ("line", "instead", "fact"),
    [
        ("SYMBOL(prb)=ffffffff9f4643e0\n", "SYMBOL(log_buf)=ffffffff9f4643e0\n", "older than 5.10"),
        ("SYMBOL(prb)=ffffffff9f4643e0\n", "SYMBOL(prb)=0\n", "no 8 bytes of memory at 0x0"),
        ("SIZE(prb_desc)=24\n", "", r"VMCOREINFO has no SIZE\(prb_desc\)"),
        ("SIZE(prb_desc)=24\n", "SIZE(prb_desc)=0\n", r"damaged: SIZE\(prb_desc\)=0"),
        ("SIZE(printk_info)=88\n", "SIZE(printk_info)=999999999999\n", r"damaged: SIZE\(printk_info\)=9"),
        ("OFFSET(prb_desc.state_var)=0\n", "OFFSET(prb_desc.state_var)=x\n", "damaged: OFFSET.*=x"),
        ("OFFSET(prb_desc.state_var)=0\n", "OFFSET(prb_desc.state_var)=20\n", "a field at 20 in a structure of 24 bytes"),
        ("OFFSET(prb_desc.state_var)=0\n", "OFFSET(prb_desc.state_var)=-8\n", "a field at -8 in a structure of 24 bytes"),
    ],
)
def test_a_vmcoreinfo_that_does_not_lead_to_the_log_says_what_it_lacks(tmp_path: Path, line: str, instead: str, fact: str) -> None:
    ring = full_ring()
    assert line in VMCOREINFO
    ring.vmcoreinfo = VMCOREINFO.replace(line, instead)

    with pytest.raises(SaveError, match=fact):
        read(write_core(tmp_path / "vmcore", ring))


def test_the_memory_is_read_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = write_core(tmp_path / "vmcore", full_ring())
    whole = read(core)
    monkeypatch.setattr(printk_ring, "STEP", 100)

    assert read(core) == whole


def test_the_reader_ends_when_its_time_is_up(tmp_path: Path) -> None:
    with open_log(write_core(tmp_path / "vmcore", full_ring())) as log, pytest.raises(SaveError, match="no time left"):
        list(log.lines(until=time.monotonic()))


def test_the_tail_is_the_last_lines(tmp_path: Path) -> None:
    core = write_core(tmp_path / "vmcore", full_ring())
    ring = full_ring()
    ring.add(b"one\ntwo\nthree")

    assert log_tail(core, 3) == read(core).splitlines()[-3:]
    assert log_tail(core, 1000) == read(core).splitlines()
    assert log_tail(write_core(core, ring), 2) == ["[    1.234567] two", "[    1.234567] three"]


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Some bytes of the core, and what to do to each: everywhere that something is."""
    ranges = [(0, 200), (NOTES, 4096), (MEMORY, 4096), (MEMORY + DESCRIPTORS, 768), (MEMORY + INFOS, 2816), (MEMORY + TEXT, 1024)]
    places = st.one_of([st.integers(begin, begin + size - 1) for begin, size in ranges])
    return draw(st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=30))


@settings(max_examples=300)
@given(damages(), st.integers(0, MEMORY + TEXT + 1024) | st.just(MEMORY + 0x10000))
def test_no_damage_does_more_than_cost_lines(damage: list[tuple[int, int]], size: int) -> None:
    core = full_ring().core()
    for at, change in damage:
        core[at] ^= change
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(core[:size])
        try:
            text = read(Path(file.name))
        except SaveError:
            return

    assert len(text) < 32 * 1024 * 5
