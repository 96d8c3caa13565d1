# SPDX-License-Identifier: LGPL-2.1-or-later
"""report.json: what is known of one crash. Written once, beside the raw files; all that is told of a crash is derived from it."""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kdumpd import __version__
from kdumpd.capture import keep
from kdumpd.crashes.text.model import CrashText, Kind
from kdumpd.decode import decode, parse_json
from kdumpd.errors import KdumpdError
from kdumpd.terminal import harmless
from kdumpd.units import KIB

VERSION = 1
FILE = keep.REPORT
# A physical address has at most 52 bits on the machines that there are.
MAX_MEMORY = 1 << 52


class ReportError(KdumpdError):
    """A file is no report."""


class Source(StrEnum):
    """Where the log is from."""

    DUMP = "dump"
    PSTORE = "pstore"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A dump of the log that pstore had, put together from its parts. `missing` are the numbers of parts that were not there."""

    backend: str
    reason: str
    count: int
    parts: int
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Captured:
    """What status.json told of the capture. `problem` is the last thing that failed, in words."""

    seconds: float
    peak_memory_kib: int | None = None
    crash_loop: str = ""
    problem: str = ""
    build_id: str | None = None
    kaslr_offset: int | None = None

    @property
    def peak_memory(self) -> int | None:
        """The most memory that the dump kernel used, in bytes; None where status.json has no number that can be one."""
        peak = self.peak_memory_kib
        return peak * KIB if type(peak) is int and 0 < peak * KIB < MAX_MEMORY else None


@dataclass(frozen=True, kw_only=True)
class Report:
    """One crash. `id` is the name of its folder, `time` is UTC, as in 2026-11-23T01:02:03Z.

    `told` is what its log tells, None when there is none, or when it tells of no fault. `capture` is None when no dump kernel
    ran, `records` is what pstore had of it. `written_by` is the version of kdumpd.
    """

    id: str
    time: str
    source: Source
    told: CrashText | None = None
    capture: Captured | None = None
    records: tuple[Record, ...] = ()
    written_by: str = __version__

    @property
    def test(self) -> str | None:
        """The token of the `kdumpd test` that this crash is; a machine that died of something else before is none."""
        return self.told.test if self.told and self.told.kind is Kind.SYSRQ else None

    @property
    def verdict(self) -> str:
        """What happened, in one line."""
        # Journal, D-Bus and monitoring show it as it is.
        return harmless(self._verdict())

    def _verdict(self) -> str:
        if self.told:
            survived = self.source is Source.PSTORE and not self.told.fatal
            note = " (kdumpd test)" if self.test else " (it did not end the kernel, as far as pstore tells)" if survived else ""
            return self.told.title + note
        if self.source is not Source.NONE:
            return "the log was saved, but says nothing of a fault"
        if self.capture and self.capture.problem:
            return f"no log was saved: {self.capture.problem}"
        return "no log was saved: the capture did not get that far"

    def to_json(self) -> dict[str, Any]:
        """The fields of `told` are the object's own: `kind`, `title`, `function`, ….; they are missing where there is none."""
        own = {
            "version": VERSION,
            "id": self.id,
            "time": self.time,
            "source": self.source,
            "verdict": self.verdict,
            "capture": vars(self.capture) if self.capture else None,
            "records": [vars(record) for record in self.records],
            "written_by": self.written_by,
        }
        return own | (self.told.to_json() if self.told else {})

    def to_text(self) -> str:
        """The text of a report.json."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    @classmethod
    def from_text(cls, text: str | bytes) -> "Report":
        """
        Raises:
            ReportError: it is no text of a report.json, or of a version that this kdumpd does not know.
        """
        try:
            found = parse_json(text, dict, version=VERSION)
            told = CrashText.from_json(found) if "kind" in found else None
            return replace(decode(cls, found | {"told": None}), told=told)
        except ValueError as problem:
            raise ReportError(f"not a {FILE} that kdumpd {__version__} can read: {problem}") from problem
