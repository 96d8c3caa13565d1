# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one error family. Only `cli` turns an error into an exit code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from kdumpd.terminal import harmless_lines

MAX_PROBLEMS = 20
# Of a line or a value that is wrong, so many characters are shown.
QUOTED = 100
MAX_MESSAGE = 1000
_LONG = re.compile(rf'(?<= ")[^"]{{{QUOTED + 1},}}(?=")|\S{{{QUOTED + 1},}}')


class ExitCode(IntEnum):
    """What the exit code of every command means."""

    OK = 0
    ERROR = 1
    USAGE = 2
    WOULD_CHANGE = 2
    NOT_ARMED = 3


class KdumpdError(Exception):
    """Something that kdumpd could not do: a lower-case fact with its value, and the way out as a hint."""

    # How a caller on D-Bus is told.
    dbus_name = "org.kdumpd1.Error.Failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nhint: {self.hint}" if self.hint else text


class HostError(KdumpdError):
    """This machine does not let itself be read, or is not what a step needs."""

    dbus_name = "org.kdumpd1.Error.Host"


class ToolError(KdumpdError):
    """A program that kdumpd started failed, ran too long or is not installed. `said` is the first line of its complaint."""

    def __init__(self, message: str, *, hint: str | None = None, said: str = "") -> None:
        super().__init__(message, hint=hint)
        self.said = said

    dbus_name = "org.kdumpd1.Error.Tool"


class ApplyError(KdumpdError):
    """A plan could not be carried out; what it had changed was put back."""

    dbus_name = "org.kdumpd1.Error.Apply"


class NotArmedError(KdumpdError):
    """The dump kernel is not loaded, and why."""

    dbus_name = "org.kdumpd1.Error.NotArmed"


class BusyError(KdumpdError):
    """Something else is at work, and this has to wait for it."""

    dbus_name = "org.kdumpd1.Error.Busy"


class NotAuthorizedError(KdumpdError):
    """The caller may not do this, or not see this."""

    dbus_name = "org.kdumpd1.Error.NotAuthorized"


class NoSuchCrashError(KdumpdError):
    """There is no crash of that name."""

    dbus_name = "org.kdumpd1.Error.NoSuchCrash"


def in_words(problem: Exception) -> KdumpdError:
    """What the system said, as one of the family; of anything else, that it is a defect of kdumpd."""
    if isinstance(problem, KdumpdError):
        return problem
    if isinstance(problem, OSError):
        return HostError(f"{problem.filename or 'system call'}: {problem.strerror}")
    return KdumpdError(f"internal error: {problem!r:.200}", hint="report it, with what journalctl -u kdumpd says")


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """One thing that is wrong at one place of the policy. Lines and columns count from 1."""

    source: str
    line: int
    column: int
    message: str
    hint: str | None = None
    text: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.source}:{self.line}:{self.column}: {_shortened(self.message)}"]
        if self.text is not None:
            start = max(0, min(self.column - 1 - QUOTED // 2, len(self.text) - QUOTED))
            quoted = harmless_lines(self.text[start : start + QUOTED])
            before, after = "…" if start else "", "…" if start + QUOTED < len(self.text) else ""
            # Tabs stay tabs in the caret line too, so that the caret stands below its column on any terminal.
            indent = "".join("\t" if char == "\t" else " " for char in before + quoted[: self.column - 1 - start])
            lines += [f"    {before}{quoted}{after}", f"    {indent}^"]
        if self.hint:
            lines.append(f"hint: {_shortened(self.hint)}")
        return "\n".join(lines)


def _shortened(text: str) -> str:
    """A message in which no quoted value, and no word, is longer than can be read."""
    short = _LONG.sub(lambda found: f"{found[0][: QUOTED - 1]}…", text)
    return short if len(short) <= MAX_MESSAGE else f"{short[: MAX_MESSAGE - 1]}…"


class PolicyError(KdumpdError):
    """All that is wrong with a policy, in the order of the file."""

    dbus_name = "org.kdumpd1.Error.Policy"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.source, problem.line, problem.column)))
        shown = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        if (more := len(self.problems) - len(shown)) > 0:
            shown.append(f"… and {more} more")
        super().__init__("\n".join(shown))
