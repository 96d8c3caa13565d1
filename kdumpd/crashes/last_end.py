# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the last boot ended: in good order, by a crash with or without a dump, or cut off."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kdumpd.capture.durable import write_file
from kdumpd.crashes.archive import Crash, list_crashes
from kdumpd.crashes.report import Source
from kdumpd.decode import read_json
from kdumpd.files import read_own_text, read_text
from kdumpd.host import layout

BOOT_ID = "proc/sys/kernel/random/boot_id"
# kdumpd-harvest.service overwrites it in place when it is stopped, which needs no room on a disk that may be full.
NO_CLEAN_END = b"-" * 36 + b"\n"
MODE = 0o644
UNSAVED = "what pstore has of it could not be saved"
LOST_TEST = "kdumpd test has crashed the machine, but nothing was saved"


class Ended(StrEnum):
    """How a boot ended."""

    CLEAN = "clean"
    WITH_DUMP = "crashed-with-dump"
    WITHOUT_DUMP = "crashed-without-dump"
    CUT_OFF = "cut-off"


@dataclass(frozen=True, kw_only=True)
class LastEnd:
    """How the boot `ended_boot` ended, as the boot `told_in` found. `verdict` is that of its crash, in `folder`."""

    ended: Ended
    ended_boot: str
    told_in: str
    folder: str = ""
    verdict: str = ""
    test: bool = False

    @property
    def words(self) -> str:
        """All of it in one line."""
        match self.ended:
            case Ended.CLEAN:
                return "clean"
            case Ended.WITH_DUMP:
                return f"crashed, with a dump: {self.verdict}"
            case Ended.WITHOUT_DUMP:
                return f"crashed, without a dump: {self.verdict}"
            case Ended.CUT_OFF:
                return "cut off: neither a shutdown nor a crash; power, reset button or a freeze"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "words": self.words}


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The boot that runs, and the one before it, which ended in good order if `clean`. `known` are the crash folders that are
    older than the end of the boot before, `known_later` those that are older than the end of this one.
    """

    boot_id: str
    before: str = ""
    clean: bool = False
    known: tuple[str, ...] = ()
    known_later: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What counts here of a `kdumpd test`."""

    boot_id: str


def judge_end(this: Boot, crashes: Sequence[Crash], *, unsaved: bool = False, test: bool = False) -> LastEnd:
    """How the boot before this one ended, by all crashes in the stores. `test`: it was to end by a `kdumpd test`."""
    known = set(this.known)
    new = [crash for crash in crashes if str(crash.folder) not in known]
    # An oops that the kernel survived is no end.
    fatal = [crash for crash in new if not (this.clean and _survived(crash))]
    crash = next((crash for crash in reversed(fatal) if _has_dump(crash)), next(reversed(fatal), None))
    told = LastEnd(ended=Ended.CLEAN if this.clean else Ended.CUT_OFF, ended_boot=this.before, told_in=this.boot_id)
    if crash:
        ended = Ended.WITH_DUMP if _has_dump(crash) else Ended.WITHOUT_DUMP
        return replace(told, ended=ended, folder=str(crash.folder), verdict=crash.verdict, test=crash.test is not None or test)
    if this.clean or not (unsaved or test):
        return told
    return replace(told, ended=Ended.WITHOUT_DUMP, verdict=UNSAVED if unsaved else LOST_TEST, test=test)


def reconcile(root: Path, stores: Sequence[str], *, begins: bool, unsaved: bool = False) -> None:
    """Judges how the boot before this one ended, and puts that on record.

    `begins`: the boot begins with this; a further run looks only for a crash that the first could not find yet. Without a first
    run nobody marks a clean end, so nothing can be judged. `unsaved`: pstore has something that could not be saved.

    Raises:
        OSError: the verdict could not be written; the next call judges again.
    """
    now, before = (read_text(root / BOOT_ID) or "").strip(), _read_boot(root)
    if not now or not (begins or (before and before.boot_id == now)):
        return
    crashes = list_crashes(root, stores)
    if before is not None and before.boot_id == now:
        this = before
    else:
        clean = before is not None and (read_own_text(root / layout.CLEAN_END) or "").strip() == before.boot_id
        this = Boot(
            boot_id=now,
            before=before.boot_id if before else "",
            clean=clean,
            # All that there is was saved before this boot; what comes to it in this boot is of the end of the boot before.
            known=before.known_later if before else tuple(str(crash.folder) for crash in crashes),
        )
    this = replace(this, known_later=tuple(str(crash.folder) for crash in crashes))
    (root / layout.STATE).mkdir(parents=True, exist_ok=True)
    if this.before:
        judged, told = judge_end(this, crashes, unsaved=unsaved, test=_test_of(root, this.before)), read_last_end(root)
        # What was told stays told, also when the crash is removed; but for a crash that was not found before.
        if told is None or (judged.folder and not told.folder):
            write_file(root / layout.LAST_END, _text(asdict(judged)), MODE)
    write_file(root / layout.THIS_BOOT, _text(asdict(this)), MODE)
    # Last: until the boot before is judged, its mark is needed.
    write_file(root / layout.CLEAN_END, NO_CLEAN_END, MODE)


def leave_out(root: Path, folders: Sequence[Path]) -> None:
    """What was harvested from somewhere else tells nothing of this machine's boots.

    Raises:
        OSError: that could not be written down.
    """
    this = _read_boot(root)
    if this and folders:
        names = tuple(str(folder) for folder in folders)
        this = replace(this, known=(*this.known, *names), known_later=(*this.known_later, *names))
        write_file(root / layout.THIS_BOOT, _text(asdict(this)), MODE)


def read_last_end(root: Path) -> LastEnd | None:
    """How the boot before this one ended; None: nothing is known of it."""
    now = (read_text(root / BOOT_ID) or "").strip()
    found = read_json(root / layout.LAST_END, LastEnd)
    return found if found and found.told_in == now else None


def _survived(crash: Crash) -> bool:
    told = crash.report.told if crash.report else None
    return crash.report is not None and crash.report.source is Source.PSTORE and told is not None and not told.fatal


def _has_dump(crash: Crash) -> bool:
    return crash.log is not None and crash.report is not None and crash.report.source is Source.DUMP


def _read_boot(root: Path) -> Boot | None:
    return read_json(root / layout.THIS_BOOT, Boot)


def _test_of(root: Path, boot_id: str) -> bool:
    """Whether a `kdumpd test` was begun in this boot, and not judged yet."""
    test = read_json(root / layout.TEST, _Begun)
    return test is not None and test.boot_id == boot_id


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
