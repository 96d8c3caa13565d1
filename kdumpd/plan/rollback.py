# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back to the state before the last apply: a plan like any other."""

from collections.abc import Iterator

from kdumpd.errors import ApplyError
from kdumpd.host import layout
from kdumpd.host.facts import Facts
from kdumpd.plan.ours import was_edited
from kdumpd.plan.steps import Plan, RemoveFile, RunTool, SetKernelValue, Step, WriteFile
from kdumpd.transaction import FileBefore, Generation


def make_rollback(facts: Facts) -> Plan:
    """Puts every file of the last apply back, and remembers which policy that was, so that nobody applies it again by itself.

    Raises:
        ApplyError: there is nothing to go back to.
    """
    previous = facts.previous
    if previous is None:
        raise ApplyError("there is no apply to take back", hint="kdumpd rollback goes back one apply, and only as root")
    files = tuple(step for before in previous.files for step in _file_steps(before, facts))
    steps: tuple[Step, ...] = (*files, *_hold(files, facts), *_tool_steps(previous), *_value_steps(previous, facts))
    return Plan(steps=steps, notes=tuple(_notes(files)))


def _file_steps(before: FileBefore, facts: Facts) -> Iterator[WriteFile | RemoveFile]:
    ours = before.path in facts.files
    if before.now == before.content or before.path == layout.absolute(layout.ROLLED_BACK):
        return
    edited = ours and was_edited(before.path, facts)
    if before.content is None and before.now is not None:
        yield RemoveFile(path=before.path, before=before.now, edited=edited)
    # A boot entry that is gone belonged to a kernel that is gone.
    elif before.content is not None and (ours or before.now is not None):
        yield WriteFile(path=before.path, content=before.content, before=before.now, mode=before.mode, edited=edited)


def _hold(files: tuple[WriteFile | RemoveFile, ...], facts: Facts) -> Iterator[WriteFile | RemoveFile]:
    """Nobody but a person applies the policy that is taken back again; a second rollback goes forward, and lets it go."""
    path, in_force_path = layout.absolute(layout.ROLLED_BACK), layout.absolute(layout.IN_FORCE)
    held, in_force = facts.files[path].content, facts.files[in_force_path].content
    restored = next((step.content for step in files if isinstance(step, WriteFile) and step.path == in_force_path), None)
    if held is not None and held == restored:
        yield RemoveFile(path=path, before=held)
    elif in_force is not None and held != in_force:
        yield WriteFile(path=path, content=in_force, before=held)


def _tool_steps(previous: Generation) -> Iterator[RunTool]:
    for tool in previous.tools:
        yield RunTool(argv=tool, reason="its files are as before the last apply")


def _value_steps(previous: Generation, facts: Facts) -> Iterator[SetKernelValue]:
    for path, value in previous.values.items():
        now = facts.values.get(path)
        if now is not None and now != value:
            yield SetKernelValue(path=path, value=value, before=now)


def _notes(files: tuple[WriteFile | RemoveFile, ...]) -> Iterator[str]:
    if any(step.path == layout.absolute(layout.BOOT_PARAMETERS) for step in files):
        yield "the kernel's command line is as before from the next reboot on"
    yield f"/{layout.POLICY} stays as it is; kdumpd applies it again when you change it, or by: kdumpd apply"
