# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts the dump kernel into the reserved memory with kexec, and checks that it is really there."""

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from kdumpd.capture.durable import remove_file, write_file
from kdumpd.decode import read_json
from kdumpd.errors import NotArmedError, ToolError
from kdumpd.host import layout
from kdumpd.host.facts import DumpSet
from kdumpd.host.hotplug import read_hardware
from kdumpd.host.images import ABOUT, AboutImage, damage
from kdumpd.host.read import read_boot_id, read_dump_sets, read_kexec
from kdumpd.host.security import Security, read_security
from kdumpd.image.kernel_log import KernelLog
from kdumpd.run import run

KEXEC_TIMEOUT = 120.0
FILE_SYSCALL, OLD_SYSCALL = "-s", "-c"
BUSY = os.strerror(errno.EBUSY)
# Somebody else loads at this moment (kexec_trylock() in kernel/kexec_core.c), and who comes second must come again.
BUSY_PATIENCE, BUSY_PAUSE = 20.0, 0.1


def load(root: Path, wanted: DumpSet) -> None:
    """Loads `wanted` over whatever is loaded; when that fails, what was loaded last, or before.

    The kernel frees the old image before it looks at the new one (kernel/kexec.c, kexec_file.c), so most failures leave
    nothing: that is why a good one is loaded once more.

    Raises:
        NotArmedError: nothing is loaded.
        ToolError: `wanted` could not be loaded, but a good one is: a crash would still be saved.
    """
    try:
        _kexec_load(root, wanted)
    except ToolError as problem:
        in_its_place = _load_a_good_one(root, wanted, problem)
        raise ToolError(f"the new dump kernel could not be loaded, {in_its_place}\n{problem}", said=problem.said) from problem
    _record(root, wanted)


def load_last_good(root: Path) -> DumpSet:
    """Loads what was loaded last, in this boot or an earlier one; or, when that fails, what was loaded before it.

    Raises:
        NotArmedError: there is no such thing, or none of it can be loaded.
    """
    sets = read_dump_sets(root)
    if not sets:
        raise NotArmedError("no dump kernel was ever loaded on this machine", hint="mend the policy, then: kdumpd apply")
    reasons = []
    for good in sets:
        try:
            return _load_again(root, good)
        except ToolError as problem:
            reasons.append(str(problem))
    raise NotArmedError("\n".join(["no dump kernel that was loaded before can be loaded now", *reasons]))


def _load_a_good_one(root: Path, wanted: DumpSet, problem: ToolError) -> str:
    """What a crash would be saved by now, in words."""
    sets = read_dump_sets(root)
    if read_kexec(root).loaded:
        # Refused before the kernel gave up the old image, as it does when loading is forbidden.
        if sets:
            _record(root, replace(sets[0], degraded=problem.said))
        return "the one that was loaded before still is"
    for good in sets:
        if replace(good, boot_id=wanted.boot_id) == wanted:
            continue
        try:
            _load_again(root, good, degraded=problem.said)
        except ToolError:
            continue
        return "the last good one is in its place"
    raise NotArmedError(f"the dump kernel could not be loaded, and no older one is there that can\n{problem}") from problem


def _load_again(root: Path, good: DumpSet, *, degraded: str = "") -> DumpSet:
    # Looked at before the load: what changes meanwhile is then noticed, not missed.
    hardware = read_hardware(root)
    _kexec_load(root, good)
    loaded = replace(good, boot_id=read_boot_id(root), memory=hardware.memory, cpus=hardware.cpus, degraded=degraded)
    _record(root, loaded)
    return loaded


def _record(root: Path, loaded: DumpSet) -> None:
    """Remembers what is loaded; and what was loaded before, when that was another image. There are always two records, as one
    of them may be damaged when the machine boots.
    """
    others = [one for one in read_dump_sets(root) if (one.kernel, one.initrd) != (loaded.kernel, loaded.initrd)]
    _write(root / layout.LOADED_BEFORE, others[0] if others else loaded)
    _write(root / layout.LAST_LOADED, loaded)


def _write(path: Path, dump_set: DumpSet) -> None:
    write_file(path, (json.dumps(asdict(dump_set), indent=2) + "\n").encode(), 0o644)


def unload(root: Path) -> None:
    """Gives up the loaded dump kernel; the memory stays reserved.

    Raises:
        ToolError: the kernel still has it.
    """
    _try_syscalls([["kexec", syscall, "-p", "-u"] for syscall in _allowed(read_security(root))])
    if read_kexec(root).loaded:
        raise ToolError("kexec ended well, but the dump kernel is still loaded")


def forget(root: Path) -> None:
    """Nothing counts as loaded before any more."""
    for record in (layout.LAST_LOADED, layout.LOADED_BEFORE):
        remove_file(root / record)


def _kexec_load(root: Path, dump_set: DumpSet) -> None:
    _refuse_damaged(root, dump_set)
    security = read_security(root)
    arguments = [f"--initrd={dump_set.initrd}", f"--command-line={dump_set.command_line}", dump_set.kernel]
    with KernelLog(root) as log:
        try:
            _try_syscalls([["kexec", syscall, "-p", *arguments] for syscall in _allowed(security)])
        except ToolError as problem:
            reasons = [*(f"the kernel says: {line}" for line in log.lines()), str(problem)]
            raise ToolError("\n".join(reasons), hint=_way_out(security), said=reasons[0]) from problem
    if not read_kexec(root).loaded:
        fact = "kexec ended well, but the kernel says that nothing is loaded"
        raise ToolError(fact, hint="journalctl -k -g kexec", said=fact)


def _refuse_damaged(root: Path, dump_set: DumpSet) -> None:
    folder = (root / dump_set.kernel.lstrip("/")).parent
    if folder.parent == root / layout.IMAGES and (reason := damage(folder, read_json(folder / ABOUT, AboutImage))):
        raise ToolError(reason, hint="build it again: kdumpd arm --rebuild", said=reason)


def _allowed(security: Security) -> Iterator[str]:
    """kexec_file_load first: the only one that lockdown allows. Then kexec_load, for kernels and formats without the former.

    kexec-tools has both behind "-a" too, but only falls back on some errors, and 2.0.25 (Debian 12) defaults to kexec_load.
    """
    yield FILE_SYSCALL
    # Under lockdown it fails for another reason than the one that counts.
    if not security.is_locked_down:
        yield OLD_SYSCALL


def _way_out(security: Security) -> str | None:
    if security.kexec_load_disabled:
        return "kernel.kexec_load_disabled is 1, so nothing can be loaded before the next reboot; find out who sets it"
    if security.loads_left == 0:
        return "kernel.kexec_load_limit_panic is used up, so nothing can be loaded before the next reboot; find out who sets it"
    if security.is_locked_down:
        return f"the kernel is locked down ({security.lockdown}): it loads only a kernel that is signed with a key that it trusts"
    return None


def _try_syscalls(attempts: list[list[str]]) -> None:
    failures = []
    for argv in attempts:
        try:
            _run_when_free(argv)
            return
        except ToolError as problem:
            # The whole command line is a screen full; what was to be loaded is in the plan.
            failures.append(f"kexec {argv[1]}: {problem.said or problem}")
            if BUSY in problem.said:
                break
    raise ToolError("\n".join(failures))


def _run_when_free(argv: list[str]) -> None:
    end = time.monotonic() + BUSY_PATIENCE
    while True:
        try:
            run(argv, timeout=KEXEC_TIMEOUT)
            return
        except ToolError as problem:
            if BUSY not in problem.said or time.monotonic() >= end:
                raise
            time.sleep(BUSY_PAUSE)
