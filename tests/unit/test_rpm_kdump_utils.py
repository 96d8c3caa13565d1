# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd.rpm beside kdump-utils: kdump.service stands down where kdumpd.service is enabled, and nowhere else."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from kdumpd.host.dump_tools import read_enabled_units
from tests.unit.fakes import FakeMachine

TOP = Path(__file__).parents[2]
UNITS = "usr/lib/systemd/system"
ENABLED = Path("etc/systemd/system/multi-user.target.wants")
SYSTEMD = "/usr/lib/systemd/systemd"
DROP_IN = TOP / "packaging/rpm/50-kdump-utils.conf"
# What counts here of the one that kdump-utils 1.0.44 has.
KDUMP_SERVICE = """\
[Unit]
Description=Crash recovery kernel arming
After=network.target network-online.target remote-fs.target basic.target

[Service]
Type=oneshot
ExecStart=/usr/bin/kdumpctl start
ExecStop=/usr/bin/kdumpctl stop
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def fedora(machine: FakeMachine) -> FakeMachine:
    """A machine on which both packages are installed, and kdump.service is enabled."""
    machine.write(f"{UNITS}/kdump.service", KDUMP_SERVICE)
    machine.write(f"{UNITS}/kdumpd.service", (TOP / "units/kdumpd.service").read_text())
    machine.write(f"{UNITS}/kdumpd.service.d/{DROP_IN.name}", DROP_IN.read_text())
    enable(machine, "kdump.service")
    return machine


def enable(machine: FakeMachine, unit: str) -> None:
    (machine.root / ENABLED).mkdir(parents=True, exist_ok=True)
    (machine.root / ENABLED / unit).symlink_to(f"/{UNITS}/{unit}")


def jobs_of_a_boot(machine: FakeMachine) -> set[str]:
    """What systemd itself would start and stop on the way to multi-user.target, with the units of this machine beside its own."""
    # Its test mode is not for root, and nobody else may look into pytest's folders.
    with tempfile.TemporaryDirectory() as name:
        units = Path(name)
        units.chmod(0o755)
        shutil.copytree(machine.root / UNITS, units, dirs_exist_ok=True)
        shutil.copytree(machine.root / ENABLED, units / ENABLED.name, symlinks=True)
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_nobody, SYSTEMD, "--test", "--system", "--unit=multi-user.target"],
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:{Path(SYSTEMD).parent}/system"},
            capture_output=True,
            text=True,
            check=False,
        )
    if re.search("Cannot determine cgroup|Failed to determine supported controllers", done.stderr):
        pytest.skip("systemd's test mode, too, needs cgroups of a kind that it knows, and there are none (a chroot)")
    assert done.returncode == 0, done.stderr
    return {f"{verb} {unit}" for unit, verb in re.findall(r"Action: (\S+) -> (\S+)", done.stdout)}


def test_a_boot_with_both_enabled_starts_kdumpd_and_not_kdump_service(fedora: FakeMachine) -> None:
    assert "start kdump.service" in jobs_of_a_boot(fedora)

    enable(fedora, "kdumpd.service")
    jobs = jobs_of_a_boot(fedora)

    assert "start kdumpd.service" in jobs
    assert "start kdump.service" not in jobs


def test_a_kdump_service_that_stands_down_is_not_in_the_way(fedora: FakeMachine) -> None:
    assert read_enabled_units(fedora.root) == ("kdump.service",)

    enable(fedora, "kdumpd.service")

    assert read_enabled_units(fedora.root) == ()


def test_without_the_drop_in_of_the_package_it_is_in_the_way(fedora: FakeMachine) -> None:
    enable(fedora, "kdumpd.service")
    (fedora.root / UNITS / f"kdumpd.service.d/{DROP_IN.name}").unlink()

    assert read_enabled_units(fedora.root) == ("kdump.service",)
