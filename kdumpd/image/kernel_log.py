# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel itself says while it loads a dump kernel: an errno tells little, its log tells why."""

import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

RECORD_BYTES = 8192
ABOUT_LOADING = re.compile(r"kexec|lockdown|ima:|PEFILE|crash_core|signature|keyring", re.IGNORECASE)


class KernelLog:
    """From `with` on; `lines` are those about kexec that came since. Without a /dev/kmsg there are none."""

    def __init__(self, root: Path) -> None:
        self._path = root / "dev/kmsg"
        self._file = -1

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError:
            self._close()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def lines(self) -> list[str]:
        found = []
        while self._file >= 0 and (record := self._next()):
            # "6,339,5140900,-;text", and below it lines that begin with a blank (Documentation/ABI/testing/dev-kmsg).
            text = record.partition(";")[2].partition("\n")[0]
            if ABOUT_LOADING.search(text) and text not in found:
                found.append(text)
        return found

    def _next(self) -> str:
        while True:
            try:
                return os.read(self._file, RECORD_BYTES).decode(errors="replace")
            except BrokenPipeError:
                # What we were to read next was overwritten meanwhile: the kernel goes on with the oldest that it has.
                continue
            except OSError:
                return ""
