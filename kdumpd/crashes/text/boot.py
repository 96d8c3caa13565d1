# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one boot's part of a log told."""

from collections import deque

from kdumpd.crashes.text.block import Block, is_fatal_alone
from kdumpd.crashes.text.grammar import Role

# Of a boot that gave warnings for a year, the first faults and the last are enough.
FIRST_FAULTS = 16
LAST_FAULTS = 48
MAX_NOTES = 20
MAX_NOTE = 500
MAX_FTRACE = 2000


class Boot:
    """The faults and notes of one boot."""

    def __init__(self, release: str | None = None) -> None:
        self.release = release
        self.hardware: str | None = None
        self.dump_kernel = False
        self.test: str | None = None
        self.hardware_errors: list[str] = []
        self.hardware_error_count = 0
        self.oom_kills: list[str] = []
        self.oom_kill_count = 0
        self.ftrace: deque[str] = deque(maxlen=MAX_FTRACE)
        self.ftrace_lines = 0
        self._first: list[Block] = []
        self._last: deque[Block] = deque(maxlen=LAST_FAULTS)

    @property
    def blocks(self) -> list[Block]:
        """The faults that are kept, in their order."""
        return [*self._first, *self._last]

    @property
    def died(self) -> bool:
        """Whether the log shows an end."""
        return any(is_fatal_alone(block) for block in self.blocks)

    def add(self, block: Block) -> None:
        if len(self._first) < FIRST_FAULTS:
            self._first.append(block)
            return
        if len(self._last) == LAST_FAULTS:
            # A flood of warnings must not push out an oops that came before it.
            self._last.remove(next((old for old in self._last if old.role is not Role.OOPS), self._last[-1]))
        self._last.append(block)

    def note_hardware_error(self, text: str) -> None:
        self.hardware_error_count += 1
        if len(self.hardware_errors) < MAX_NOTES:
            self.hardware_errors.append(text[:MAX_NOTE])

    def note_oom_kill(self, text: str) -> None:
        self.oom_kill_count += 1
        if len(self.oom_kills) < MAX_NOTES:
            self.oom_kills.append(text[:MAX_NOTE])

    def note_dump_kernel(self, _: str) -> None:
        self.dump_kernel = True

    def note_hardware(self, text: str) -> None:
        self.hardware = self.hardware or text.removeprefix("DMI: ")[:MAX_NOTE]

    def note_test(self, text: str) -> None:
        self.test = text.split()[2].rstrip(":")

    def note_ftrace(self, text: str) -> None:
        self.ftrace_lines += 1
        self.ftrace.append(text[:MAX_NOTE])
