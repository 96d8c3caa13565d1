# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMCOREINFO: what the dead kernel has left about itself, for the tools that read its memory (kernel/vmcore_info.c)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .elf_core import ElfCore
from .program import SaveError

NOTE = b"VMCOREINFO"
# It comes out of a machine that was broken, and goes into file names and reports.
RELEASE = re.compile(r"[\w.+~-]{1,64}", re.ASCII)
BUILD_ID = re.compile(r"[0-9a-f]{8,128}")
# All that x86, arm64, POWER and S/390 can have.
PAGE_SIZES = (4 << 10, 16 << 10, 64 << 10)
# Later has five digits in its year.
END_OF_TIME = 253402300800


class CrashedKernel(NamedTuple):
    """Who died, and when: seconds since 1970. None is what it did not leave, or left as nonsense."""

    release: str | None = None
    time: int | None = None
    build_id: str | None = None
    kaslr_offset: int | None = None
    page_size: int | None = None


def read_vmcoreinfo(vmcore: Path) -> dict[str, str]:
    """All that VMCOREINFO says.

    Raises:
        SaveError: it can't be read, or is not there.
    """
    with ElfCore(vmcore) as core:
        return vmcoreinfo_of(core)


def vmcoreinfo_of(core: ElfCore) -> dict[str, str]:
    """All that VMCOREINFO says in an open core.

    Raises:
        SaveError: it can't be read, or is not there.
    """
    for name, content in core.notes():
        if name == NOTE:
            return parse_vmcoreinfo(content)
    raise SaveError("the crashed kernel has left no VMCOREINFO")


def parse_vmcoreinfo(content: bytes) -> dict[str, str]:
    """What the bytes of a VMCOREINFO say."""
    lines = content.rstrip(b"\0").decode("ascii", "replace").split("\n")
    return {key: value for key, equals, value in (line.partition("=") for line in lines) if equals}


def crashed_kernel(info: Mapping[str, str]) -> CrashedKernel:
    """What a VMCOREINFO says about the crash."""
    release, build_id = info.get("OSRELEASE", ""), info.get("BUILD-ID", "")
    time, page_size = _number(info.get("CRASHTIME"), 10), _number(info.get("PAGESIZE"), 10)
    return CrashedKernel(
        release=release if RELEASE.fullmatch(release) else None,
        time=time if time is not None and 0 < time < END_OF_TIME else None,
        build_id=build_id if BUILD_ID.fullmatch(build_id) else None,
        kaslr_offset=_number(info.get("KERNELOFFSET"), 16),
        page_size=page_size if page_size in PAGE_SIZES else None,
    )


def _number(text: str | None, base: int) -> int | None:
    try:
        return int(text or "", base)
    except ValueError:
        return None
