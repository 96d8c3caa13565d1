# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which package has the debug symbols of a kernel, how large it is, and how it is installed here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdumpd.errors import ToolError
from kdumpd.files import read_text
from kdumpd.run import run

OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
APT_TIMEOUT = 60.0
# Debian's kernels from backports have this in their release.
BACKPORT = re.compile(r"\+deb\d|bpo\d")
# "6.4.0-150600.23.47-default" is of the package kernel-default.
SUSE_RELEASE = re.compile(r"(?P<version>.+)-(?P<flavour>[a-z]\w*)")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Where debug symbols are to be had: the package, with its size, and what to type."""

    package: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """How distributions of one kind do it. `advise` gets os-release, and the release and the build-id of the kernel."""

    install: str
    advise: Callable[[Mapping[str, str], str, str | None], Advice]


def symbol_advice(root: Path, release: str, build_id: str | None) -> Advice | None:
    """None on a distribution that kdumpd does not know."""
    family = _family(root)
    return family.advise(_os_release(root), release, build_id) if family else None


def tool_command(root: Path) -> str:
    """How crash(8) is installed here."""
    family = _family(root)
    return f"{family.install} crash" if family else "install the package crash"


def _family(root: Path) -> Family | None:
    system = _os_release(root)
    names = (system.get("ID", ""), *system.get("ID_LIKE", "").split())
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


def _os_release(root: Path) -> dict[str, str]:
    """os-release(5)."""
    text = next((text for name in OS_RELEASE if (text := read_text(root / name))), "")
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value.strip("\"'") for key, _, value in pairs}


def _debian(system: Mapping[str, str], release: str, _: str | None) -> Advice:
    """The -dbg packages of kernels are beside the kernels, not in debian-debug, where all -dbgsym packages are."""
    package = f"linux-image-{release}-dbg"
    if size := _apt_size(package):
        return Advice(package=f"{package} ({size})", command=f"apt-get install {package}")
    codename = system.get("VERSION_CODENAME", "CODENAME")
    part = f"debian {codename}-backports" if BACKPORT.search(release) else f"debian-security {codename}-security"
    return Advice(
        package=f"{package} (which apt does not know here)",
        command=(
            f"`deb http://deb.debian.org/{part} main` into /etc/apt/sources.list, then apt-get update, and apt-get install"
            f" {package}; a kernel that a newer one has replaced there is at https://snapshot.debian.org/package/linux/"
        ),
    )


def _ubuntu(system: Mapping[str, str], release: str, _: str | None) -> Advice:
    """What has the symbols is named after the kernel before it was signed; the package of the signed one brings it."""
    package = f"linux-image-{release}-dbgsym"
    if size := _apt_size(f"linux-image-unsigned-{release}-dbgsym") or _apt_size(package):
        return Advice(package=f"{package} ({size})", command=f"apt-get install {package}")
    codename = system.get("VERSION_CODENAME", "CODENAME")
    return Advice(
        package=f"{package} (which apt does not know here)",
        command=(
            f"apt-get install ubuntu-dbgsym-keyring, `deb http://ddebs.ubuntu.com {codename}-updates main` into"
            f" /etc/apt/sources.list, then apt-get update, and apt-get install {package}"
        ),
    )


def _fedora(_: Mapping[str, str], release: str, __: str | None) -> Advice:
    return Advice(
        package=f"kernel-debuginfo-{release} (about 1 GB; dnf tells the size before it asks)",
        command=f"dnf debuginfo-install kernel-core-{release}",
    )


def _suse(_: Mapping[str, str], release: str, build_id: str | None) -> Advice:
    """A kernel's release lacks the number of the build that its package has, so the build-id is what names it exactly."""
    found = SUSE_RELEASE.fullmatch(release)
    flavour, version = (found["flavour"], found["version"]) if found else ("default", release)
    package = f"kernel-{flavour}-debuginfo"
    wanted = f"-C 'debuginfo(build-id)={build_id}'" if build_id else f"'{package}>={version}'"
    return Advice(
        package=f"{package} of version {version} (about 1 GB; zypper tells the size before it asks)",
        command=f"zypper --plus-content debug install {wanted}",
    )


def _apt_size(package: str) -> str | None:
    """None when apt does not know it."""
    try:
        told = run(["apt-cache", "show", "--no-all-versions", package], timeout=APT_TIMEOUT).stdout
    except ToolError:
        return None
    # Size is in bytes, Installed-Size in KiB.
    fields = (("Size", 1), ("Installed-Size", 1024))
    found = [(re.search(rf"^{field}: (\d{{1,15}})$", told, re.MULTILINE), unit) for field, unit in fields]
    sizes = [_size(int(number[1]) * unit) for number, unit in found if number]
    return " to download, ".join(sizes) + " installed" if len(sizes) == len(fields) else None


def _size(size: int) -> str:
    """In the units of apt."""
    megabytes = size / 1e6
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"  # noqa: PLR2004


APT, DNF, ZYPPER = (
    Family(install="apt-get install", advise=_debian),
    Family(install="dnf install", advise=_fedora),
    Family(install="zypper install", advise=_suse),
)
# By ID and ID_LIKE.
FAMILIES = {
    "ubuntu": Family(install=APT.install, advise=_ubuntu),
    "debian": APT,
    "fedora": DNF,
    "rhel": DNF,
    "centos": DNF,
    "suse": ZYPPER,
    "opensuse": ZYPPER,
    "sles": ZYPPER,
}
