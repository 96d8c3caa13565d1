# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at Debian's kdump-tools, which may be here too."""

import hashlib
import shlex
from pathlib import Path

from kdumpd.files import exists, read_text
from kdumpd.host import layout
from kdumpd.host.facts import KdumpTools
from kdumpd.run import find_program

UCF_HASHES = Path("var/lib/ucf/hashfile")
# Where ucf lays the package's own version, when another file is already there and stays (ucf(1)).
UCF_DIST = ".ucf-dist"
DEFAULT_COREDIR = "/var/crash"
COREDIR = "KDUMP_COREDIR="


def read_kdump_tools(root: Path) -> KdumpTools | None:
    """None when it is not installed."""
    if find_program("kdump-config") is None:
        return None
    coredir = _coredir(read_text(root / layout.KDUMP_TOOLS) or "")
    # kdump-config leaves there what it called kexec with.
    record = root / coredir.lstrip("/") / "kexec_cmd"
    return KdumpTools(
        last_command=read_text(record), loaded_in_this_boot=_is_of_this_boot(root, record), own_settings=_own_settings(root)
    )


def _own_settings(root: Path) -> str | None:
    beside = layout.KDUMP_TOOLS.with_name(f"{layout.KDUMP_TOOLS.name}{UCF_DIST}")
    return read_text(root / beside) if _ucf_knows(root, beside, layout.KDUMP_TOOLS) else None


def _coredir(settings: str) -> str:
    words = [word for line in settings.splitlines() if line.startswith(COREDIR) for word in shlex.split(line.removeprefix(COREDIR))]
    return words[-1] if words else DEFAULT_COREDIR


def _is_of_this_boot(root: Path, record: Path) -> bool:
    lines = (read_text(root / "proc/stat") or "").splitlines()
    started = next((int(line.split()[1]) for line in lines if line.startswith("btime ")), None)
    try:
        return started is not None and record.stat().st_mtime >= started
    except OSError:
        return False


def is_as_its_package_brought_it(root: Path, path: Path) -> bool:
    """Whether ucf knows this very content as the package's own: nobody has changed it."""
    return _ucf_knows(root, path, path)


def _ucf_knows(root: Path, path: Path, settings: Path) -> bool:
    """Whether what is at `path` is what a package has brought as its `settings`."""
    if not exists(root / UCF_HASHES):
        return False
    try:
        digest = hashlib.md5((root / path).read_bytes(), usedforsecurity=False).hexdigest()
    except OSError:
        return False
    return f"{digest}  {layout.absolute(settings)}" in (read_text(root / UCF_HASHES) or "").splitlines()
