# SPDX-License-Identifier: LGPL-2.1-or-later
"""Decides what would have to change."""

from collections.abc import Iterator
from pathlib import Path

from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.facts import DumpSet, Facts
from kdumpd.host.images import INITRD, KERNEL
from kdumpd.plan.boot import boot_loader_steps, boot_notes
from kdumpd.plan.command_line import dump_command_line
from kdumpd.plan.handover import capture_parameters
from kdumpd.plan.kernel_values import EARLY_PSTORE, kernel_values, unknown_faults
from kdumpd.plan.ours import loaded_by_kdump_tools, misses_hotplug, was_edited
from kdumpd.plan.ramoops import BACKEND, may_be_loaded
from kdumpd.plan.render import render_files
from kdumpd.plan.steps import (
    BuildImage,
    LoadByKdumpTools,
    LoadDumpKernel,
    LoadModule,
    MakeFolder,
    Plan,
    RemoveFile,
    SetKernelValue,
    Step,
    WriteFile,
)
from kdumpd.plan.stores import LOCAL_STORE, can_be_made, out_of_reach
from kdumpd.plan.wanted import Wanted, want
from kdumpd.policy.model import Loader, Policy


def make_plan(policy: Policy, facts: Facts) -> Plan:
    """The steps from this machine to this policy, files first, the kernel last; none when it matches already.

    Raises:
        HostError: this machine can't be brought to this policy, and why.
    """
    _check_stores(facts)
    _check_dump_kernel(policy, facts)
    wanted = want(policy, facts)
    files = tuple(_file_steps(policy, wanted, facts))
    written = tuple(step for step in files if isinstance(step, WriteFile))
    steps: tuple[Step, ...] = (
        *files,
        *boot_loader_steps(wanted.parameters, facts, written),
        *(MakeFolder(path=store.path) for store in facts.stores if can_be_made(store)),
        *_value_steps(policy, files, facts),
        *_module_steps(wanted, facts),
        *arming_steps(policy, facts, files),
    )
    return Plan(steps=steps, notes=tuple(_notes(policy, wanted, written, facts)))


def arming_steps(
    policy: Policy, facts: Facts, files: tuple[WriteFile | RemoveFile, ...] = (), *, rebuild: bool = False
) -> tuple[Step, ...]:
    """What it takes to get the dump kernel loaded: nothing while no memory is reserved, or when it is loaded already.

    `rebuild`: the image is built and loaded also when there is one already.
    """
    if policy.loader is Loader.KDUMP_TOOLS:
        return tuple(_kdump_tools_steps(policy, facts, files, rebuild))
    wanted, folder = wanted_dump_set(policy, facts), image_folder(facts)
    if wanted is None or folder is None or facts.dump_release is None or facts.kernel_image is None:
        return ()
    is_built = folder.name in facts.images and not rebuild
    build = () if is_built else (BuildImage(release=facts.dump_release, kernel=facts.kernel_image, folder=layout.absolute(folder)),)
    is_loaded = (
        facts.kexec.loaded
        and _is_right(facts.last_loaded, wanted)
        and not misses_hotplug(facts.last_loaded, facts.boot_id, facts.hardware)
    )
    if not facts.kexec.reserved or (is_loaded and not rebuild):
        return build
    return (*build, LoadDumpKernel(kernel=wanted.kernel, initrd=wanted.initrd, command_line=wanted.command_line))


def _is_right(loaded: DumpSet | None, wanted: DumpSet) -> bool:
    """Not when it is only there because the kernel refused to load it again."""
    return loaded == wanted and not loaded.degraded


def _check_dump_kernel(policy: Policy, facts: Facts) -> None:
    given = policy.dump_kernel.kernel
    if given is None:
        return
    hint = "name a kernel in dump_kernel.kernel that is installed with its modules, or write running"
    if facts.kernel_image is None:
        raise HostError(f"the dump kernel {given} is not there", hint=hint)
    if facts.dump_release is None:
        raise HostError(f"{given} does not say which kernel it is: it is no bzImage", hint=hint)
    if not facts.has_modules:
        raise HostError(f"the modules of {given} are not in /lib/modules/{facts.dump_release}", hint=hint)


def image_folder(facts: Facts) -> Path | None:
    """Where the image for the dump kernel belongs, or None when that can't be told: no kernel, no generator, or not root."""
    if facts.dump_release is None or facts.image_digest is None:
        return None
    return layout.IMAGES / f"{facts.dump_release}-{facts.image_digest}"


def wanted_dump_set(policy: Policy, facts: Facts) -> DumpSet | None:
    """What should be loaded in this boot, or None when that can't be told.

    Raises:
        HostError: the dump kernel's command line can't be made, or is too long.
    """
    folder = image_folder(facts)
    if folder is None:
        return None
    return DumpSet(
        kernel=layout.absolute(folder / KERNEL),
        initrd=layout.absolute(folder / INITRD),
        command_line=dump_command_line(facts.command_line, policy.dump_kernel, facts.platform, capture_parameters(policy, facts)),
        boot_id=facts.boot_id,
        memory=facts.hardware.memory,
        cpus=facts.hardware.cpus,
    )


def _kdump_tools_steps(policy: Policy, facts: Facts, files: tuple[WriteFile | RemoveFile, ...], rebuild: bool) -> Iterator[Step]:
    if not facts.kexec.reserved:
        return
    changes = any(step.path == layout.absolute(layout.KDUMP_TOOLS) for step in files)
    if changes:
        yield LoadByKdumpTools(reason=f"/{layout.KDUMP_TOOLS} changes")
    elif not loaded_by_kdump_tools(policy, facts):
        yield LoadByKdumpTools(reason="what is loaded does not boot into kdumpd's capture")
    elif rebuild:
        yield LoadByKdumpTools(reason="it was asked for")


def _check_stores(facts: Facts) -> None:
    for store in facts.stores:
        if fact := out_of_reach(store):
            raise HostError(fact, hint=LOCAL_STORE)


def _file_steps(policy: Policy, wanted: Wanted, facts: Facts) -> Iterator[WriteFile | RemoveFile]:
    for path, content in render_files(policy, wanted, facts).items():
        found = facts.files[path]
        if found.unreadable:
            raise HostError(f"cannot read {path}, so cannot tell what would change", hint="run this as root")
        edited = was_edited(path, facts)
        if content is None and found.content is not None:
            yield RemoveFile(path=path, before=found.content, edited=edited)
        elif content is not None and found.content != content:
            yield WriteFile(path=path, content=content, before=found.content, edited=edited)


def _value_steps(policy: Policy, files: tuple[WriteFile | RemoveFile, ...], facts: Facts) -> Iterator[SetKernelValue]:
    values = dict(kernel_values(policy))
    if any(isinstance(step, RemoveFile) and step.path == layout.absolute(layout.TMPFILES) for step in files):
        # The policy wanted it before and does not any more. Where kdumpd never set it, the kernel's own choice stays:
        # for a guest of Hyper-V that is Y.
        values[EARLY_PSTORE] = "N"
    for path, value in values.items():
        now = facts.values.get(path)
        if now is not None and now != value:
            yield SetKernelValue(path=path, value=value, before=now)


def _module_steps(wanted: Wanted, facts: Facts) -> Iterator[LoadModule]:
    if wanted.region and not facts.pstore.loaded and may_be_loaded(wanted.region, facts):
        yield LoadModule(name=BACKEND, reason=f"its memory is set aside by {wanted.region.parameter}")


def _notes(policy: Policy, wanted: Wanted, written: tuple[WriteFile, ...], facts: Facts) -> Iterator[str]:
    yield from boot_notes(wanted.parameters, facts)
    yield from unknown_faults(policy, facts)
    if any(step.path == layout.absolute(layout.TMPFILES) for step in written):
        yield "early_pstore lets a broken kernel run more code before the dump kernel starts: a dump may fail that would not have"
