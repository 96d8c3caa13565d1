# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's archive: any suite, from any host, over the mirror that the host uses."""

import functools
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.cache import cache_folder, making

ARCHITECTURE = "x86_64"
# The suite that becomes the next Debian has neither updates nor security updates of its own.
WITHOUT_UPDATES = ("testing", "unstable")
# Both Debian 12 and 13 have it, with the keys of either; /etc/apt/trusted.gpg.d is empty on some systems.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Seconds for which lists are fresh: one run sees one archive.
FRESH = 3600.0


@dataclass(frozen=True)
class Archive:
    """A suite of Debian, with its updates; `backports` adds what was built for it from the next one."""

    suite: str
    backports: bool = False

    def versions(self, *packages: str) -> dict[str, str]:
        """Package -> the version that the archive has of it now.

        Raises:
            LookupError: it has none.
        """
        shown = _output([*self.updated_apt("apt-cache"), "policy", *packages])
        found: dict[str, str] = {}
        name = ""
        for line in shown.splitlines():
            if not line.startswith(" "):
                name = line.removesuffix(":")
            elif line.startswith("  Candidate: "):
                found[name] = line.removeprefix("  Candidate: ")
        if missing := [package for package in packages if found.get(package, "(none)") == "(none)"]:
            raise LookupError(f"{self.suite} has no package {', '.join(missing)}")
        return {package: found[package] for package in packages}

    def dependency(self, package: str, prefix: str) -> str:
        """The dependency whose name begins so, of a package's highest version: with backports, of theirs."""
        fields = _output([*self.updated_apt("apt-cache"), "show", package]).splitlines()
        names = next(line.removeprefix("Depends: ") for line in fields if line.startswith("Depends: "))
        (name,) = [name.split()[0] for name in names.split(", ") if name.startswith(prefix)]
        return name

    def needs(self, package: str) -> list[str]:
        """All packages that the installation of one brings along on an empty system, without itself."""
        plan = _output([*self.updated_apt("apt-get"), "--simulate", "--no-install-recommends", "install", package])
        names = {line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")}
        return sorted(names - {package})

    def download(self, package: str, folder: Path) -> Path:
        """A package, as NAME.deb in a folder."""
        # As root: the folder is ours, and the user that apt would rather be can't write into it.
        command = [*self.updated_apt("apt-get"), "download", "--quiet=2", "-oAPT::Sandbox::User=root", package]
        subprocess.run(command, check=True, cwd=folder)
        (downloaded,) = folder.glob(f"{package}_*.deb")
        return downloaded.rename(folder / f"{package}.deb")

    def make_tree(self, tree: Path, packages: Iterable[str], *, variant: str, options: Sequence[str] = ()) -> None:
        """Fills a folder with packages and what they depend on."""
        subprocess.run(
            ["mmdebstrap", "--quiet", "--mode=root", f"--variant={variant}", f"--include={','.join(packages)}",
             '--aptopt=Acquire::Languages "none"', "--aptopt=Acquire::Check-Valid-Until false", "--dpkgopt=force-unsafe-io",
             *options, self.suite, str(tree), str(_updated_lists(self) / "sources.list")],
            check=True,
        )  # fmt: skip

    def apt(self, program: str) -> list[str]:
        """The first words of an apt that knows nothing but this archive, and of no installed package."""
        home = self.home
        return [
            program, f"-oDir::State={home}", f"-oDir::State::status={home}/status", f"-oDir::Cache={home}/cache",
            f"-oDir::Etc::sourcelist={home}/sources.list", f"-oDir::Etc::sourceparts={home}/none",
            f"-oDir::Etc::preferencesparts={home}/none",
        ]  # fmt: skip

    def updated_apt(self, program: str) -> list[str]:
        """The same, with lists that are of this run."""
        _updated_lists(self)
        return self.apt(program)

    @property
    def home(self) -> Path:
        return cache_folder() / f"lists-{self.suite}{'-backports' if self.backports else ''}"

    def source_lines(self) -> list[str]:
        debian, security = _mirrors()
        places = [(debian, self.suite)]
        if self.suite not in WITHOUT_UPDATES:
            places += [(debian, f"{self.suite}-updates"), (security, f"{self.suite}-security")]
        if self.backports:
            places.append((debian, f"{self.suite}-backports"))
        return [f"deb [signed-by={KEYRING}] {uri} {suite} main" for uri, suite in places]


@functools.cache
def _updated_lists(archive: Archive) -> Path:
    """Fetches the lists of packages, unless they are fresh."""
    home = archive.home
    with making(home.name):
        stamp = home / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH:
            return home
        for folder in ("lists/partial", "cache/archives/partial", "none"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        (home / "sources.list").write_text("".join(f"{line}\n" for line in archive.source_lines()))
        update = [*archive.apt("apt-get"), "update", "--quiet=2", "-oAcquire::Check-Valid-Until=false", "-oAPT::Sandbox::User=root"]
        subprocess.run(update, check=True)
        stamp.touch()
    return home


@functools.cache
def _mirrors() -> tuple[str, str]:
    """Where this host gets Debian and its security updates from."""
    targets = _output(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Identifier: Packages"])
    found = {suite.partition("-")[2]: uri for uri, suite in (line.split() for line in targets.splitlines())}
    return found[""], found["security"]


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout
