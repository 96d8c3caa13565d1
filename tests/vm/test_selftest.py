# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd test`: a real crash on purpose, judged by the next boot."""

import json
import re

import pytest

from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM

JOURNAL = "journalctl --boot --unit kdumpd --output cat"


@pytest.mark.core(BOOKWORM)
def test_a_test_passes_and_the_next_boot_says_so_with_times_and_memory(guest: Guest) -> None:
    assert "  last test     never: " in guest.run("kdumpd status").stdout
    # That is for the keyboard, and does not keep root from testing.
    guest.run("echo 0 > /proc/sys/kernel/sysrq")
    guest.panic("kdumpd test --yes")
    guest.wait_poweroff()

    guest.boot()
    measured = r"the log was safe \d+\.\d s after the dump kernel started, [\d.]+M of [\d.]+M memory used at the peak"
    assert re.search(
        rf"^  last test     passed 20\d\d-\d\d-\d\dT\d\d:\d\dZ: {measured}$", guest.run("kdumpd status").stdout, re.MULTILINE
    )
    assert "(kdumpd test)" in guest.run("kdumpd crashes list").stdout
    guest.run("systemctl restart kdumpd")
    assert guest.run(JOURNAL).stdout.count("kdumpd test passed") == 1
    result = json.loads(guest.run("kdumpd status --json").stdout)["last_test"]
    assert result["capture_seconds"] > 0
    assert 0 < result["seconds_to_log"] < 60
    assert 0 < result["peak_used_kib"] < result["total_kib"] < 192 << 10

    nobody = guest.run("setpriv --reuid=65534 --regid=65534 --clear-groups kdumpd status", check=False)
    assert "  last test     passed " in nobody.stdout


def test_a_test_that_leaves_nothing_has_failed(guest: Guest) -> None:
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\ncapture:\n  on_failure: poweroff\n  then: reboot\n")
    guest.run("kdumpd apply --yes && rmdir /var/crash && touch /var/crash && sync")
    guest.panic("kdumpd test --yes")
    guest.wait_poweroff()

    guest.boot()
    failed = "the machine was restarted, but nothing was saved"
    status = guest.run("kdumpd status", check=False).stdout
    assert re.search(rf"^  last test     failed \S+ {failed}", status, re.MULTILINE)
    assert "problem: the last test failed\n    way out: look at what the console said then" in status
    assert failed in guest.run(JOURNAL).stdout


def test_a_machine_that_is_not_armed_is_not_crashed(guest: Guest) -> None:
    guest.run("kdumpd disarm")
    refused = guest.run("kdumpd test --yes", check=False)

    assert refused.returncode == 3
    assert refused.stderr.endswith("hint: kdumpd arm\n")
