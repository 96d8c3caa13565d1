# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts become dumps, and dumps of one boot one crash."""

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes.assemble import PstoreCrash, assemble
from kdumpd.crashes.records import PstoreRecord
from kdumpd.crashes.report import Record
from kdumpd.crashes.text.reader import read_pieces
from tests.unit.pstores import EFI, RAMOOPS, TIME, deflate, dump, efi, lines, oops, panic, record, records_of, text_of


def only_crash(records: list[PstoreRecord]) -> PstoreCrash:
    (crash,) = assemble(records).crashes
    return crash


@pytest.mark.parametrize("folder", [EFI, RAMOOPS], ids=["efi", "ramoops"])
def test_an_oops_and_the_panic_that_followed_are_one_crash_with_one_log(folder: Path) -> None:
    records = records_of(folder)
    random.Random(1).shuffle(records)
    crash = only_crash(records)
    log = text_of(crash.text())

    assert [(each.reason, each.count) for each in crash.dumps] == [("Oops", 1), ("Panic", 2)]
    assert sorted(crash.files) == sorted(path.name for path in folder.iterdir())
    assert log == text_of(crash.dumps[1].text())
    assert log.count("Kernel panic - not syncing: Fatal exception\n") == 1
    told = read_pieces([log.encode()])
    assert told is not None
    assert (told.kind, told.function, told.module) == ("null-deref", "kc_null", "kcrash")


def test_parts_of_one_dump_belong_together_though_their_times_differ() -> None:
    crash = only_crash(records_of(EFI))

    assert {part.time for part in crash.dumps[1].parts} == {1795358600, 1795358601}
    assert crash.records == (
        Record(backend="efi", reason="Oops", count=1, parts=14),
        Record(backend="efi", reason="Panic", count=2, parts=15),
    )
    log = text_of(crash.dumps[1].text()).splitlines()
    assert log[0] == "<6>[    0.000000] ftrace: allocated 159 pages with 6 groups"
    assert log[-2] == "<0>[    6.835518] Kernel panic - not syncing: Fatal exception"


def test_a_missing_part_is_marked_where_it_is_missing() -> None:
    parts = dump(TIME, 1, "Panic", lines(1, 2), lines(3, 4), lines(5, 6), lines(7, 8), lines(9, 10), panic(11))
    crash = only_crash([parts[0], parts[2], parts[5]])

    assert crash.records[0].missing == (2, 4, 5)
    told = [line for line in text_of(crash.text()).splitlines() if "kdumpd" in line or "panic" in line]
    assert told == [
        "[kdumpd: parts 4 to 5 are missing here]",
        "[kdumpd: part 2 is missing here]",
        panic(11).rstrip(),
    ]


def test_the_newest_part_missing_is_marked_at_the_end() -> None:
    crash = only_crash(dump(TIME, 1, "Panic", lines(1, 2), panic(3))[1:])

    assert text_of(crash.text()).endswith("line 2\n[kdumpd: part 1 is missing here]\n")


def test_what_only_the_oops_has_stands_in_front_of_the_panics_log() -> None:
    first = dump(TIME, 1, "Oops", lines(1, 50), oops(51))
    second = dump(TIME + 60, 2, "Panic", lines(40, 50) + oops(51) + lines(52, 110), panic(111))

    assert text_of(only_crash([*second, *first]).text()) == lines(1, 50) + oops(51) + lines(52, 110) + panic(111)


def test_a_hole_between_two_dumps_is_marked() -> None:
    records = [*dump(TIME, 1, "Oops", oops(51)), *dump(TIME + 60, 2, "Panic", lines(100, 110), panic(111))]

    assert text_of(only_crash(records).text()).splitlines()[5] == "[kdumpd: what the kernel said between two dumps is missing here]"


def test_an_oops_of_a_week_before_in_the_same_boot_is_of_the_same_crash_and_of_another_boot_it_is_not() -> None:
    week = 7 * 86400
    survived = dump(TIME, 1, "Oops", oops(51))

    assert len(assemble([*survived, *dump(TIME + week, 2, "Panic", panic(51 + week))]).crashes) == 1
    assert len(assemble([*survived, *dump(TIME + week, 2, "Panic", panic(60))]).crashes) == 2
    assert len(assemble([*survived, *dump(TIME + 30, 1, "Panic", panic(81))]).crashes) == 2
    assert len(assemble([*survived, *dump(TIME + 30, 2, "Panic", panic(5))]).crashes) == 2


def test_the_same_panic_in_two_boots_is_two_crashes_also_within_a_minute() -> None:
    texts = lines(1, 3), panic(4)
    crashes = assemble([*dump(TIME + 20, 1, "Panic", *texts), *dump(TIME, 1, "Panic", *texts)]).crashes

    assert [crash.time for crash in crashes] == [TIME, TIME + 20]
    assert {text_of(crash.text()) for crash in crashes} == {lines(1, 3) + panic(4)}


def test_the_parts_of_erst_are_told_apart_by_their_first_line_and_the_order_of_their_ids() -> None:
    seed = TIME << 32
    texts = [f"Panic#1 Part{part}\n{text}".encode() for part, text in ((1, panic(4)), (2, lines(1, 3)))] * 2
    records = [record(f"dmesg-erst-{seed + number}", text) for number, text in enumerate(texts)]

    crashes = assemble(reversed(records)).crashes
    assert [crash.files for crash in crashes] == [
        (f"dmesg-erst-{seed + 1}", f"dmesg-erst-{seed}"),
        (f"dmesg-erst-{seed + 3}", f"dmesg-erst-{seed + 2}"),
    ]


@pytest.mark.parametrize("reason", ["Shutdown", "Emergency", "Unknown"])
def test_a_dump_that_shows_no_fault_is_no_crash(reason: str) -> None:
    records = dump(TIME, 1, reason, lines(1, 3), "<5>[    4.000000] reboot: Restarting system\n")

    assert assemble(records).crashes == ()
    assert set(assemble(records).rest) == set(records)


def test_what_is_dumped_on_the_way_out_of_a_panic_is_of_that_crash() -> None:
    records = [*dump(TIME, 1, "Panic", panic(4)), *dump(TIME + 10, 2, "Emergency", panic(4) + lines(5, 14))]
    crash = only_crash(records)

    assert [each.reason for each in crash.dumps] == ["Panic", "Emergency"]
    assert text_of(crash.text()) == panic(4)


def test_an_emergency_dump_that_tells_of_a_panic_is_a_crash() -> None:
    assert text_of(only_crash(dump(TIME, 2, "Emergency", panic(4))).text()) == panic(4)


def test_an_oops_alone_is_reported() -> None:
    assert text_of(only_crash(dump(TIME, 1, "Oops", oops(4))).text()) == oops(4)


def test_other_records_go_with_the_last_crash_of_their_backend() -> None:
    console = record("console-ramoops-0", b"[    1.000000] hello\n", time=TIME + 500)
    old = record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(4)}".encode())
    new = record("dmesg-ramoops-1", f"Panic#1 Part1\n{panic(4)}".encode(), time=TIME + 400)
    crashes = assemble([console, new, old]).crashes

    assert [crash.files for crash in crashes] == [("dmesg-ramoops-0",), ("dmesg-ramoops-1", "console-ramoops-0")]


def test_a_console_alone_is_a_crash_only_when_it_tells_of_one() -> None:
    quiet, loud = (record("console-ramoops-0", text.encode()) for text in (lines(1, 3), lines(1, 3) + panic(4)))

    assert assemble([quiet]).crashes == ()
    assert assemble([quiet]).rest == (quiet,)
    assert text_of(only_crash([loud]).text()) == lines(1, 3) + panic(4)


def test_a_dump_that_can_not_be_read_is_not_forgotten() -> None:
    crash = only_crash([record("dmesg-efi-179535860001001.enc.z", b"\x04\x22\x4d\x18")])

    assert text_of(crash.text()) == "[kdumpd: dmesg-efi-179535860001001.enc.z can't be read: it is not compressed by deflate]\n"
    assert crash.records == ()


def test_a_compressed_part_stands_beside_plain_ones() -> None:
    parts = dump(TIME, 1, "Panic", lines(1, 3), panic(4))
    raw = b"".join(parts[1].raw())

    crash = only_crash([parts[0], record(f"{parts[1].file}.enc.z", deflate(raw))])
    assert text_of(crash.text()) == lines(1, 3) + panic(4)


def test_ten_thousand_records_with_wild_numbers_take_seconds() -> None:
    wild = random.Random(2)
    records = [
        efi(
            TIME + wild.randrange(10**6), wild.randrange(99), wild.randrange(999), wild.choice(["Panic", "Oops", "Shutdown"]), "x\n"
        )
        for _ in range(9_000)
    ]
    records += [record(f"dmesg-erst-{number}", f"Oops#{number} Part999999999\n".encode()) for number in range(1_000)]

    began = time.process_time()
    found = assemble(records)
    assert sum(len(crash.files) for crash in found.crashes) + len(found.rest) == 10_000
    assert sum(len(text_of(crash.text())) for crash in found.crashes) < 10 << 20
    assert time.process_time() - began < 20


RECORDS = st.builds(
    record,
    st.sampled_from(["dmesg-efi-179535860001001", "dmesg-ramoops-0", "dmesg-erst-9", "dmesg-ramoops-1.enc.z", "console-ramoops-0"]),
    st.binary(max_size=80)
    | st.builds(
        lambda reason, count, part, text: f"{reason}#{count} Part{part}\n{text}".encode(),
        st.sampled_from(["Panic", "Oops", "Shutdown"]),
        st.integers(0, 3),
        st.integers(0, 4) | st.just(10**8),
        st.sampled_from(["", lines(1, 9), lines(5, 20), oops(3), panic(9), "[", "\n\n"]),
    ),
    time=st.sampled_from([0.0, -1.0, TIME, TIME + 61.0, 1e18]),
)


@given(st.lists(RECORDS, max_size=12))
def test_every_record_is_in_one_place_whatever_it_is(records: list[PstoreRecord]) -> None:
    found = assemble(records)

    placed = [file for crash in found.crashes for file in crash.files] + [each.file for each in found.rest]
    assert sorted(placed) == sorted(each.file for each in records)
    for crash in found.crashes:
        assert text_of(crash.text()) is not None
        assert all(len(each.missing) <= 1000 for each in crash.records)
