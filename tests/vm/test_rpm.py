# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd.rpm as far as a Debian guest can tell: installed by rpm, its image by dracut, beside a kdump.service, without pydbus."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.machines import POLICY

BUILD = Path(__file__).resolve().parents[2] / "build"
LOADED = "/sys/kernel/kexec_crash_loaded"
# Debian's rpm wants to be sure, and does not know Debian's packages.
INSTALL = "rpm --install --force-debian --nodeps /root/kdumpd.rpm"
REINSTALL = "rpm --upgrade --replacepkgs --force-debian --nodeps /root/kdumpd.rpm"
ERASE = "rpm --erase --force-debian kdumpd"
# As on Fedora, where no unit is enabled by being installed; kdump.service is like the one of kdump-utils 1.0.44.
LIKE_FEDORA = {
    "/usr/lib/systemd/system-preset/99-default-disable.preset": "disable *\n",
    "/usr/bin/kdumpctl": '#!/bin/sh\necho "$1" >>/run/kdumpctl.log\n',
    "/usr/lib/systemd/system/kdump.service": (
        "[Unit]\nAfter=network.target network-online.target remote-fs.target basic.target\n"
        "[Service]\nType=oneshot\nExecStart=/usr/bin/kdumpctl start\nExecStop=/usr/bin/kdumpctl stop\nRemainAfterExit=yes\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
}
# Byte code, documentation and completions of zsh have other places on Debian. What only one of the two has a use for:
DIFFERENT = "/usr/share/doc|/usr/share/zsh|.*/__pycache__"
ONLY_IN_THE_DEB = r"/etc/kernel/post|/usr/lib/kdumpd/initramfs-tools|/usr/share/lintian|/usr/share/python3"
ONLY_IN_THE_RPM = r"/usr/lib/kdumpd/pydbus|/usr/lib/systemd/system/kdumpd\.service\.d|/usr/share/licenses"


@pytest.fixture
def rpm() -> Path:
    package = BUILD / "kdumpd.rpm"
    if not package.exists():
        pytest.fail(f"{package} is missing: run `make rpm`, or run the tests by `make test`")
    return package


@pytest.fixture
def rpm_guest(fresh_guest: Guest) -> Guest:
    """A running server on which kdumpd was never installed: with rpm, dracut and an enabled kdump.service, without pydbus."""
    guest = fresh_guest
    guest.run("apt-get install --yes /root/rpm.deb /root/dracut-core.deb")
    guest.run("dpkg --purge --force-depends initramfs-tools initramfs-tools-core python3-pydbus")
    for path, text in LIKE_FEDORA.items():
        guest.run(f"mkdir -p $(dirname {path})")
        guest.write(path, text)
    guest.run("chmod +x /usr/bin/kdumpctl && systemctl daemon-reload && systemctl enable --now kdump")
    return guest


def is_active(guest: Guest, unit: str) -> bool:
    return guest.run(f"systemctl is-active --quiet {unit}", check=False).returncode == 0


def files(command: list[str | Path], but: str) -> dict[str, str]:
    """Path -> mode of the files in a package, as on a system where /lib is a link to /usr/lib."""
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    modes = {line.split()[-1].removeprefix("."): line.split()[0] for line in listed if line.startswith("-")}
    return {re.sub("^/lib/", "/usr/lib/", path): mode for path, mode in modes.items() if not re.match(f"{but}|{DIFFERENT}", path)}


@pytest.mark.core
def test_the_rpm_holds_what_the_deb_holds_but_for_what_is_of_debian(rpm: Path, deb: Path) -> None:
    in_the_rpm = files(["rpm", "--query", "--list", "--verbose", "--package", rpm], ONLY_IN_THE_RPM)
    in_the_deb = files(["dpkg-deb", "--contents", deb], ONLY_IN_THE_DEB)

    assert in_the_rpm == in_the_deb


def test_a_server_with_the_rpm_saves_a_crash_and_is_as_before_when_it_is_erased(rpm_guest: Guest, rpm: Path) -> None:
    guest = rpm_guest
    guest.write("/root/kdumpd.rpm", rpm.read_bytes())
    guest.run(INSTALL)
    assert guest.run("systemctl is-enabled kdumpd kdumpd-early kdumpd-harvest", check=False).stdout.split() == ["disabled"] * 3
    assert is_active(guest, "kdump")

    guest.write("/etc/kdumpd.yaml", POLICY)
    guest.run("systemctl enable --now kdumpd", deadline=2 * guest.deadlines.command)
    assert not is_active(guest, "kdump")
    assert json.loads(guest.run("cat /var/lib/kdumpd/images/*/about.json").stdout)["generator"] == "dracut"

    guest.reboot()
    assert guest.run("kdumpd status").stdout.startswith("ARMED: ")
    assert "kdump.service" not in guest.run("kdumpd check", check=False).stdout
    assert not is_active(guest, "kdump")
    guest.run("test ! -e /run/kdumpctl.log")

    guest.panic()
    guest.wait_poweroff()
    guest.boot()
    assert "Kernel panic - not syncing: sysrq triggered crash" in guest.run("kdumpd crashes list").stdout
    assert guest.read(LOADED).strip() == "1"
    # The daemon speaks by the pydbus of the package.
    assert "JobDone" in guest.run("busctl introspect org.kdumpd1 /org/kdumpd1 org.kdumpd1").stdout

    pid = guest.run("systemctl show --property MainPID --value kdumpd").stdout
    guest.run(REINSTALL)
    assert is_active(guest, "kdumpd")
    assert guest.run("systemctl show --property MainPID --value kdumpd").stdout != pid
    assert guest.read(LOADED).strip() == "1"

    guest.run(ERASE)
    assert guest.read(LOADED).strip() == "0"
    assert "crashkernel=" not in guest.read("/boot/grub/grub.cfg")
    left = guest.run("find / -xdev -path '*kdumpd*' -not -path '/root/*' -not -path '/var/crash/*' -not -path '/var/log/*'").stdout
    assert left.splitlines() == ["/etc/kdumpd.yaml.rpmsave"]
    assert guest.run("ls /var/crash/*Z/dmesg.txt").stdout
    guest.run("systemctl start kdump")
    assert guest.read("/run/kdumpctl.log") == "start\n"
