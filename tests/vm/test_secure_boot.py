# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with Secure Boot: shim and Debian's signed kernel, which is in lockdown and loads only what is signed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.machines import Machine, secure_machine


@pytest.fixture
def secure_guest(machine: Machine, tmp_path: Path) -> Iterator[Guest]:
    with secure_machine(machine, tmp_path).guest("secure-boot") as guest:
        guest.boot()
        yield guest


def test_under_lockdown_the_machine_is_armed_and_a_panic_is_saved(secure_guest: Guest) -> None:
    guest = secure_guest
    assert "[integrity]" in guest.read("/sys/kernel/security/lockdown")
    status = guest.run("kdumpd status", check=False)
    assert (status.returncode, status.stdout.splitlines()[0][:6]) == (0, "ARMED:")
    refused = guest.run("kexec -c -p --command-line=x /vmlinuz", check=False)
    assert "kexec_load failed: " in refused.stderr

    guest.panic()
    guest.wait_poweroff()

    (folder,) = guest.list_folder("/var/crash")
    assert "sysrq triggered crash" in guest.read(f"/var/crash/{folder}/dmesg.txt")
