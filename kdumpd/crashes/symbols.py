# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the debug symbols of the kernel that died: its vmlinux, of exactly the build that the dump is of."""

import os
from collections.abc import Callable
from pathlib import Path

from kdumpd.capture.vmcoreinfo import CrashedKernel
from kdumpd.crashes.build_id import read_build_id
from kdumpd.crashes.packages import symbol_advice
from kdumpd.errors import HostError, ToolError
from kdumpd.files import exists, read_text
from kdumpd.run import find_program, run

# Debian and Ubuntu; Fedora, RHEL and again Debian; SUSE, of today and before; a kernel that was built here.
PLACES = (
    "usr/lib/debug/boot/vmlinux-{release}",
    "usr/lib/debug/lib/modules/{release}/vmlinux",
    "usr/lib/debug/usr/lib/modules/{release}/vmlinux",
    "usr/lib/debug/usr/lib/modules/{release}/vmlinux.debug",
    "usr/lib/debug/boot/vmlinux-{release}.debug",
    "lib/modules/{release}/build/vmlinux",
)
BY_BUILD_ID = "usr/lib/debug/.build-id/{}/{}.debug"
# Where a distribution says which servers it has; a login shell makes DEBUGINFOD_URLS of it.
SERVERS = "etc/debuginfod"
# A vmlinux is half a gigabyte and more, and a server may have to unpack it first.
DOWNLOAD_TIMEOUT = 3600.0
# What libdebuginfod and libcurl go by: servers, its cache, proxies.
PASSED_ON = ("DEBUGINFOD_", "HOME", "XDG_CACHE_HOME", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "SSL_CERT_")


class SymbolsError(HostError):
    """There are no debug symbols for the dump, or they are of another kernel."""


def find_symbols(root: Path, kernel: CrashedKernel, given: Path | None, say: Callable[[str], None]) -> Path:
    """The vmlinux of this kernel: the one that was given, the distribution's, or debuginfod's.

    Raises:
        SymbolsError: there is none, or none that is of the same build.
        HostError: what was given is no vmlinux.
    """
    if given:
        _check(read_build_id(given), kernel, given)
        return given
    places = installed(root, kernel)
    found = next((path for path in places if kernel.build_id in (None, _build_id_of(path))), None)
    if found := found or _download(root, kernel.build_id, say):
        return found
    if places:
        _check(_build_id_of(places[0]), kernel, places[0])
    raise _missing(root, kernel)


def installed(root: Path, kernel: CrashedKernel) -> list[Path]:
    """Files where the symbols of this kernel would be, whether they are of the same build or not."""
    named = [root / BY_BUILD_ID.format(kernel.build_id[:2], kernel.build_id[2:])] if kernel.build_id else []
    places = [*(root / place.format(release=kernel.release) for place in PLACES if kernel.release), *named]
    return [path for path in places if exists(path)]


def _build_id_of(path: Path) -> str | None:
    try:
        return read_build_id(path)
    except HostError:
        return None


def _check(build_id: str | None, kernel: CrashedKernel, path: Path) -> None:
    # Kernels before 5.9 do not leave theirs; crash(8) then compares the versions.
    if kernel.build_id not in (None, build_id):
        raise SymbolsError(
            f"{path} is of another build of the kernel: its build-id is {build_id or 'missing'}, the dump's is {kernel.build_id}",
            hint="install the symbols of the version that crashed; its log has that version in the line with CPU and PID",
        )


def _download(root: Path, build_id: str | None, say: Callable[[str], None]) -> Path | None:
    """Asks debuginfod, where there is its client, and a server is named."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environment.setdefault("DEBUGINFOD_URLS", _servers(root))
    if build_id is None or not environment["DEBUGINFOD_URLS"] or find_program("debuginfod-find") is None:
        return None
    say(f"asking {environment['DEBUGINFOD_URLS']} for the symbols of {build_id}, which may be a gigabyte …")
    try:
        told = run(["debuginfod-find", "debuginfo", build_id], timeout=DOWNLOAD_TIMEOUT, environment=environment)
    except ToolError as problem:
        say(f"debuginfod did not help: {problem.said or problem}")
        return None
    path = Path(told.stdout.strip())
    if _build_id_of(path) != build_id:
        say(f"debuginfod did not help: {path} is of another build")
        return None
    return path


def _servers(root: Path) -> str:
    return " ".join(word for path in sorted((root / SERVERS).glob("*.urls")) for word in (read_text(path) or "").split())


def _missing(root: Path, kernel: CrashedKernel) -> SymbolsError:
    if kernel.release is None:
        return SymbolsError(
            "the dump does not tell of which kernel it is, so its debug symbols can't be found",
            hint="name them: kdumpd crashes analyse --vmlinux FILE",
        )
    fact = f"the debug symbols of kernel {kernel.release} are not here"
    advice = symbol_advice(root, kernel.release, kernel.build_id)
    if advice is None:
        return SymbolsError(fact, hint="kdumpd does not know which package has them; name the file: --vmlinux FILE")
    return SymbolsError(
        f"{fact}: they are in the package {advice.package}",
        hint=f"{advice.command}; or copy dump and symbols to another machine with crash(8), or name the file: --vmlinux FILE",
    )
