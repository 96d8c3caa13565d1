# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps of a plan. Each can print itself; none can do itself, that is apply's work."""

import difflib
import hashlib
import shlex
from dataclasses import dataclass
from typing import Any


class _OneLine:
    """A step that its summary says all of."""

    def details(self) -> str:
        return ""


@dataclass(frozen=True, kw_only=True)
class WriteFile:
    """Replace or create a rendered file. `edited` means that a person changed it since kdumpd wrote it."""

    path: str
    content: str
    before: str | None
    mode: int = 0o644
    edited: bool = False

    @property
    def summary(self) -> str:
        return f"{'create' if self.before is None else 'change'} {self.path}"

    def details(self) -> str:
        """A unified diff of the file."""
        diff = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.content.splitlines(keepends=True),
            fromfile=self.path if self.before is not None else "/dev/null",
            tofile=self.path,
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff).rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class SetSysctl(_OneLine):
    """Set a kernel parameter now; the rendered file sets it at the next boot."""

    name: str
    value: int
    before: int

    @property
    def summary(self) -> str:
        return f"set {self.name} = {self.value} (now {self.before})"


@dataclass(frozen=True, kw_only=True)
class MakeFolder(_OneLine):
    """Create a store."""

    path: str
    mode: int = 0o755

    @property
    def summary(self) -> str:
        return f"create the folder {self.path}"


@dataclass(frozen=True, kw_only=True)
class RunTool(_OneLine):
    """Run a program of the system, and why."""

    argv: tuple[str, ...]
    reason: str

    @property
    def summary(self) -> str:
        return f"run {shlex.join(self.argv)}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class BuildImage(_OneLine):
    """Build the dump initrd for a kernel."""

    release: str
    initrd: str

    @property
    def summary(self) -> str:
        return f"build the dump initrd {self.initrd}"


@dataclass(frozen=True, kw_only=True)
class LoadDumpKernel:
    """Load kernel, initrd and command line into the reserved memory."""

    kernel: str
    initrd: str
    command_line: str

    @property
    def summary(self) -> str:
        return f"load the dump kernel {self.kernel}"

    def details(self) -> str:
        return f"  with {self.initrd}\n  and the command line {self.command_line}"


Step = WriteFile | SetSysctl | MakeFolder | RunTool | BuildImage | LoadDumpKernel


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would have to change so that the machine is as the policy says; `notes` is what only a person can do."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.steps

    def to_json(self) -> dict[str, Any]:
        steps = [{"kind": type(step).__name__, "summary": step.summary, "details": step.details()} for step in self.steps]
        return {"steps": steps, "notes": list(self.notes)}

    def __str__(self) -> str:
        parts = [part for step in self.steps for part in (f"* {step.summary}", step.details()) if part]
        return "\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def fingerprint(content: str) -> str:
    """By which kdumpd knows its own file again: SHA-256 in hex."""
    return hashlib.sha256(content.encode()).hexdigest()
