# SPDX-License-Identifier: LGPL-2.1-or-later
"""This machine as it was before kdumpd changed it for the first time: what the way back to it can't be told from elsewhere."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdumpd.capture.durable import remove_file, write_file
from kdumpd.decode import ANY_BYTES, read_json
from kdumpd.files import exists, read_own_text
from kdumpd.host import layout


@dataclass(frozen=True, kw_only=True)
class OriginalFile:
    """A file that was there before kdumpd took it over."""

    content: str = field(metadata=ANY_BYTES)
    mode: int


@dataclass(frozen=True, kw_only=True)
class Original:
    """Files by their absolute path, and values of the running kernel. What is not in here, was not there."""

    files: Mapping[str, OriginalFile]
    values: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def read_original(root: Path) -> Original:
    """Empty before the first apply, and for a user who may not look."""
    return read_json(root / layout.ORIGINAL, Original) or Original(files={}, values={})


def read_made_folders(root: Path) -> dict[str, frozenset[str]]:
    """The folders that kdumpd has made and that are still there, with the names in them, each before those that are in it."""
    paths = sorted(_recorded(root))
    return {path: frozenset(_names(root, path)) for path in paths if exists(root / path.lstrip("/"))}


def note_made_folders(root: Path, new: Iterable[str]) -> None:
    """
    Raises:
        OSError: that could not be written.
    """
    recorded = _recorded(root)
    if (now := recorded.union(new)) != recorded:
        _record(root, now)


def forget_made_folder(root: Path, path: str) -> None:
    """
    Raises:
        OSError: that could not be written.
    """
    _record(root, _recorded(root) - {path})


def _recorded(root: Path) -> set[str]:
    return {line for line in (read_own_text(root / layout.MADE_FOLDERS) or "").splitlines() if line.startswith("/")}


def _record(root: Path, folders: set[str]) -> None:
    """One in a line: the package's postrm, a shell, reads it too."""
    record = root / layout.MADE_FOLDERS
    if not folders:
        remove_file(record)
        return
    record.parent.mkdir(parents=True, exist_ok=True)
    write_file(record, "".join(f"{folder}\n" for folder in sorted(folders)).encode(), 0o644)


def _names(root: Path, path: str) -> Iterable[str]:
    try:
        return [found.name for found in (root / path.lstrip("/")).iterdir()]
    except OSError:
        # Not to be looked into, so nothing that could be removed.
        return ["?"]
