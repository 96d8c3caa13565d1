# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with Secure Boot: shim and Debian's signed kernel, which is in lockdown and loads only what is signed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.guest import Guest
from tests.vm.machines import Machine, secure_machine
from tests.vm.systems import BOOKWORM


@pytest.fixture
def secure_guest(machine: Machine, tmp_path: Path) -> Iterator[Guest]:
    with secure_machine(machine, tmp_path).guest("secure-boot") as guest:
        guest.boot()
        yield guest


@pytest.mark.core(BOOKWORM)
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


def test_a_kernel_with_a_broken_signature_is_refused_and_the_last_good_one_is_loaded_again(secure_guest: Guest) -> None:
    guest = secure_guest
    guest.run("cp /vmlinuz /boot/vmlinuz-changed && printf X | dd of=/boot/vmlinuz-changed bs=1 seek=5000000 conv=notrunc")
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\ndump_kernel:\n  kernel: /boot/vmlinuz-changed\n")
    refused = guest.run("kdumpd apply --yes", check=False)

    assert refused.returncode == 1
    assert "the new dump kernel could not be loaded, the last good one is in its place" in refused.stderr
    assert "hint: the kernel is locked down (integrity): it loads only a kernel that is signed" in refused.stderr
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"
    status = guest.run("kdumpd status").stdout
    assert status.startswith("DEGRADED: the dump kernel that the policy asks for could not be loaded")
    assert "the kernel says: PEFILE: Digest mismatch" in status

    guest.panic()
    guest.wait_poweroff()
    (folder,) = guest.list_folder("/var/crash")
    assert "sysrq triggered crash" in guest.read(f"/var/crash/{folder}/dmesg.txt")
