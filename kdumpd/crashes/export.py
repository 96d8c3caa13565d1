# SPDX-License-Identifier: LGPL-2.1-or-later
"""One crash as a tar.gz for somebody else, with a manifest, and if wished without what tells which machine it is of."""

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from kdumpd import __version__
from kdumpd.capture import pstore, vmcore
from kdumpd.capture.keep import OURS
from kdumpd.capture.status import CrashFacts, Memory, Status, Step
from kdumpd.crashes.redact import Redactor, whole_lines
from kdumpd.crashes.report import Captured, Record, Report
from kdumpd.crashes.taint import Blame, Flag, TaintReport
from kdumpd.crashes.text.model import CrashText, Earlier, Frame, Module, Notes, Process

VERSION = 1
MANIFEST = "manifest.json"
MODE = 0o600
# What is large is a vmcore, which is compressed already.
COMPRESSION = 1
# A report has some KiB; what is larger is masked as text, piece by piece.
MAX_JSON = 16 << 20
SNIFFED = 64 << 10
# The keys of report.json and status.json. Any other key may be a secret.
_KINDS = (Report, Record, Captured, CrashText, Frame, Module, Process, Earlier, Notes, TaintReport, Blame, Flag)
OWN_KEYS = frozenset(
    {"version", "verdict", "dmesg_saved", "value", "flags", "explained"}.union(
        *([field.name for field in fields(kind)] for kind in _KINDS),
        Step._fields,
        Memory._fields,
        CrashFacts._fields,
        vars(Status(started="", kernel="")),
    )
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file in the archive."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that is not in it, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an archive holds; the last file in it. `masked` is how many different values of each sort."""

    crash: str
    redacted: bool
    files: tuple[Exported, ...]
    left_out: tuple[LeftOut, ...]
    masked: dict[str, int]
    version: int = VERSION
    kdumpd: str = __version__

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_crash(folder: Path, output: BinaryIO, redactor: Redactor | None = None) -> Manifest:
    """Writes a crash as a tar.gz; with a redactor, masked by it.

    Raises:
        OSError: a file could not be read, or the archive not be written.
    """
    chosen, left_out = _choose(folder, redacted=redactor is not None)
    if redactor:
        for name in chosen:
            _learn(folder / name, redactor)
    files = []
    with (
        gzip.GzipFile(fileobj=output, mode="wb", compresslevel=COMPRESSION, filename="") as packed,
        # The format that takes a file of any size and name; in a stream, so that it can go to standard output.
        tarfile.open(fileobj=cast(IO[bytes], packed), mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in chosen:
            with _open(folder / name) as source:
                content = _masked(source, name, redactor) if redactor else source
                files.append(_add(archive, f"{_top(folder)}/{_name(name, redactor)}", content))
        manifest = Manifest(
            crash=folder.name,
            redacted=redactor is not None,
            files=tuple(files),
            left_out=tuple(replace(left, name=_name(left.name, redactor)) for left in left_out),
            masked=redactor.counts if redactor else {},
        )
        text = json.dumps(manifest.to_json(), indent=2) + "\n"
        _add(archive, f"{_top(folder)}/{MANIFEST}", io.BytesIO(text.encode()))
    return manifest


def _top(folder: Path) -> str:
    return f"kdumpd-{folder.name}"


def _name(name: str, redactor: Redactor | None) -> str:
    """The name of a file in the archive: our own stay, but a record of pstore, or what kdumpd did not make, is called anything."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{redactor.mask(last)}" if redactor and name not in OURS else name


def _choose(folder: Path, *, redacted: bool) -> tuple[list[str], list[LeftOut]]:
    """The names to export, and what is left out."""
    chosen, left_out = [], []
    for name in _names(folder):
        if reason := _reason_against(folder, name, redacted=redacted):
            left_out.append(LeftOut(name=name, reason=reason))
        else:
            chosen.append(name)
    return chosen, left_out


def _names(folder: Path) -> Iterator[str]:
    records = folder / pstore.FOLDER
    for path in sorted(folder.iterdir()):
        if path == records and stat.S_ISDIR(path.lstat().st_mode):
            yield from (f"{pstore.FOLDER}/{record.name}" for record in sorted(records.iterdir()))
        else:
            yield path.name


def _reason_against(folder: Path, name: str, *, redacted: bool) -> str | None:
    path = folder / name
    if path.parent == folder and name not in OURS:
        return "kdumpd did not make it"
    if not stat.S_ISREG(path.lstat().st_mode):
        return "it is not a file"
    if redacted and name in (vmcore.FILE, vmcore.INCOMPLETE):
        return "the memory of a machine can't be redacted"
    if redacted and _is_binary(path):
        return "it is not text, so it can't be redacted"
    return None


def _is_binary(path: Path) -> bool:
    with _open(path) as file:
        return b"\0" in file.read(SNIFFED)


def _open(path: Path) -> BinaryIO:
    # Whoever may write into a crash folder must not make root hand out another file.
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _learn(path: Path, redactor: Redactor) -> None:
    redactor.learn(path.name)
    with _open(path) as file:
        if _is_json(path.name, file):
            redactor.learn_json(file.read().decode(errors="surrogateescape"))
        else:
            for line in whole_lines(file):
                redactor.learn(line)


def _is_json(name: str, file: BinaryIO) -> bool:
    return name.endswith(".json") and os.fstat(file.fileno()).st_size <= MAX_JSON


def _masked(source: BinaryIO, name: str, redactor: Redactor) -> BinaryIO:
    """The masked text in a nameless file, for the archive has to know its size first."""
    masked = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it goes with its last reader
    if _is_json(name, source):
        parts: Iterable[str] = [redactor.mask_json(source.read().decode(errors="surrogateescape"), OWN_KEYS)]
    else:
        parts = map(redactor.mask, whole_lines(source))
    for part in parts:
        masked.write(part.encode(errors="surrogateescape"))
    masked.seek(0)
    return masked


def _add(archive: tarfile.TarFile, name: str, content: BinaryIO) -> Exported:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, io.SEEK_END)
    info.mode, info.mtime = MODE, int(time.time())
    content.seek(0)
    reader = _Hashing(content)
    archive.addfile(info, reader)  # type: ignore[arg-type]  # it only reads
    return Exported(name=name.partition("/")[2], bytes=info.size, sha256=reader.digest)


class _Hashing:
    """Reads a file, and adds up what was read: a vmcore is too large to be read twice."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._sum.update(content)
        return content

    @property
    def digest(self) -> str:
        return self._sum.hexdigest()
