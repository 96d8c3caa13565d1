# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps of a plan. Each can print itself; none can do itself, that is apply's work."""

import difflib
import hashlib
import shlex
from dataclasses import dataclass
from typing import Any

PROC_SYS = "/proc/sys/"


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
        return _diff(self.path, self.before, self.content)


@dataclass(frozen=True, kw_only=True)
class RemoveFile:
    """Remove a file of kdumpd's that the policy has no use for any more. `edited` as in WriteFile."""

    path: str
    before: str
    edited: bool = False

    @property
    def summary(self) -> str:
        return f"remove {self.path}"

    def details(self) -> str:
        """A unified diff of the file."""
        return _diff(self.path, self.before, None)


@dataclass(frozen=True, kw_only=True)
class SetKernelValue(_OneLine):
    """Set a parameter of the running kernel now; a rendered file sets it at the next boot. `path` is in /proc/sys or /sys."""

    path: str
    value: str
    before: str

    @property
    def summary(self) -> str:
        name = self.path.removeprefix(PROC_SYS).replace("/", ".") if self.path.startswith(PROC_SYS) else self.path
        return f"set {name} = {self.value} (now {self.before})"


@dataclass(frozen=True, kw_only=True)
class MakeFolder(_OneLine):
    """Create a store."""

    path: str
    mode: int = 0o755

    @property
    def summary(self) -> str:
        return f"create the folder {self.path}"


@dataclass(frozen=True, kw_only=True)
class RemoveFolder(_OneLine):
    """Remove a folder that kdumpd has made, unless there is something in it by then."""

    path: str

    @property
    def summary(self) -> str:
        return f"remove the folder {self.path}"


@dataclass(frozen=True, kw_only=True)
class RunTool(_OneLine):
    """Run a program that makes the boot loader's files, and why.

    `touches` are the files that it changes: they are kept, and put back when it fails. Without any, the program can
    simply be run again after its input was put back. `expects` are the kernel parameters that must be there afterwards.
    """

    argv: tuple[str, ...]
    reason: str
    touches: tuple[str, ...] = ()
    expects: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return f"run {shlex.join(self.argv)}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class BuildImage(_OneLine):
    """Build a dump image: a folder with a copy of the kernel, and an initrd with its modules."""

    release: str
    kernel: str
    folder: str

    @property
    def summary(self) -> str:
        return f"build the dump image {self.folder}"


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


@dataclass(frozen=True, kw_only=True)
class ForgetDumpKernel(_OneLine):
    """Unload the dump kernel, if it is ours, and see to it that no later start of kdumpd loads it again."""

    unload: bool

    @property
    def summary(self) -> str:
        return "unload the dump kernel" if self.unload else "forget the dump kernel that was loaded last"


@dataclass(frozen=True, kw_only=True)
class LoadByKdumpTools(_OneLine):
    """Let kdump-tools load the dump kernel, by the file that was rendered for it."""

    reason: str

    @property
    def summary(self) -> str:
        return f"run kdump-config reload: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class LoadModule(_OneLine):
    """Load a kernel module whose options were rendered."""

    name: str
    reason: str

    @property
    def summary(self) -> str:
        return f"load the module {self.name}: {self.reason}"


FileStep = WriteFile | RemoveFile
Step = (
    FileStep
    | SetKernelValue
    | MakeFolder
    | RemoveFolder
    | RunTool
    | BuildImage
    | LoadDumpKernel
    | ForgetDumpKernel
    | LoadByKdumpTools
    | LoadModule
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would have to change so that the machine is as the policy says; `notes` is what only a person can do."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.steps

    def without(self, path: str) -> "Plan":
        """The same plan, which leaves one file alone."""
        kept = tuple(step for step in self.steps if not (isinstance(step, WriteFile | RemoveFile) and step.path == path))
        return Plan(steps=kept, notes=self.notes)

    def to_json(self) -> dict[str, Any]:
        steps = [{"kind": type(step).__name__, "summary": step.summary, "details": step.details()} for step in self.steps]
        return {"steps": steps, "notes": list(self.notes)}

    def __str__(self) -> str:
        parts = [part for step in self.steps for part in (f"* {step.summary}", step.details()) if part]
        return "\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def fingerprint(content: str) -> str:
    """By which kdumpd knows its own file again: SHA-256 in hex."""
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()


def saved_copy(path: str, content: str) -> WriteFile:
    """What a person wrote, beside it. No program reads a file of that ending, and two versions have two names."""
    return WriteFile(path=f"{path}.saved-{fingerprint(content)[:8]}", content=content, before=None)


def _diff(path: str, before: str | None, after: str | None) -> str:
    diff = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        fromfile=path if before is not None else "/dev/null",
        tofile=path if after is not None else "/dev/null",
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)
    # A foreign file need not be UTF-8; it is kept byte by byte, but shown as it can be.
    return text.rstrip("\n").encode(errors="surrogateescape").decode(errors="replace")
