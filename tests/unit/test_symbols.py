# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.capture.vmcoreinfo import CrashedKernel
from kdumpd.crashes.build_id import read_build_id
from kdumpd.crashes.packages import symbol_advice, tool_command
from kdumpd.crashes.symbols import SymbolsError, find_symbols
from kdumpd.errors import HostError
from tests.unit.dumps import vmlinux, write_vmlinux
from tests.unit.fakes import Stubs

RELEASE, BUILD_ID, OTHER = "6.1.0-56-amd64", "eb4fbcd037e7253717950bf2b93bd5566f47c56f", "00" * 20
KERNEL = CrashedKernel(release=RELEASE, build_id=BUILD_ID)
DEBIAN = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n'
APT_CACHE = 'echo "Package: $3"; echo "Installed-Size: 1754691"; echo "Size: 283308068"'


@pytest.fixture(autouse=True)
def no_debuginfod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)


def system(root: Path, text: str) -> Path:
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc/os-release").write_text(text)
    return root


def find(root: Path, kernel: CrashedKernel = KERNEL, given: Path | None = None) -> Path:
    return find_symbols(root, kernel, given, lambda text: None)


def refusal(root: Path, kernel: CrashedKernel = KERNEL, given: Path | None = None) -> str:
    with pytest.raises(SymbolsError) as caught:
        find(root, kernel, given)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_build_id_of_a_vmlinux_is_read_in_either_byte_order(tmp_path: Path, order: str) -> None:
    (tmp_path / "vmlinux").write_bytes(vmlinux(BUILD_ID, order=order))

    assert read_build_id(tmp_path / "vmlinux") == BUILD_ID


@pytest.mark.parametrize("content", [b"", b"BZh9 compressed", vmlinux()[:100]])
def test_what_is_no_whole_elf_file_is_no_vmlinux(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vmlinux").write_bytes(content)

    with pytest.raises(HostError, match=r"vmlinux is not a vmlinux: .*\nhint: give the uncompressed kernel"):
        read_build_id(tmp_path / "vmlinux")


@given(st.integers(0, len(vmlinux()) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_vmlinux_is_an_error_or_has_some_build_id(tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("elf") / "vmlinux"
    whole = vmlinux()
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])

    with contextlib.suppress(HostError):
        read_build_id(path)


@pytest.mark.parametrize(
    "place",
    [
        f"usr/lib/debug/boot/vmlinux-{RELEASE}",
        f"usr/lib/debug/lib/modules/{RELEASE}/vmlinux",
        f"usr/lib/debug/boot/vmlinux-{RELEASE}.debug",
        f"usr/lib/debug/usr/lib/modules/{RELEASE}/vmlinux.debug",
        f"usr/lib/debug/.build-id/{BUILD_ID[:2]}/{BUILD_ID[2:]}.debug",
    ],
)
def test_the_symbols_of_every_distribution_are_found(tmp_path: Path, place: str) -> None:
    path = write_vmlinux(tmp_path / place)

    assert find(tmp_path) == path


def test_symbols_of_another_build_are_passed_over_for_those_of_the_right_one(tmp_path: Path) -> None:
    write_vmlinux(tmp_path / f"usr/lib/debug/boot/vmlinux-{RELEASE}", OTHER)
    right = write_vmlinux(tmp_path / f"lib/modules/{RELEASE}/build/vmlinux")

    assert find(tmp_path) == right


def test_symbols_of_another_build_are_refused_and_both_are_named(tmp_path: Path) -> None:
    path = write_vmlinux(tmp_path / "vmlinux", OTHER)

    assert refusal(tmp_path, given=path).startswith(
        f"{path} is of another build of the kernel: its build-id is {OTHER}, the dump's is {BUILD_ID}\nhint: "
    )


def test_an_installed_package_of_another_build_is_named_as_the_reason(tmp_path: Path) -> None:
    path = write_vmlinux(tmp_path / f"usr/lib/debug/boot/vmlinux-{RELEASE}", OTHER)

    assert refusal(tmp_path).startswith(f"{path} is of another build")


def test_a_kernel_that_leaves_no_build_id_takes_the_symbols_of_its_release(tmp_path: Path) -> None:
    path = write_vmlinux(tmp_path / f"usr/lib/debug/boot/vmlinux-{RELEASE}", OTHER)

    assert find(tmp_path, CrashedKernel(release=RELEASE)) == path


def test_debuginfod_is_asked_by_build_id(tmp_path: Path, stubs: Stubs) -> None:
    downloaded = write_vmlinux(tmp_path / "cache/debuginfo")
    (tmp_path / "etc/debuginfod").mkdir(parents=True)
    (tmp_path / "etc/debuginfod/elfutils.urls").write_text("https://debuginfod.example.org\n")
    stubs.add("debuginfod-find", f'test "$DEBUGINFOD_URLS" = https://debuginfod.example.org && echo {downloaded}')

    assert find(tmp_path) == downloaded
    assert stubs.calls == [f"debuginfod-find debuginfo {BUILD_ID}"]


def test_debuginfod_is_not_asked_where_no_server_is_named(tmp_path: Path, stubs: Stubs) -> None:
    stubs.add("debuginfod-find", "echo /nowhere")

    assert "the debug symbols of kernel" in refusal(tmp_path)
    assert stubs.calls == []


@pytest.mark.parametrize("script", ["echo Server query failed >&2; exit 1", "echo /nowhere"])
def test_a_debuginfod_that_does_not_help_leaves_the_advice(
    tmp_path: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "https://debuginfod.example.org")
    stubs.add("debuginfod-find", script)

    assert "the debug symbols of kernel" in refusal(tmp_path)


def test_debian_s_package_is_named_with_its_size(tmp_path: Path, stubs: Stubs) -> None:
    stubs.add("apt-cache", APT_CACHE)

    assert refusal(system(tmp_path, DEBIAN)).startswith(
        f"the debug symbols of kernel {RELEASE} are not here: they are in the package linux-image-{RELEASE}-dbg"
        f" (283 MB to download, 1.8 GB installed)\nhint: apt-get install linux-image-{RELEASE}-dbg; or"
    )


@pytest.mark.parametrize(
    ("release", "archive"),
    [
        (RELEASE, "http://deb.debian.org/debian-security bookworm-security main"),
        ("6.12.117+deb12-amd64", "http://deb.debian.org/debian bookworm-backports main"),
    ],
)
def test_a_package_that_apt_does_not_know_comes_with_its_archive(tmp_path: Path, stubs: Stubs, release: str, archive: str) -> None:
    stubs.add("apt-cache", "echo 'E: No packages found' >&2; exit 100")

    assert f"hint: `deb {archive}` into" in refusal(system(tmp_path, DEBIAN), CrashedKernel(release=release))


def test_ubuntu_s_size_is_that_of_the_unsigned_kernel_s_package(tmp_path: Path, stubs: Stubs) -> None:
    stubs.add("apt-cache", f'case "$3" in *unsigned*) {APT_CACHE};; *) exit 100;; esac')
    advice = symbol_advice(system(tmp_path, "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n"), "5.15.0-122-generic", None)

    assert advice
    assert advice.package == "linux-image-5.15.0-122-generic-dbgsym (283 MB to download, 1.8 GB installed)"


def test_ubuntu_s_archive_of_symbols_is_named_where_apt_does_not_know_it(tmp_path: Path, stubs: Stubs) -> None:
    stubs.add("apt-cache", "exit 100")
    advice = symbol_advice(system(tmp_path, "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n"), "5.15.0-122-generic", None)

    assert advice
    assert "`deb http://ddebs.ubuntu.com jammy-updates main`" in advice.command


@pytest.mark.parametrize(
    ("text", "release", "command"),
    [
        ("ID=fedora", "6.8.5-301.fc40.x86_64", "dnf debuginfo-install kernel-core-6.8.5-301.fc40.x86_64"),
        (
            'ID="rocky"\nID_LIKE="rhel centos fedora"',
            "5.14.0-427.el9.x86_64",
            "dnf debuginfo-install kernel-core-5.14.0-427.el9.x86_64",
        ),
        (
            'ID="opensuse-leap"\nID_LIKE="suse opensuse"',
            "6.4.0-150600.23.47-default",
            f"zypper --plus-content debug install -C 'debuginfo(build-id)={BUILD_ID}'",
        ),
    ],
)
def test_each_distribution_gets_its_own_command(tmp_path: Path, text: str, release: str, command: str) -> None:
    advice = symbol_advice(system(tmp_path, text), release, BUILD_ID)

    assert advice
    assert advice.command == command


def test_an_unknown_distribution_is_told_to_name_the_file(tmp_path: Path) -> None:
    assert refusal(system(tmp_path, "ID=nixos")).endswith("name the file: --vmlinux FILE")
    assert tool_command(tmp_path) == "install the package crash"


def test_a_dump_that_does_not_tell_its_kernel_needs_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, CrashedKernel()).startswith("the dump does not tell of which kernel it is")
