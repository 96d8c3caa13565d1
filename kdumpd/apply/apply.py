# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries a plan out: files and boot loader all or nothing, then what can simply be tried again."""

import contextlib
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from kdumpd.apply.boot_loader import check_result, run_tool
from kdumpd.apply.read_back import check_syntax
from kdumpd.apply.records import folders_to_make, missing_folders, records
from kdumpd.errors import ApplyError, NotArmedError, ToolError
from kdumpd.files import lock_or_go_on
from kdumpd.host import layout
from kdumpd.host.damage import set_damage_aside
from kdumpd.host.facts import DumpSet, Facts
from kdumpd.host.hotplug import read_hardware
from kdumpd.host.images import read_images
from kdumpd.host.original import forget_made_folder, note_made_folders
from kdumpd.host.read import has_modules, read_boot_id, read_dump_sets, read_kexec
from kdumpd.image import load
from kdumpd.image.build import build_image, remove_old_images
from kdumpd.plan.ours import misses_hotplug
from kdumpd.plan.steps import (
    BuildImage,
    FileStep,
    ForgetDumpKernel,
    LoadByKdumpTools,
    LoadDumpKernel,
    LoadModule,
    MakeFolder,
    Plan,
    RemoveFile,
    RemoveFolder,
    RunTool,
    SetKernelValue,
    Step,
    WriteFile,
    saved_copy,
)
from kdumpd.run import run
from kdumpd.transaction import Transaction, undo_unfinished

Report = Callable[[str], None]
# It may have to build its initrd first.
KDUMP_TOOLS_TIMEOUT = 900.0
MODPROBE_TIMEOUT = 60.0
# Whoever holds the lock then has had it for a minute already.
ANYWAY_PATIENCE = 1.0


def apply_plan(plan: Plan, facts: Facts, root: Path, report: Report, *, overwrite: bool = False) -> None:
    """Does every step, telling each before it begins. The caller holds the lock, and took `facts` while holding it.

    Raises:
        ApplyError: a file was edited by a person (and `overwrite` is not set), or the boot loader failed; no file has
            changed.
        NotArmedError: the files are in place, but no dump kernel could be loaded.
        ToolError: the files are in place, but the dump image could not be built, or the last good one had to be loaded.
    """
    files = [step for step in plan.steps if isinstance(step, WriteFile | RemoveFile)]
    edited = [step for step in files if step.edited]
    if edited and not overwrite:
        raise _refusal(edited)
    tools = [step for step in plan.steps if isinstance(step, RunTool)]
    if not files and not any(tool.touches for tool in tools):
        # Nothing that a rollback could bring back: the way back to before the last change stays.
        for tool in tools:
            report(tool.summary)
            run_tool(tool.argv)
            check_result(root, tool)
    else:
        _change_files(
            [*(saved_copy(step.path, step.before or "") for step in edited), *files],
            tools,
            _values_before(plan),
            facts,
            root,
            report,
        )
    do_steps(tuple(step for step in plan.steps if not isinstance(step, WriteFile | RemoveFile | RunTool)), facts, root, report)


def _change_files(
    files: list[FileStep], tools: list[RunTool], values: Mapping[str, str], facts: Facts, root: Path, report: Report
) -> None:
    rendered = layout.absolute(layout.RENDERED)
    # A way back brings its own record of what kdumpd has rendered.
    is_way_back = any(step.path == rendered for step in files)
    remembered = [] if is_way_back else list(records(files, values, facts, root))
    new_folders = list(folders_to_make(files, root))
    touched = [path for tool in tools for path in tool.touches]
    paths = dict.fromkeys([*(step.path for step in files), *touched, *(step.path for step in remembered)])
    # What a program touches is put back as it was; what it only makes out of our files, it can make again.
    repeatable = [tool.argv for tool in tools if not tool.touches]
    changed_by: list[RunTool] = []
    try:
        with Transaction(root, list(paths), repeatable, values) as transaction:
            for step in files:
                report(step.summary)
                if isinstance(step, WriteFile):
                    transaction.write(step.path, step.content.encode(errors="surrogateescape"), step.mode)
                    check_syntax(root, step.path)
                else:
                    transaction.remove(step.path)
            for record in remembered:
                transaction.write(record.path, record.content.encode(errors="surrogateescape"), record.mode)
            for tool in tools:
                report(tool.summary)
                changed_by.append(tool)
                try:
                    run_tool(tool.argv)
                except ApplyError:
                    # It has left its own files as they were.
                    changed_by.pop()
                    raise
                check_result(root, tool)
    except (ApplyError, KeyboardInterrupt) as problem:
        # Interrupted, a program still runs to its end.
        _run_again([tool for tool in changed_by if not tool.touches], problem)
        raise
    note_made_folders(root, new_folders)


def _run_again(tools: list[RunTool], problem: BaseException) -> None:
    """Lets the boot loader's files follow what was put back."""
    for tool in tools:
        try:
            run_tool(tool.argv)
        except ApplyError as again:
            raise ApplyError(f"{problem}\nand after that it failed to bring its own files back\n{again}") from problem


def _values_before(plan: Plan) -> dict[str, str]:
    return {step.path: step.before for step in plan.steps if isinstance(step, SetKernelValue)}


def recover(root: Path, report: Report) -> None:
    """Undoes an apply that was killed in the middle, if there is one, and makes room for what is to be written. The caller
    holds the lock.

    Raises:
        ApplyError: the boot loader could not be brought back; the next apply tries again.
    """
    set_damage_aside(root, report)
    for tool in undo_unfinished(root, report):
        report(f"an apply was cut off: its files were put back, run {shlex.join(tool)} again")
        run_tool(tool)


def do_steps(steps: tuple[Step, ...], facts: Facts, root: Path, report: Report) -> None:
    """Does the steps that change the running machine only; each may be repeated after a failure.

    Raises:
        NotArmedError: no dump kernel could be loaded.
        ToolError: the dump image could not be built, or the last good one had to be loaded.
    """
    for step in steps:
        report(step.summary)
        match step:
            case MakeFolder(path=path, mode=mode):
                note_made_folders(root, missing_folders(root, path))
                (root / path.lstrip("/")).mkdir(mode=mode, parents=True, exist_ok=True)
            case RemoveFolder(path=path):
                _remove_folder(root, path)
            case SetKernelValue(path=path, value=value):
                (root / path.lstrip("/")).write_text(f"{value}\n")
            case LoadModule(name=name):
                run(["modprobe", name], timeout=MODPROBE_TIMEOUT)
            case _:
                _change_dump_kernel(step, facts, root, report)


def _change_dump_kernel(step: Step, facts: Facts, root: Path, report: Report) -> None:
    match step:
        case LoadByKdumpTools():
            _load_by_kdump_tools(root)
        case BuildImage():
            _build(root, step, facts, report)
        case LoadDumpKernel(kernel=kernel, initrd=initrd, command_line=command_line):
            wanted = DumpSet(
                kernel=kernel,
                initrd=initrd,
                command_line=command_line,
                boot_id=facts.boot_id,
                # As seen before kexec looks: what changes in between is found out at the next look, never taken for known.
                memory=facts.hardware.memory,
                cpus=facts.hardware.cpus,
            )
            load.load(root, wanted)
            remove_old_images(root, _images_to_keep(root, facts))
        case ForgetDumpKernel(unload=unload):
            if unload:
                load.unload(root)
            load.forget(root)


def _images_to_keep(root: Path, facts: Facts) -> frozenset[str]:
    """What is loaded, what was before it, and the newest of every other kernel that is installed: it may be the next to run."""
    loaded = {Path(good.kernel).parent.name for good in read_dump_sets(root)}
    others = {about.release: name for name, about in read_images(root).items() if about.release != facts.dump_release}
    installed = {name for release, name in others.items() if has_modules(root, release)}
    return frozenset(loaded | installed)


def _build(root: Path, step: BuildImage, facts: Facts, report: Report) -> None:
    try:
        build_image(root, step, facts)
    except ToolError as problem:
        report(f"the dump image was not built: {str(problem).splitlines()[0]}")
        if facts.kexec.reserved and facts.last_loaded:
            load_last_good(root, report)
        raise


def load_last_good(root: Path, report: Report) -> None:
    """Arms without a policy: with what was loaded last, if nothing is loaded now or memory or CPUs have changed since. It needs
    so little of this machine that no damage can keep it from that.

    Raises:
        NotArmedError: there is no such thing, or it can't be loaded.
    """
    kexec, last = read_kexec(root), next(iter(read_dump_sets(root)), None)
    if kexec.loaded and not misses_hotplug(last, read_boot_id(root), read_hardware(root)):
        return
    if not kexec.reserved:
        raise NotArmedError("no memory is reserved for a dump kernel", hint="mend the policy, then: kdumpd apply, and reboot")
    report(f"loaded {load.load_last_good(root).kernel}, the last good dump kernel")


def arm_anyway(root: Path, report: Report) -> None:
    """What follows when something has failed, whatever it was: the last good dump kernel is loaded.

    Raises:
        NotArmedError: there is none, or it can't be loaded.
    """
    with lock_or_go_on(root, report, patience=ANYWAY_PATIENCE):
        load_last_good(root, report)


def _load_by_kdump_tools(root: Path) -> None:
    try:
        run(["kdump-config", "reload"], timeout=KDUMP_TOOLS_TIMEOUT)
    except ToolError as problem:
        raise NotArmedError(f"kdump-tools could not load the dump kernel\n{problem}") from problem
    if not read_kexec(root).loaded:
        raise NotArmedError("kdump-config ended well, but the kernel says that nothing is loaded", hint="kdump-config show")


def _refusal(edited: list[FileStep]) -> ApplyError:
    names = " and ".join(step.path for step in edited)
    diffs = "\n".join(step.details() for step in edited)
    return ApplyError(
        f"{names} was changed by somebody else than kdumpd, nothing was applied; kdumpd would write\n{diffs}",
        hint=f"put what you need into /{layout.POLICY}; to give the file to kdumpd and keep a copy: kdumpd apply --overwrite",
    )


def _remove_folder(root: Path, path: str) -> None:
    folder = root / path.lstrip("/")
    # Not empty: somebody else uses it by now.
    with contextlib.suppress(OSError):
        folder.rmdir()
    if not folder.exists():
        forget_made_folder(root, path)
