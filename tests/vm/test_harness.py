# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: what the other tests rely on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm.emulator import qemu_img
from tests.vm.guest import Guest, VmError
from tests.vm.machines import Machine, new_machine

VARIABLE = "KdumpdTest"
START_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.vm.machines import Machine
guest = Machine(Path(sys.argv[1])).guest("harness")
guest.power_on()
print(guest.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.core
def test_qemu_does_not_outlive_a_test_run_that_is_killed(tmp_path: Path) -> None:
    new_machine(tmp_path)
    with subprocess.Popen([sys.executable, "-c", START_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        qemu = Path("/proc") / run.stdout.readline().strip()
        assert b"qemu-system-x86_64" in (qemu / "cmdline").read_bytes()
        os.kill(run.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while qemu.exists() and time.monotonic() < end:
        time.sleep(0.1)

    assert not qemu.exists()


def test_what_the_firmware_has_stored_outlives_a_power_cut(machine: Machine, guest: Guest, tmp_path: Path) -> None:
    guest.run(rf"printf '\007\0\0\0x' > /sys/firmware/efi/efivars/{VARIABLE}-6b64756d-7064-4000-8000-000000000002")
    guest.kill()

    qemu_img("convert", "-O", "raw", machine.firmware_variables, tmp_path / "flash")
    assert VARIABLE.encode("utf-16-le") in (tmp_path / "flash").read_bytes()


def test_a_reset_is_not_taken_for_a_power_off(guest: Guest) -> None:
    guest.panic("echo b > /proc/sysrq-trigger")

    with pytest.raises(VmError, match=r"^the guest did not power itself off: QEMU says RESET"):
        guest.wait_poweroff()


def test_a_failure_shows_what_the_guest_printed_and_where_its_console_is(guest: Guest) -> None:
    guest.run("echo last words > /dev/console")

    with pytest.raises(VmError) as caught:
        guest.run("echo out; echo err >&2; exit 7")

    text = str(caught.value)
    assert text.startswith("`echo out; echo err >&2; exit 7` exited with 7\nout\nerr\n")
    assert "    last words" in text
    assert str(guest.consoles[-1]) in text


def test_a_command_that_is_not_waited_for_does_not_confuse_the_next(guest: Guest) -> None:
    guest.start("sleep 100")

    assert guest.run("echo mine").stdout == "mine\n"


def test_every_boot_has_a_console_file_of_its_own(guest: Guest) -> None:
    guest.reboot()

    assert len(guest.consoles) == 2
    assert "Welcome to GRUB" in guest.consoles[1].read_text(errors="replace")
