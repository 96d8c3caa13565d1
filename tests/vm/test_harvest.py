# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crashes that no dump kernel sees: what pstore keeps of them is a crash at the next boot, once, whatever happens on the way."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.machines import Machine, empty_logs, without_snapshots
from tests.vm.systems import BOOKWORM

JOURNAL = "journalctl --boot --unit kdumpd --output cat"
RAMOOPS = "mem_address=0x20000000 mem_size=0x200000 record_size=0x40000 console_size=0 ftrace_size=0 pmsg_size=0 ecc=1"


@dataclass(frozen=True)
class Kept:
    """A crash of a guest that runs."""

    folder: str
    report: dict[str, Any]


def crashes(guest: Guest) -> list[Kept]:
    """Those in the store, the oldest first, by their reports."""
    found = guest.run("for report in /var/crash/*Z*/report.json; do [ -e $report ] && echo $report; done; true").stdout.split()
    return [Kept(str(Path(path).parent), json.loads(guest.read(path))) for path in found]


def die(guest: Guest, command: str = "echo c > /proc/sysrq-trigger") -> None:
    """Crashes the guest as one that is not armed, and waits until its firmware has begun anew."""
    guest.run("systemctl is-enabled systemd-pstore kdumpd-harvest && kdumpd disarm && sysctl kernel.panic=1 && sync")
    guest.panic(command)
    guest.wait_reset()


def last_end(guest: Guest) -> str:
    found = re.search(r"^  last end +(.*)$", guest.run("kdumpd status", check=False).stdout, re.MULTILINE)
    return found[1] if found else ""


@pytest.fixture
def erst_guest(machine: Machine, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guest]:
    """The armed server, powered off, in a case with ACPI ERST, and without the store for records that UEFI has."""
    copy = without_snapshots(machine, tmp_path)
    (tmp_path / "erst").write_bytes(b"")
    with (tmp_path / "erst").open("r+b") as file:
        file.truncate(512 << 10)
    memory = f"memory-backend-file,id=erst,mem-path={tmp_path / 'erst'},size=512K,share=on"
    more = ("-object", memory, "-device", "acpi-erst,memdev=erst")
    with Guest(copy.disk, [*copy.argv, *more], logs=empty_logs(re.sub(r"\W+", "-", request.node.name))) as guest:
        yield guest


def check_one_crash(guest: Guest, backend: Sequence[str], kind: str = "sysrq", told: str = "this machine crashed at ") -> Kept:
    (crash,) = crashes(guest)
    assert (crash.report["source"], crash.report["kind"]) == ("pstore", kind)
    assert {record["backend"] for record in crash.report["records"]} <= set(backend)
    assert [record["missing"] for record in crash.report["records"]] == [[] for _ in crash.report["records"]]
    assert guest.run("ls /sys/fs/pstore /var/lib/systemd/pstore 2>/dev/null | grep dmesg-", check=False).stdout == ""
    assert "[kdumpd: " not in guest.read(f"{crash.folder}/dmesg.txt")
    assert guest.run(JOURNAL).stdout.count(told) == 1
    return crash


@pytest.mark.core
def test_a_panic_in_efi_variables_is_a_crash_at_the_next_boot(guest: Guest) -> None:
    die(guest)
    guest.boot_on()

    crash = check_one_crash(guest, ["efi", "efi_pstore"])
    assert "Kernel panic - not syncing: sysrq triggered crash" in guest.read(f"{crash.folder}/dmesg.txt")
    assert last_end(guest).startswith("crashed, without a dump: ")
    guest.run("systemctl restart kdumpd-harvest kdumpd && kdumpd harvest")
    check_one_crash(guest, ["efi", "efi_pstore"])

    guest.reboot()
    assert last_end(guest) == "clean"
    guest.kill()
    guest.boot()
    assert last_end(guest).startswith("cut off: ")
    assert len(crashes(guest)) == 1


def test_a_panic_in_ramoops_is_a_crash_after_a_warm_reset(guest: Guest) -> None:
    guest.write(
        "/etc/default/grub.d/ramoops.cfg",
        # GRUB itself would expand a $ (grub-core/script/lexer.c).
        'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX pstore.backend=ramoops "' + "'memmap=2M\\$0x20000000'\n",
    )
    guest.write("/etc/modprobe.d/ramoops.conf", f"options ramoops {RAMOOPS}\n")
    guest.write("/etc/modules-load.d/ramoops.conf", "ramoops\n")
    guest.run("update-grub")
    guest.reboot()
    assert guest.read("/sys/module/pstore/parameters/backend").strip() == "ramoops"

    for number in (1, 2):
        die(guest)
        guest.boot_on()
        assert len(crashes(guest)) == number
    first, second = crashes(guest)
    assert first.report["signature"] == second.report["signature"]
    assert {record["backend"] for each in (first, second) for record in each.report["records"]} == {"ramoops"}
    assert guest.read(f"{first.folder}/dmesg.txt") != guest.read(f"{second.folder}/dmesg.txt")


def test_a_panic_in_erst_is_a_crash_at_the_next_boot(erst_guest: Guest) -> None:
    guest = erst_guest
    guest.boot()
    guest.write("/etc/default/grub.d/erst.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX pstore.backend=erst"\n')
    guest.run("update-grub")
    guest.reboot()
    assert guest.read("/sys/module/pstore/parameters/backend").strip() == "erst"

    die(guest)
    guest.boot_on()
    check_one_crash(guest, ["erst"])


def test_the_same_crash_twice_is_one_signature_and_two_entries(guest: Guest) -> None:
    for _ in range(2):
        die(guest)
        guest.boot_on()

    first, second = crashes(guest)
    assert first.folder != second.folder
    assert first.report["signature"] == second.report["signature"]


@pytest.mark.parametrize(
    ("how", "settings", "kind"),
    [
        ("warn", "kernel.panic_on_warn=1", "warn-panic"),
        ("oops", "kernel.panic_on_oops=1", "null-deref"),
        ("soft-lockup", "kernel.softlockup_panic=1 kernel.watchdog_thresh=5", "soft-lockup"),
        ("hung-task", "kernel.hung_task_panic=1 kernel.hung_task_timeout_secs=10", "hung-task"),
    ],
)
def test_each_kind_of_crash_is_told_as_what_it_was(guest: Guest, crash_module: bytes, how: str, settings: str, kind: str) -> None:
    guest.write("/root/kcrash.ko", crash_module)
    guest.run(f"sysctl {settings}")
    die(guest, f"insmod /root/kcrash.ko how={how}")
    guest.boot_on()

    crash = check_one_crash(guest, ["efi", "efi_pstore"], kind)
    assert crash.report["fatal"] is True
    assert crash.report["function"].startswith("kcrash_")


@pytest.mark.core(BOOKWORM)
def test_an_oops_that_the_kernel_survives_is_told_as_one_after_a_reboot(guest: Guest, crash_module: bytes) -> None:
    guest.write("/root/kcrash.ko", crash_module)
    guest.run("kdumpd disarm && sysctl kernel.panic_on_oops=0")
    guest.run("insmod /root/kcrash.ko", check=False)
    guest.reboot()

    crash = check_one_crash(guest, ["efi", "efi_pstore"], "null-deref", told="the kernel of this machine had a fault at ")
    assert crash.report["fatal"] is False
    assert last_end(guest) == "clean"


def _wait_for_harvest_to_be_cut_off(guest: Guest, moment: float) -> None:
    """Starts a harvest of many records that are slow to store, and lets it run for a while."""
    guest.start("kdumpd harvest > /root/harvest.log 2>&1")
    time.sleep(moment)


def _with_a_crash_that_waits(guest: Guest) -> None:
    """Crashed, and booted again without anybody taking the records."""
    guest.run("systemctl mask kdumpd-harvest systemd-pstore && systemctl disable kdumpd && sync")
    guest.run("kdumpd disarm && sysctl kernel.panic=1 && sync")
    guest.panic()
    guest.wait_reset()
    guest.boot_on()
    assert int(guest.run("ls /sys/fs/pstore | wc -l").stdout) > 5


def test_a_harvest_that_is_killed_in_the_middle_loses_nothing_and_doubles_nothing(guest: Guest) -> None:
    _with_a_crash_that_waits(guest)
    count = int(guest.run("ls /sys/fs/pstore | wc -l").stdout)
    for moment in ("0.3", "0.5", "0.7", "0.9", "1.2", "1.5"):
        guest.run(f"timeout --signal=KILL {moment} kdumpd harvest", check=False)
        assert all(crash.report["kind"] == "sysrq" for crash in crashes(guest))
    guest.run("kdumpd harvest")

    (crash,) = crashes(guest)
    assert int(guest.run(f"ls {crash.folder}/pstore | wc -l").stdout) == count
    assert guest.run("ls /sys/fs/pstore /var/crash/.harvest/pstore | grep dmesg-", check=False).stdout == ""


def test_a_power_cut_in_the_middle_of_a_harvest_loses_nothing_and_doubles_nothing(guest: Guest) -> None:
    _with_a_crash_that_waits(guest)
    count = int(guest.run("ls /sys/fs/pstore | wc -l").stdout)
    for moment in (1.0, 2.0, 4.0):
        _wait_for_harvest_to_be_cut_off(guest, moment)
        guest.kill()
        guest.boot()
    guest.run("kdumpd harvest")

    (crash,) = crashes(guest)
    assert crash.report["kind"] == "sysrq"
    assert int(guest.run(f"ls {crash.folder}/pstore | wc -l").stdout) == count
    assert guest.run("ls /sys/fs/pstore /var/crash/.harvest/pstore | grep dmesg-", check=False).stdout == ""
