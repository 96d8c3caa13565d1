# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much of the machine each unit could touch, as systemd judges it, and what docs/security.md says of that."""

import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
UNITS = {path.name for path in (TOP / "units").glob("*.service")}
DOCUMENTED = dict(re.findall(r"^\| `([\w@-]+\.service)` \| ([\d.]+) \|", (TOP / "docs/security.md").read_text(), re.MULTILINE))
# It runs in the dump kernel, where there is nobody else.
ALONE = "kdumpd-capture.service"


def exposure(unit: str) -> float:
    command = ["systemd-analyze", "security", "--offline=true", str(TOP / "units" / unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"exposure level for \S+: ([\d.]+)", told)[0])


def test_every_service_has_its_exposure_in_the_documentation() -> None:
    assert set(DOCUMENTED) == UNITS


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_no_service_is_more_exposed_than_the_documentation_says(unit: str) -> None:
    assert exposure(unit) <= float(DOCUMENTED[unit])


@pytest.mark.parametrize("unit", sorted(UNITS - {ALONE}))
def test_every_service_of_a_normal_boot_is_in_a_sandbox(unit: str) -> None:
    assert float(DOCUMENTED[unit]) <= 5


def test_early_may_still_load_a_dump_kernel() -> None:
    unit = (TOP / "units/kdumpd-early.service").read_text()
    allowed = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[0].split()

    assert {"CAP_SYS_BOOT", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_SYSLOG"} <= set(allowed)
    assert re.search(r"^SystemCallFilter=.*@reboot", unit, re.MULTILINE)
    # Each of them waits for mounts that are on their way, or hides what kexec reads.
    assert not re.search(
        r"^(?:PrivateTmp|ProtectSystem|ProtectHome|ProtectKernelTunables|ProtectKernelLogs|ProcSubset)=", unit, re.MULTILINE
    )
