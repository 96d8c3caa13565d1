# SPDX-License-Identifier: LGPL-2.1-or-later
import errno
import json
import os
import re
import socket
from functools import partial
from pathlib import Path

import pytest

from kdumpd.daemon.job import keep_armed
from kdumpd.daemon.journal import Event
from kdumpd.daemon.notify import notify, watchdog_seconds
from kdumpd.daemon.publish import publish
from kdumpd.files import lock
from kdumpd.state.state import read_state
from tests.unit.fakes import CATALOG, FakeMachine, Journald, Stubs

OOPS = (Path(__file__).parents[1] / "data/dmesg/x86_64-6.1.192-kdump-null.txt").read_text()
LOG = "[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n"


@pytest.fixture
def policy_file(machine: FakeMachine) -> Path:
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    return machine.root / "etc/kdumpd.yaml"


def test_the_first_start_applies_and_says_that_a_reboot_is_needed(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert keep_armed(machine.root, policy_file) == "not armed: the command line has no crashkernel="
    journal = capfd.readouterr().err
    assert "<6>create /etc/default/grub.d/kdumpd.cfg\n" in journal
    assert "<4>crashkernel=192M takes effect at the next reboot\n" in journal


def test_after_the_reboot_it_arms(machine: FakeMachine, policy_file: Path) -> None:
    machine.reserve()

    assert keep_armed(machine.root, policy_file) == "armed"
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_an_armed_machine_is_left_alone(machine: FakeMachine, policy_file: Path, stubs: Stubs) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    calls = stubs.calls
    keep_armed(machine.root, policy_file)

    assert stubs.calls == calls


def test_a_broken_policy_loads_the_last_good_dump_kernel(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    policy_file.write_text("crashkernel: 1\n")

    state = keep_armed(machine.root, policy_file)
    assert state == f'armed with the last good dump kernel; {policy_file}:1:14: crashkernel: "1" has no unit'
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert f'<3>{policy_file}:1:14: crashkernel: "1" has no unit\n' in capfd.readouterr().err


def test_a_defect_of_kdumpd_does_not_keep_the_last_good_dump_kernel_from_being_loaded(
    machine: FakeMachine, policy_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    monkeypatch.setattr("kdumpd.daemon.job.look", lambda policy, root: 1 // 0)

    state = keep_armed(machine.root, policy_file)
    assert state == "armed with the last good dump kernel; internal error: ZeroDivisionError('integer division or modulo by zero')"
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert "Traceback" in capfd.readouterr().err


def test_who_holds_the_lock_for_ever_does_not_keep_the_last_good_dump_kernel_from_being_loaded(
    machine: FakeMachine, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    monkeypatch.setattr("kdumpd.daemon.job.lock", partial(lock, patience=0.1))
    with lock(machine.root):
        keep_armed(machine.root, policy_file)

    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_an_edited_file_does_not_keep_the_machine_from_being_armed(machine: FakeMachine, policy_file: Path) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("etc/sysctl.d/60-kdumpd.conf", "kernel.panic = 5\n")

    assert keep_armed(machine.root, policy_file).startswith(
        "armed with the last good dump kernel; /etc/sysctl.d/60-kdumpd.conf was"
    )


def test_a_crash_is_reported_once(machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    keep_armed(machine.root, policy_file)
    folder = machine.root / "var/crash/2026-11-22T03-04-05Z"
    assert (
        "<2>this machine crashed at 2026-11-22T03:04:05Z: Kernel panic - not syncing: sysrq triggered crash\n"
        f"<5>the log is safe: {folder}/dmesg.txt; what happened: kdumpd crashes show 2026-11-22T03-04-05Z\n"
    ) in capfd.readouterr().err

    keep_armed(machine.root, policy_file)
    assert "crashed" not in capfd.readouterr().err
    assert json.loads(machine.read("var/lib/kdumpd/reported-crashes.json")) == [str(folder)]


def test_a_crash_has_a_report_before_anybody_is_told_of_it(machine: FakeMachine, policy_file: Path) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    found: list[bool] = []
    keep_armed(machine.root, policy_file, lambda crash: found.append((crash.folder / "report.json").exists()))

    assert found == [True]
    assert json.loads(machine.read("var/crash/2026-11-22T03-04-05Z/report.json"))["kind"] == "sysrq"


def test_a_report_that_is_there_is_not_written_again(machine: FakeMachine, policy_file: Path) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    machine.write("var/crash/2026-11-22T03-04-05Z/report.json", "of a newer kdumpd")
    keep_armed(machine.root, policy_file)

    assert machine.read("var/crash/2026-11-22T03-04-05Z/report.json") == "of a newer kdumpd"


def test_a_crash_whose_report_can_not_be_written_is_told_all_the_same(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    (machine.root / "var/crash/2026-11-22T03-04-05Z/.report.json.new").mkdir()
    keep_armed(machine.root, policy_file)

    told = capfd.readouterr().err
    assert "report.json could not be written: Is a directory\n" in told
    assert "<2>this machine crashed at 2026-11-22T03:04:05Z: Kernel panic" in told


def explained(entry: dict[str, str]) -> str:
    """The catalogue's text for an entry; it must not speak of a field that the entry has not."""
    text = CATALOG.read_text().partition(f"-- {entry['MESSAGE_ID']}\n")[2].partition("\n-- ")[0]
    return re.sub("@([A-Z_]+)@", lambda name: entry[name[1]], text)


def test_a_crash_is_an_event_with_all_that_is_known_and_the_catalogue_explains_it(
    machine: FakeMachine, policy_file: Path, journald: Journald
) -> None:
    name = "2026-11-22T03-04-05Z"
    machine.write(f"var/crash/{name}/dmesg.txt", OOPS)
    keep_armed(machine.root, policy_file)

    (found,) = (entry for entry in journald.entries() if entry["MESSAGE_ID"] == Event.CRASH_FOUND)
    folder = f"{machine.root}/var/crash/{name}"
    report = json.loads(machine.read(f"var/crash/{name}/report.json"))
    headline = "BUG: kernel NULL pointer dereference, address: 0000000000000008"
    assert found["MESSAGE"] == f"this machine crashed at 2026-11-22T03:04:05Z: {report['verdict']}"
    assert {field: value for field, value in found.items() if field.startswith("KDUMPD_")} == {
        "KDUMPD_ID": name,
        "KDUMPD_TIME": "2026-11-22T03:04:05Z",
        "KDUMPD_HEADLINE": report["verdict"],
        "KDUMPD_FOLDER": folder,
        "KDUMPD_WHERE": "in kc_null() of module kcrash",
        "KDUMPD_SEEN": "this has not happened before",
        "KDUMPD_REPORT": f"{folder}/report.json",
        "KDUMPD_SIGNATURE": report["signature"],
        "KDUMPD_KIND": "null-deref",
        "KDUMPD_FUNCTION": "kc_null",
        "KDUMPD_MODULE": "kcrash",
        "KDUMPD_RELEASE": report["release"],
    }
    assert headline in report["verdict"]
    text = explained(found)
    assert f"  {report['verdict']}\n  (in kc_null() of module kcrash; this has not happened before)\n" in text
    assert f"What was saved is in {folder}.\n" in text
    assert f"\n  kdumpd crashes show {name}\n" in text


def test_a_crash_that_has_happened_before_is_told_as_such(machine: FakeMachine, policy_file: Path, journald: Journald) -> None:
    machine.write("var/crash/2026-11-20T00-00-00Z/dmesg.txt", OOPS)
    machine.write("var/crash/2026-11-21T00-00-00Z/dmesg.txt", LOG)
    keep_armed(machine.root, policy_file)
    journald.entries()
    machine.write("var/crash/2026-11-22T00-00-00Z/dmesg.txt", OOPS)
    keep_armed(machine.root, policy_file)

    (found,) = (entry for entry in journald.entries() if entry["MESSAGE_ID"] == Event.CRASH_FOUND)
    assert found["KDUMPD_SEEN"] == "this has happened 2 times"


def test_a_crash_without_a_log_is_an_event_without_what_is_not_known(
    machine: FakeMachine, policy_file: Path, journald: Journald
) -> None:
    (machine.root / "var/crash/2026-11-22T03-04-05Z").mkdir(parents=True)
    keep_armed(machine.root, policy_file)

    (found,) = (entry for entry in journald.entries() if entry["MESSAGE_ID"] == Event.CRASH_FOUND)
    assert not {"KDUMPD_SIGNATURE", "KDUMPD_KIND", "KDUMPD_FUNCTION", "KDUMPD_MODULE", "KDUMPD_RELEASE"} & set(found)
    assert "(where in the kernel is not known; whether this has happened before is not known)\n" in explained(found)


def test_a_report_that_can_not_be_written_keeps_no_crash_from_being_told(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kdumpd.daemon.job.record_report", full)
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    keep_armed(machine.root, policy_file)

    told = capfd.readouterr().err
    assert "/report.json could not be written: No space left on device\n" in told
    assert "<2>this machine crashed at 2026-11-22T03:04:05Z: " in told


def test_the_journal_is_told_once_that_the_machine_is_not_armed_and_once_that_it_is(
    machine: FakeMachine, policy_file: Path, journald: Journald
) -> None:
    keep_armed(machine.root, policy_file)
    keep_armed(machine.root, policy_file)
    (not_armed,) = journald.entries()
    assert not_armed["MESSAGE_ID"] == Event.NOT_ARMED
    assert not_armed["MESSAGE"].startswith("NOT ARMED, a crash now would leave nothing: the command line has no crashkernel=")
    assert "  the command line has no crashkernel=\n" in explained(not_armed)
    assert "  reboot: the boot loader has it already\n" in explained(not_armed)

    machine.reserve()
    keep_armed(machine.root, policy_file)
    keep_armed(machine.root, policy_file)
    (armed,) = journald.entries()
    assert (armed["MESSAGE_ID"], armed["KDUMPD_STATE"]) == (Event.ARMED, "ready")
    assert "saves its log to /var/crash.\n" in explained(armed)


def test_the_journal_is_told_that_the_last_good_dump_kernel_stands_in(
    machine: FakeMachine, policy_file: Path, journald: Journald
) -> None:
    machine.reserve()
    keep_armed(machine.root, policy_file)
    journald.entries()
    last = json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))
    machine.write("var/lib/kdumpd/last-loaded.json", json.dumps({**last, "degraded": "Key was rejected by service"}))
    state = read_state(machine.root, policy_file)
    publish(state, machine.root)

    (degraded,) = journald.entries()
    assert (degraded["MESSAGE_ID"], degraded["PRIORITY"]) == (Event.DEGRADED, "4")
    assert "in its place: Key was rejected by service\n" in explained(degraded)


def test_a_policy_that_is_refused_is_an_event_with_all_its_errors(
    machine: FakeMachine, policy_file: Path, journald: Journald
) -> None:
    policy_file.write_text("crashkernel: 1\nloader: nobody\n")
    keep_armed(machine.root, policy_file)

    (refused,) = (entry for entry in journald.entries() if entry["MESSAGE_ID"] == Event.POLICY_REFUSED)
    assert refused["MESSAGE"].startswith(f'{policy_file}:1:14: crashkernel: "1" has no unit\n')
    assert f'\n{policy_file}:2:9: loader: "nobody" is not one of kdumpd, kdump-tools\n' in refused["MESSAGE"]
    assert f"{policy_file} is not a policy that kdumpd understands" in explained(refused)


def test_every_job_leaves_metrics_for_prometheus(machine: FakeMachine, policy_file: Path) -> None:
    exporter = machine.root / "var/lib/prometheus/node-exporter"
    keep_armed(machine.root, policy_file)
    assert "\nkdumpd_armed 0\n" in machine.read("run/kdumpd/kdumpd.prom")
    assert not exporter.exists()

    exporter.mkdir(parents=True)
    machine.reserve()
    keep_armed(machine.root, policy_file)
    assert "\nkdumpd_armed 1\n" in machine.read("run/kdumpd/kdumpd.prom")
    assert machine.read("var/lib/prometheus/node-exporter/kdumpd.prom") == machine.read("run/kdumpd/kdumpd.prom")
    assert (exporter / "kdumpd.prom").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in exporter.iterdir()] == ["kdumpd.prom"]


def test_metrics_that_can_not_be_written_do_not_keep_the_machine_from_being_armed(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    (machine.root / "run/kdumpd/kdumpd.prom").mkdir(parents=True)

    assert keep_armed(machine.root, policy_file) == "armed"
    assert "<4>cannot tell monitoring of this machine's state, " in capfd.readouterr().err


def test_a_crash_that_can_not_be_put_on_record_does_not_keep_the_machine_from_being_armed(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    (machine.root / "var/lib/kdumpd/.reported-crashes.json.new").mkdir(parents=True)

    assert keep_armed(machine.root, policy_file) == "armed"
    assert "<3>crashes will be reported again, " in capfd.readouterr().err


def test_a_second_kdumpd_at_work_is_told(
    machine: FakeMachine, policy_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.daemon.job.lock", partial(lock, patience=0.1))
    with lock(machine.root):
        state = keep_armed(machine.root, policy_file)

    assert state == "not armed; another kdumpd has been changing this machine for 0 s"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_through_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"kdumpd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        notify("READY=1", "STATUS=armed")

        assert manager.recv(100) == b"READY=1\nSTATUS=armed"


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize(
    ("limit", "process", "seconds"),
    [("3000000", None, 3.0), ("3000000", "own", 3.0), ("3000000", "1", None), ("", None, None), (None, None, None)],
)
def test_the_watchdog_counts_when_it_is_meant_for_this_process(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, process: str | None, seconds: float | None
) -> None:
    for name, value in {"WATCHDOG_USEC": limit, "WATCHDOG_PID": str(os.getpid()) if process == "own" else process}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)

    assert watchdog_seconds() == seconds
