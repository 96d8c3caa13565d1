# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts the dump kernel into the reserved memory with kexec, and checks that it is really there."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from kdumpd.capture.durable import write_file
from kdumpd.errors import NotArmedError, ToolError
from kdumpd.host import layout
from kdumpd.host.facts import DumpSet
from kdumpd.host.read import read_kexec
from kdumpd.run import run

KEXEC_TIMEOUT = 120.0
# kexec_file_load first: the only one that lockdown allows. Then kexec_load, for kernels and formats without the former.
# kexec-tools has both behind "-a" too, but only falls back on some errors, and 2.0.25 (Debian 12) defaults to kexec_load.
SYSCALLS = ("-s", "-c")


def load(root: Path, wanted: DumpSet, previous: DumpSet | None) -> None:
    """Loads `wanted` over whatever is loaded; when that fails, `previous` again.

    The kernel frees the old image before it looks at the new one (kernel/kexec.c, kexec_file.c), so a failed load
    leaves nothing: that is why the previous one is loaded once more.

    Raises:
        NotArmedError: nothing is loaded.
        ToolError: `wanted` could not be loaded, but `previous` is: a crash would still be saved.
    """
    try:
        _kexec_load(root, wanted)
    except ToolError as problem:
        if previous is None or replace(previous, boot_id=wanted.boot_id) == wanted:
            raise NotArmedError(f"the dump kernel could not be loaded\n{problem}") from problem
        try:
            _kexec_load(root, previous)
        except ToolError:
            raise NotArmedError(f"neither the new dump kernel nor the last good one could be loaded\n{problem}") from problem
        _record(root, replace(previous, boot_id=wanted.boot_id, memory=wanted.memory, cpus=wanted.cpus))
        raise ToolError(f"the new dump kernel could not be loaded, the last good one is in its place\n{problem}") from problem
    _record(root, wanted)


def _record(root: Path, loaded: DumpSet) -> None:
    write_file(root / layout.LAST_LOADED, (json.dumps(asdict(loaded), indent=2) + "\n").encode(), 0o644)


def unload(root: Path) -> None:
    """Gives up the loaded dump kernel; the memory stays reserved.

    Raises:
        ToolError: the kernel still has it.
    """
    _try_syscalls([["kexec", syscall, "-p", "-u"] for syscall in SYSCALLS])
    if read_kexec(root).loaded:
        raise ToolError("kexec ended well, but the dump kernel is still loaded")


def _kexec_load(root: Path, dump_set: DumpSet) -> None:
    arguments = [f"--initrd={dump_set.initrd}", f"--command-line={dump_set.command_line}", dump_set.kernel]
    _try_syscalls([["kexec", syscall, "-p", *arguments] for syscall in SYSCALLS])
    if not read_kexec(root).loaded:
        raise ToolError("kexec ended well, but the kernel says that nothing is loaded", hint="journalctl -k -g kexec")


def _try_syscalls(attempts: list[list[str]]) -> None:
    failures = []
    for argv in attempts:
        try:
            run(argv, timeout=KEXEC_TIMEOUT)
            return
        except ToolError as problem:
            failures.append(str(problem))
    raise ToolError("\n".join(failures))
