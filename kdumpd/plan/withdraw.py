# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back to the machine before kdumpd: a plan like any other."""

import shlex
from collections.abc import Iterator

from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.facts import BootLoader, Facts
from kdumpd.host.original import OriginalFile
from kdumpd.parameters import tokenize
from kdumpd.plan.boot import kernel_cmdline
from kdumpd.plan.command_line import CAPTURE_TARGET
from kdumpd.plan.ours import RECORDS, was_changed, was_edited
from kdumpd.plan.steps import (
    FileStep,
    ForgetDumpKernel,
    Plan,
    RemoveFile,
    RemoveFolder,
    RunTool,
    SetKernelValue,
    Step,
    WriteFile,
    saved_copy,
)

GRUB_DROP_IN = layout.absolute(layout.GRUB_DROP_IN)
KDUMP_TOOLS = layout.absolute(layout.KDUMP_TOOLS)
KERNEL_CMDLINE = layout.absolute(layout.KERNEL_CMDLINE)


def make_withdrawal(facts: Facts, *, boot_loader: bool = True) -> Plan:
    """Takes back all that kdumpd has applied here, and gives each file back to whoever had it before.

    What a person has written into a file of kdumpd's is kept beside it. The dump images and the crashes stay.
    `boot_loader` false: its files are taken back, but nobody makes anything of that yet.

    Raises:
        HostError: this user can't read what there is.
    """
    boot = tuple(_boot_loader_steps(facts))
    tools = tuple(step for step in boot if isinstance(step, RunTool))
    files = (*_file_steps(facts), *(step for step in boot if isinstance(step, WriteFile)))
    steps: tuple[Step, ...] = (
        *files,
        *(tools if boot_loader else ()),
        *_dump_kernel_steps(facts),
        *_value_steps(facts),
        *_folder_steps(facts, {step.path for step in files if isinstance(step, RemoveFile)}),
    )
    return Plan(steps=steps, notes=tuple(_notes(facts, files, left_out=() if boot_loader else tools)))


def _file_steps(facts: Facts) -> Iterator[FileStep]:
    for path, found in facts.files.items():
        if found.unreadable:
            raise HostError(f"cannot read {path}, so cannot tell what would change", hint="run this as root")
        if found.content is None or found.pristine or not (path in facts.rendered or path in RECORDS):
            continue
        original, edited = _original(path, facts), was_edited(path, facts)
        if original is None:
            yield RemoveFile(path=path, before=found.content, edited=edited)
        elif found.content != original.content:
            yield WriteFile(path=path, content=original.content, before=found.content, mode=original.mode, edited=edited)
        if original is not None and (copy := saved_copy(path, original.content)).path in facts.saved_copies:
            yield RemoveFile(path=copy.path, before=copy.content)


def _original(path: str, facts: Facts) -> OriginalFile | None:
    """What was there before kdumpd; what kdump-tools would have there, where it came later."""
    if path == KDUMP_TOOLS and path not in facts.original.files and facts.kdump_tools and facts.kdump_tools.own_settings:
        return OriginalFile(content=facts.kdump_tools.own_settings, mode=0o644)
    return facts.original.files.get(path)


def _boot_loader_steps(facts: Facts) -> Iterator[WriteFile | RunTool]:
    boot = facts.boot
    ours = tokenize(facts.files[layout.absolute(layout.BOOT_PARAMETERS)].content or "")
    match boot.loader:
        case BootLoader.GRUB:
            if GRUB_DROP_IN in facts.rendered and facts.files[GRUB_DROP_IN].content is not None:
                yield RunTool(argv=("update-grub",), reason=f"{GRUB_DROP_IN} goes")
        case BootLoader.GRUBBY if any(word in tokenize(entry.command_line) for entry in boot.entries or () for word in ours):
            yield RunTool(
                argv=("grubby", "--update-kernel=ALL", f"--remove-args={' '.join(ours)}"),
                reason="entries of /boot/loader/entries carry it",
                touches=boot.entry_files,
            )
        case BootLoader.SYSTEMD_BOOT if boot.kernel_cmdline is not None and ours:
            yield _without(ours, boot.kernel_cmdline, facts)
            for kernel in boot.kernels:
                yield RunTool(
                    argv=("kernel-install", "add", kernel.release, kernel.image),
                    reason=f"{KERNEL_CMDLINE} changes",
                    touches=boot.entry_files,
                )
        case _:
            return


def _without(ours: tuple[str, ...], now: str, facts: Facts) -> WriteFile:
    """/etc/kernel/cmdline as it was before, when nobody but kdumpd has changed it since; else only without our words.

    One that was not there before stays: without it kernel-install takes the words of /proc/cmdline, where ours are until a reboot.
    """
    original = facts.original.files.get(KERNEL_CMDLINE)
    untouched = original is not None and not was_changed(KERNEL_CMDLINE, now, facts)
    content = original.content if original and untouched else kernel_cmdline((), facts, stale=ours)
    return WriteFile(path=KERNEL_CMDLINE, content=content, before=now)


def _dump_kernel_steps(facts: Facts) -> Iterator[ForgetDumpKernel]:
    loaded, tools = facts.last_loaded, facts.kdump_tools
    by_us = loaded is not None and loaded.boot_id == facts.boot_id
    by_kdump_tools = tools is not None and tools.loaded_in_this_boot and CAPTURE_TARGET in (tools.last_command or "")
    unload = bool(facts.kexec.loaded) and (by_us or by_kdump_tools)
    if loaded is not None or unload:
        yield ForgetDumpKernel(unload=unload)


def _value_steps(facts: Facts) -> Iterator[SetKernelValue]:
    for path, value in facts.original.values.items():
        now = facts.values.get(path)
        if now is not None and now != value:
            yield SetKernelValue(path=path, value=value, before=now)


def _folder_steps(facts: Facts, gone: set[str]) -> Iterator[RemoveFolder]:
    """Those that kdumpd has made and that nobody else has put anything into, the innermost first."""
    for path, names in sorted(facts.made_folders.items(), reverse=True):
        if {f"{path}/{name}" for name in names} <= gone:
            gone = {*gone, path}
            yield RemoveFolder(path=path)


def _notes(facts: Facts, files: tuple[FileStep, ...], *, left_out: tuple[RunTool, ...]) -> Iterator[str]:
    ours = " ".join(tokenize(facts.files[layout.absolute(layout.BOOT_PARAMETERS)].content or ""))
    for tool in left_out:
        yield f"{ours} stays on the kernel's command line until somebody runs: {shlex.join(tool.argv)}"
    if ours and facts.boot.loader is BootLoader.NONE:
        yield f"take this out of the kernel's command line yourself: {ours}"
    elif ours and facts.kexec.reserved and not left_out:
        yield "the reserved memory is free again after the next reboot"
    if facts.boot.loader is BootLoader.SYSTEMD_BOOT and ours and KERNEL_CMDLINE not in facts.original.files:
        yield f"{KERNEL_CMDLINE} was made by kdumpd and stays: kernel-install needs it until the next reboot"
    if any(step.path == KDUMP_TOOLS and isinstance(step, RemoveFile) for step in files) and facts.kdump_tools:
        yield f"kdump-tools has no {KDUMP_TOOLS} now; to make one: dpkg-reconfigure kdump-tools"
