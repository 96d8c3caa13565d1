# SPDX-License-Identifier: LGPL-2.1-or-later
"""The package's own life: it comes without a trace, is upgraded without a loss, and goes without a trace."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd import __version__
from tests.vm.guest import Guest
from tests.vm.machines import FRESH, POLICY, borrowed, fresh_machine, install
from tests.vm.systems import System

TOP = Path(__file__).parents[2]
AUTOPKGTEST = TOP / "packaging/deb/tests/crash-and-come-back"
NEXT_VERSION = "99.0"
LOADED = "/sys/kernel/kexec_crash_loaded"
# Every file, folder and link of the system: mode, owner, and what is in it.
MANIFEST = """\
import hashlib, json, os, sys
found = {}
for top in ("/boot", "/etc", "/usr", "/var"):
    for folder, folders, files in os.walk(top):
        for path in (os.path.join(folder, name) for name in (*folders, *files)):
            state, content = os.lstat(path), ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = hashlib.sha256(open(path, "rb").read()).hexdigest()
            found[path] = [oct(state.st_mode), state.st_uid, state.st_gid, content]
json.dump(found, sys.stdout)
"""
# What differs on every machine and in every boot, and what the package manager remembers of each package that it has seen.
NOISE = (
    "/etc/.pwd.lock",
    "/etc/machine-id",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/var/log/",
    "/var/tmp/",
)
STORE = "/var/crash"

Manifest = dict[str, list[object]]


def manifest(guest: Guest) -> Manifest:
    found: Manifest = json.loads(guest.run("python3 -I -B -", stdin=MANIFEST.encode()).stdout)
    return {path: state for path, state in found.items() if not path.startswith(NOISE)}


def differences(before: Manifest, after: Manifest) -> dict[str, tuple[object, object]]:
    return {path: (before.get(path), after.get(path)) for path in sorted({*before, *after}) if before.get(path) != after.get(path)}


@pytest.fixture(scope="module")
def never_seen(system: System) -> Iterator[tuple[Guest, Manifest]]:
    """A machine that has never seen kdumpd, and what is on it."""
    with borrowed(fresh_machine(system)) as machine, machine.guest(f"package-{system}") as guest:
        guest.restore(FRESH)
        yield guest, manifest(guest)


@pytest.fixture
def next_deb(deb: Path, tmp_path: Path) -> Path:
    """The same package, as its next version."""
    tree, built = tmp_path / "tree", tmp_path / "next.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
    for path, line in (
        (tree / "DEBIAN/control", "Version: {}"),
        (tree / "usr/lib/kdumpd/kdumpd/__init__.py", '__version__ = "{}"'),
    ):
        text = path.read_text()
        assert line.format(__version__) in text
        path.write_text(text.replace(line.format(__version__), line.format(NEXT_VERSION)))
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(built)], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return built


def loads(guest: Guest) -> int:
    return guest.run("journalctl --boot --unit kdumpd --output cat").stdout.count("load the dump kernel /")


def crashkernels(guest: Guest) -> list[str]:
    return [word for word in guest.read("/boot/grub/grub.cfg").split() if word.startswith("crashkernel=")]


@pytest.mark.core
@pytest.mark.xdist_group("never-seen")
def test_an_installation_changes_nothing_but_its_own_files_and_a_purge_removes_them(
    never_seen: tuple[Guest, Manifest], deb: Path
) -> None:
    guest, before = never_seen
    install(guest, deb)
    packaged = set(guest.run("dpkg --listfiles kdumpd").stdout.splitlines())
    changed = {path for path in differences(before, manifest(guest)) if "/__pycache__" not in path}

    assert changed <= {path.replace("/lib/", "/usr/lib/", 1) if path.startswith("/lib/") else path for path in packaged}
    assert guest.run("systemctl is-enabled kdumpd kdumpd-early kdumpd-harvest", check=False).stdout.split() == ["disabled"] * 3
    assert guest.run("systemctl list-units --no-legend 'kdumpd*'").stdout == ""
    # Byte-compiled for the Python that is here, so that no start of it writes into /usr.
    assert guest.run("ls /usr/lib/kdumpd/kdumpd/capture/__pycache__").stdout

    guest.run("apt-get purge --yes kdumpd")
    assert differences(before, manifest(guest)) == {}
    # The other stories need to know only what was on it.
    guest.kill()


@pytest.mark.xdist_group("never-seen")
def test_an_armed_machine_is_upgraded_crashed_and_left_without_a_trace(
    never_seen: tuple[Guest, Manifest], guest: Guest, next_deb: Path
) -> None:
    upgrade(guest, next_deb)
    crash_by_autopkgtest(guest)
    remove(guest)

    guest.run("apt-get purge --yes kdumpd")
    left = differences(never_seen[1], manifest(guest))
    assert {path for path in left if not path.startswith(STORE)} == set(), left
    assert any(path.endswith("/dmesg.txt") for path in left)


def upgrade(guest: Guest, package: Path) -> None:
    """Policy, last good image and the armed state stay; what is new is loaded once."""
    harvested = "systemctl show --property ActiveEnterTimestampMonotonic kdumpd-harvest"
    before, harvest, images = loads(guest), guest.run(harvested).stdout, set(guest.run("ls /var/lib/kdumpd/images").stdout.split())
    guest.write("/root/next.deb", package.read_bytes())
    guest.run("apt-get install --yes /root/next.deb", deadline=2 * guest.deadlines.command)

    assert guest.run("kdumpd --version").stdout == f"kdumpd {NEXT_VERSION}\n"
    assert guest.run("kdumpd status").stdout.startswith("ARMED: ")
    assert loads(guest) - before == 1
    assert guest.run(harvested).stdout == harvest
    assert guest.read("/etc/kdumpd.yaml") == POLICY
    assert set(guest.run("ls /var/lib/kdumpd/images").stdout.split()) > images


def crash_by_autopkgtest(guest: Guest) -> None:
    """What the package's autopkgtest does to its testbed, without the reboot of a machine that has its memory reserved already."""
    guest.write("/root/autopkgtest", AUTOPKGTEST.read_bytes())
    for program in ("/tmp/autopkgtest-reboot", "/tmp/autopkgtest-reboot-prepare"):
        guest.write(program, '#!/bin/sh\necho "$1" > /root/mark && sync\n')
        guest.run(f"chmod +x {program}")
    script = "AUTOPKGTEST_REBOOT_MARK=$(cat /root/mark) sh /root/autopkgtest"

    guest.run("touch /root/mark && " + script)
    assert guest.read("/root/mark") == "reserved\n"
    guest.panic(script)
    guest.wait_reset()
    guest.kill()
    guest.boot()
    assert guest.read("/root/mark") == "crashed\n"
    assert "autopkgtest was here" in guest.run(script).stdout
    # Not kdumpd's own, so no purge takes it.
    guest.run("rm -r /etc/kdumpd.yaml.d")


def remove(guest: Guest) -> None:
    """Disarms, and takes crashkernel= out of GRUB; policy, images and crashes stay."""
    told = guest.run("apt-get remove --yes kdumpd").stdout

    assert "unload the dump kernel" in told
    assert guest.read(LOADED).strip() == "0"
    assert crashkernels(guest) == []
    assert guest.read("/proc/sys/kernel/panic").strip() == "0"
    assert guest.read("/etc/kdumpd.yaml") == POLICY
    assert guest.run("ls /var/lib/kdumpd/images").stdout
    assert guest.run("ls /usr/lib/kdumpd", check=False).returncode != 0


@pytest.mark.xdist_group("kdump-tools")
def test_beside_kdump_tools_a_purge_gives_it_its_settings_back_and_removes_the_crashes_if_told_to(
    guest_with_kdump_tools: Guest,
) -> None:
    guest = guest_with_kdump_tools
    guest.run("kdumpd apply --yes")
    assert "\nUSE_KDUMP=0\n" in guest.read("/etc/default/kdump-tools")
    guest.run(f"mkdir {STORE}/2026-11-22T03-04-05Z && touch {STORE}/2026-11-22T03-04-05Z/dmesg.txt")
    guest.run("echo kdumpd kdumpd/purge-crashes boolean true | debconf-set-selections")
    guest.run("apt-get purge --yes kdumpd")

    packaged = guest.read("/usr/share/kdump-tools/kdump-tools.conf")
    assert guest.read("/etc/default/kdump-tools") == packaged.replace("USE_KDUMP=0", "USE_KDUMP=1")
    assert guest.run("ls /etc/udev/rules.d/50-kdump-tools.rules", check=False).returncode != 0
    assert set(crashkernels(guest)) == {"crashkernel=384M-:128M"}
    assert "2026-11-22" not in guest.run(f"ls {STORE}", check=False).stdout
