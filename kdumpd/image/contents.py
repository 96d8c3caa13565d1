# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks into an initrd: does it unpack, and could a dump kernel reach the store with it?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdumpd.errors import ToolError
from kdumpd.host.facts import Generator
from kdumpd.host.modules import builtin_modules, module_name
from kdumpd.host.storage import Storage
from kdumpd.image.settings import MARK
from kdumpd.run import run
from kdumpd.units import approximate_size

LIST_TIMEOUT = 120.0
# Both unpack all of it to do that, and fail on what is cut off or damaged (tried: lsinitramfs 0.142 exits with 2, 0.148 and 0.151
# with 1; lsinitrd 059 and 112 with 4, 106 with 6). Both print a file as `cpio -tv` does.
LISTERS = {Generator.INITRAMFS_TOOLS: ("lsinitramfs", "-l"), Generator.DRACUT: ("lsinitrd",)}
FILE_LINE = re.compile(r"-[-rwxsStT]{9} +\d+ +\S+ +\S+ +(?P<size>\d+) +\S+ +\S+ +\S+ (?P<name>.+)")
MODULE_FILE = re.compile(r"(usr/)?lib/modules/.*\.ko(\.\w+)?")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an initrd has. `unpacked` is the sum of its files in bytes, `marked` whether our hook was there."""

    packed: int
    unpacked: int
    files: int
    modules: frozenset[str]
    marked: bool


def read_contents(initrd: Path, generator: Generator, work: Path) -> Contents:
    """
    Raises:
        ToolError: it can't be unpacked.
    """
    listed = run([*LISTERS[generator], initrd], timeout=LIST_TIMEOUT, environment={"TMPDIR": str(work)}).stdout
    found = [match for line in listed.splitlines() if (match := FILE_LINE.fullmatch(line))]
    names = [match["name"] for match in found]
    return Contents(
        packed=initrd.stat().st_size,
        unpacked=sum(int(match["size"]) for match in found),
        files=len(found),
        modules=frozenset(module_name(name) for name in names if MODULE_FILE.fullmatch(name)),
        marked=MARK in names,
    )


def check_contents(root: Path, contents: Contents, *, release: str, storage: Storage | None, room: int | None) -> None:
    """`room` is what a dump kernel would have for an initrd, packed and unpacked, None when that is not known.

    Raises:
        ToolError: a dump kernel could not reach the store with it, and why.
    """
    if not contents.marked:
        raise ToolError(
            "the dump initrd was made without kdumpd's hook", hint="is /var mounted noexec? If not, install kdumpd again"
        )
    present = contents.modules | builtin_modules(root, release)
    if missing := sorted(set(storage.modules if storage else ()) - present):
        raise _unreachable(missing, release)
    needs = contents.packed + contents.unpacked
    if room is not None and needs > room:
        has = approximate_size(max(room, 0))
        raise ToolError(
            f"the dump initrd needs {approximate_size(needs)} of memory, the dump kernel would have {has} for it",
            hint="ask for a larger crashkernel in the policy, or put less into /etc/initramfs-tools or /etc/dracut.conf.d",
        )


def _unreachable(missing: Iterable[str], release: str) -> ToolError:
    names = " ".join(missing)
    return ToolError(
        f"the dump initrd has no module {names}, which this machine needs to reach its disks",
        hint=f"look for it: modinfo -k {release} {names}; if this kernel has none, name another one in dump_kernel.kernel",
    )
