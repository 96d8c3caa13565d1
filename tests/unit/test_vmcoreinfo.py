# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

import pytest

from kdumpd.capture.program import SaveError
from kdumpd.capture.vmcoreinfo import CrashedKernel, crashed_kernel, read_vmcoreinfo
from tests.unit.vmcores import MEMORY, NOTES, VMCOREINFOS, Ring, parse, write_core


@pytest.mark.parametrize("vmcoreinfo", VMCOREINFOS.values(), ids=VMCOREINFOS)
@pytest.mark.parametrize("order", ["little", "big"])
def test_all_that_the_kernel_wrote_is_read_from_its_core(tmp_path: Path, vmcoreinfo: str, order: str) -> None:
    ring = Ring(vmcoreinfo, order="little" if order == "little" else "big")

    assert read_vmcoreinfo(write_core(tmp_path / "vmcore", ring)) == parse(vmcoreinfo)


def test_it_says_who_died_and_when() -> None:
    assert crashed_kernel(parse(VMCOREINFOS["x86_64-6.12.117"])) == CrashedKernel(
        release="6.12.117+deb12-amd64",
        time=1795358272,
        build_id="764949bbe8b7a9241512fbf3b0d66d0ba34686a8",
        kaslr_offset=0x26A00000,
        page_size=4096,
    )


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"OSRELEASE": "", "BUILD-ID": "", "CRASHTIME": "", "KERNELOFFSET": ""},
        {"OSRELEASE": "../../etc", "BUILD-ID": "x" * 40, "CRASHTIME": "yesterday", "KERNELOFFSET": "0xz"},
        {"OSRELEASE": "a\nb", "BUILD-ID": "ab", "CRASHTIME": "0"},
        {"OSRELEASE": "6" * 65, "CRASHTIME": "-1", "PAGESIZE": "4095"},
        {"CRASHTIME": "253402300800"},
        {"CRASHTIME": "9" * 5000},
    ],
)
def test_what_is_missing_or_nonsense_is_not_known(info: dict[str, str]) -> None:
    assert crashed_kernel(info) == CrashedKernel()


@pytest.mark.parametrize(
    ("at", "content", "fact"),
    [
        pytest.param(0, b"KDUMP   ", "is not the core of a 64-bit kernel", id="another format"),
        pytest.param(4, b"\x01", "is not the core of a 64-bit kernel", id="32 bits"),
        pytest.param(5, b"\x03", "is not the core of a 64-bit kernel", id="no byte order"),
        pytest.param(54, b"\x20", "its segment headers have 32 bytes, not 56", id="size of the segment headers"),
        pytest.param(32, b"\xff" * 8, "cannot read", id="place of the segment headers"),
        pytest.param(32, b"\xff" * 6, "ends at", id="segment headers beyond the end"),
        pytest.param(64, b"\x01", "has left no VMCOREINFO", id="no notes"),
        # p_offset and p_filesz of the notes.
        pytest.param(64 + 8, b"\xff" * 8, "cannot read", id="place of the notes"),
        pytest.param(64 + 32, b"\xff" * 8, "its notes have 18446744073709551615 bytes", id="size of the notes"),
        pytest.param(64 + 32, (4 << 20).to_bytes(8, "little"), "ends at", id="notes beyond the end"),
        pytest.param(NOTES, b"\xff" * 8, "has left no VMCOREINFO", id="size of the first note"),
        pytest.param(NOTES, bytes(MEMORY - NOTES), "has left no VMCOREINFO", id="empty notes"),
    ],
)
def test_a_damaged_core_is_refused_with_a_fact(tmp_path: Path, at: int, content: bytes, fact: str) -> None:
    core = Ring().core()
    core[at : at + len(content)] = content
    (tmp_path / "vmcore").write_bytes(core)

    with pytest.raises(SaveError, match=fact):
        read_vmcoreinfo(tmp_path / "vmcore")


def test_a_core_that_was_cut_or_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(Ring().core()[: NOTES + 100])
    (tmp_path / "empty").touch()

    with pytest.raises(SaveError, match=f"cut ends at {NOTES + 100:#x}, and [0-9]+ bytes at {NOTES:#x} are needed"):
        read_vmcoreinfo(tmp_path / "cut")
    with pytest.raises(SaveError, match="empty ends at 0x0"):
        read_vmcoreinfo(tmp_path / "empty")
    with pytest.raises(SaveError, match=r"cannot read .*gone: No such file"):
        read_vmcoreinfo(tmp_path / "gone")
