# SPDX-License-Identifier: LGPL-2.1-or-later
"""From the raw files of a crash to its report."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from kdumpd.capture import dmesg, pstore
from kdumpd.capture.durable import write_file
from kdumpd.capture.status import Status
from kdumpd.crashes.assemble import PANIC, assemble
from kdumpd.crashes.record import read_status, recorded, time_of
from kdumpd.crashes.records import PstoreRecord, read_record
from kdumpd.crashes.report import FILE, Captured, Record, Report, Source
from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.reader import read_stream
from kdumpd.files import is_own, open_own

MODE = 0o600
PIECE = 256 << 10


def record_report(folder: Path, records: Iterable[Record] | None = None) -> Report:
    """Writes the report of a crash, durably, unless there is one already. `records` is what pstore had of this crash; by default,
    what its folder holds.

    Raises:
        OSError: the folder can't be read, or the report not be written.
    """
    if (report := recorded(folder)) is None:
        report = make_report(folder, records)
        write_file(folder / FILE, report.to_text().encode(), MODE)
    return report


def add_records(folder: Path) -> Report:
    """Sees to it that the report of a crash, which may have been written before, tells of the records in its folder.

    Raises:
        OSError: the folder can't be read, or the report not be written.
    """
    report, records = record_report(folder), records_in(folder)
    if report.records != records:
        report = replace(report, records=records)
        write_file(folder / FILE, report.to_text().encode(), MODE)
    return report


def records_in(folder: Path) -> tuple[Record, ...]:
    """The dumps of the log that pstore had of this crash, by the records in its folder, as far as they can be read.

    Raises:
        PermissionError: this user may not look.
    """
    try:
        paths = sorted((folder / pstore.FOLDER).iterdir())
        found = assemble(record for path in paths if (record := _readable_record(path)))
    except PermissionError:
        raise
    except OSError:
        return ()
    return tuple(record for crash in found.crashes for record in crash.records)


def _readable_record(path: Path) -> PstoreRecord | None:
    try:
        return record_at(path)
    except PermissionError:
        raise
    except OSError:
        return None


def record_at(path: Path) -> PstoreRecord | None:
    """The record in a file; None: it is no record.

    Raises:
        OSError: it can't be read.
    """
    return read_record(path.name, path.lstat().st_mtime, partial(pieces, path)) if is_own(path) else None


def pieces(path: Path) -> Iterator[bytes]:
    """What is in a file of a crash, piece by piece.

    Raises:
        OSError: it can't be read.
    """
    with open_own(path) as file:
        while piece := file.read(PIECE):
            yield piece


def make_report(folder: Path, records: Iterable[Record] | None = None) -> Report:
    """The report, from the raw files. `records`: as for `record_report`.

    Raises:
        OSError: the folder, or the log in it, can't be read.
    """
    names = {path.name for path in folder.iterdir()}
    log, told = folder / dmesg.FILE, read_status(folder)
    kept = records_in(folder) if records is None else tuple(records)
    # What is no log, but has its name, does not make a crash without a log.
    found = dmesg.FILE in names
    source = Source.NONE if not found else Source.DUMP if told or not kept else Source.PSTORE
    return Report(
        id=folder.name,
        time=time_of(folder),
        source=source,
        told=_read(log, survived=source is Source.PSTORE and all(record.reason != PANIC for record in kept)) if found else None,
        capture=_captured(told) if told else None,
        records=kept,
    )


def _read(log: Path, *, survived: bool) -> CrashText | None:
    """`survived`: pstore has an oops, but nothing of a panic. Then the kernel lived on, unless the log tells of its end."""
    with open_own(log) as stream:
        told = read_stream(stream)
    return replace(told, fatal=False) if told and survived and told.panic is None else told


def _captured(told: Status) -> Captured:
    failed = [step.detail for step in told.steps if not step.ok]
    return Captured(
        seconds=told.seconds,
        # Zero when /proc could not be read.
        peak_memory_kib=told.memory_kib.peak_used or None,
        crash_loop=told.crash_loop,
        problem=failed[-1] if failed else "",
        build_id=told.crash.build_id,
        kaslr_offset=told.crash.kaslr_offset,
    )
