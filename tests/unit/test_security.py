# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may forbid to load a dump kernel, as the machine tells it."""

import struct

import pytest

from kdumpd.host.efi import Variable
from kdumpd.host.security import Security, read_secure_boot, read_security
from kdumpd.host.signature import is_signed, read_is_signed
from tests.unit.fakes import FakeMachine


def efi_program(certificate: tuple[int, int], *, magic: int = 0x20B, directories: int = 6) -> bytes:
    """The beginning of a PE image, as the EFI stub makes of a kernel (arch/x86/boot/header.S)."""
    head = bytearray(4096)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x80)
    head[0x80:0x84] = b"PE\0\0"
    optional = 0x80 + 4 + 20
    first = optional + {0x20B: 112, 0x10B: 96}[magic]
    struct.pack_into("<H", head, optional, magic)
    struct.pack_into("<I", head, first - 4, directories)
    struct.pack_into("<II", head, first + 4 * 8, *certificate)
    return bytes(head)


def test_a_machine_without_efi_and_lockdown_forbids_nothing(machine: FakeMachine) -> None:
    assert read_security(machine.root) == Security(lockdown=None, kexec_load_disabled=False, loads_left=-1)
    assert read_secure_boot(machine.root) is None


@pytest.mark.parametrize(("secure", "setup", "told"), [(1, 0, True), (0, 0, False), (1, 1, False)])
def test_secure_boot_is_what_the_firmware_says_unless_it_is_in_setup_mode(
    machine: FakeMachine, secure: int, setup: int, told: bool
) -> None:
    machine.set_variable(Variable.SECURE_BOOT, bytes([secure]))
    machine.set_variable(Variable.SETUP_MODE, bytes([setup]))

    assert read_secure_boot(machine.root) is told


@pytest.mark.parametrize(
    ("text", "lockdown", "locked"),
    [("[none] integrity confidentiality\n", "none", False), ("none [integrity] confidentiality\n", "integrity", True)],
)
def test_lockdown_is_the_word_in_brackets(machine: FakeMachine, text: str, lockdown: str, locked: bool) -> None:
    machine.write("sys/kernel/security/lockdown", text)
    security = read_security(machine.root)

    assert (security.lockdown, security.is_locked_down) == (lockdown, locked)


def test_the_switches_of_kexec_are_read(machine: FakeMachine) -> None:
    machine.write("proc/sys/kernel/kexec_load_disabled", "1\n")
    machine.write("proc/sys/kernel/kexec_load_limit_panic", "3\n")
    security = read_security(machine.root)

    assert (security.kexec_load_disabled, security.loads_left) == (True, 3)


@pytest.mark.parametrize("magic", [0x20B, 0x10B])
def test_an_image_with_a_certificate_table_is_signed(magic: int) -> None:
    assert is_signed(efi_program((8_000_000, 1496), magic=magic)) is True
    assert is_signed(efi_program((0, 0), magic=magic)) is False


def test_an_image_with_too_few_directories_is_not_signed() -> None:
    assert is_signed(efi_program((8_000_000, 1496), directories=4)) is False


@pytest.mark.parametrize("head", [b"", b"kernel", b"MZ", b"MZ" + bytes(100), efi_program((1, 1))[:0x90], b"\x7fELF" + bytes(4096)])
def test_of_what_is_no_efi_program_nothing_can_be_told(head: bytes) -> None:
    assert is_signed(head) is None


def test_an_image_that_is_not_there_tells_nothing(machine: FakeMachine) -> None:
    machine.write_bytes("boot/vmlinuz-signed", efi_program((8_000_000, 1496)))

    assert read_is_signed(machine.root, "/boot/vmlinuz-signed") is True
    assert read_is_signed(machine.root, "/boot/vmlinuz-none") is None
