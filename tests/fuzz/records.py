# SPDX-License-Identifier: LGPL-2.1-or-later
"""The assembler of pstore records, fed with any records. An input is records, one after the other: SEPARATOR, a line with the name,
a line with the time, and the bytes; a time with a "z" behind it means bytes that are yet to be deflated.
"""

import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from kdumpd.crashes.assemble import BETWEEN, PstoreCrash, assemble
from kdumpd.crashes.records import PstoreRecord, read_record
from kdumpd.crashes.report import Report, Source
from kdumpd.crashes.text.reader import read_pieces

DATA = Path(__file__).parents[1] / "data/pstore"
SEPARATOR = b"\n====\n"
# A record in an input of 64 KiB; a folder with more is only slower.
MAX_RECORDS = 200
# What is said of parts that are missing, for each part; a line that was cut gets an end.
WORDS = 100


def check(data: bytes) -> None:
    """Every record is in one crash or in the rest, in whatever order they come; the text of a crash is no longer than its records;
    and what it tells makes a report.
    """
    records = list(_records(data))
    assembled = assemble(records)
    placed = [file for crash in assembled.crashes for file in crash.files] + [record.file for record in assembled.rest]
    assert sorted(placed) == sorted(record.file for record in records)
    assert assemble(reversed(records)) == assembled
    for crash in assembled.crashes:
        size = sum(len(piece) for piece in crash.text())
        assert size <= sum(record.size + WORDS for record in _parts(crash)) + len(crash.files) * len(BETWEEN)
        report = Report(
            id="2026-11-23T01-02-03Z",
            time="2026-11-23T01:02:03Z",
            source=Source.PSTORE,
            told=read_pieces(crash.text()),
            records=crash.records,
        )
        assert Report.from_text(report.to_text()) == report


def seeds() -> Iterator[bytes]:
    for folder in sorted(DATA.iterdir()):
        files = sorted(folder.iterdir())
        for deflated in (b"", b"z"):
            names = ((path.name + (".enc.z" if deflated else "")).encode() for path in files)
            whole = [b"%b\n1795358600%b\n%b" % (name, deflated, path.read_bytes()) for name, path in zip(names, files, strict=True)]
            yield SEPARATOR.join(whole)[: 60 << 10]
            yield SEPARATOR.join(record[:1000] for record in whole)


def _records(data: bytes) -> Iterator[PstoreRecord]:
    names = set()
    for given in data.split(SEPARATOR)[:MAX_RECORDS]:
        name, _, rest = given.partition(b"\n")
        when, _, content = rest.partition(b"\n")
        time = re.fullmatch(rb"(\d{1,12})(z?)", when)
        raw = _deflate(content) if time and time[2] else content
        record = read_record(name.decode("utf-8", "surrogateescape"), float(time[1]) if time else 0.0, partial(_pieces, raw))
        # Two files of one folder have different names.
        if record and record.file not in names:
            names.add(record.file)
            yield record


def _parts(crash: PstoreCrash) -> Iterator[PstoreRecord]:
    for dump in crash.dumps:
        yield from dump.parts
    yield from crash.others


def _pieces(raw: bytes) -> Iterator[bytes]:
    for begin in range(0, len(raw), 1000):
        yield raw[begin : begin + 1000]


def _deflate(content: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(content) + engine.flush()
