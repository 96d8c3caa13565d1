# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from kdumpd.daemon.job import keep_armed
from kdumpd.daemon.notify import notify
from kdumpd.files import lock
from tests.unit.fakes import FakeMachine, Stubs

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
        f"<5>the log is safe: {folder}/dmesg.txt\n"
    ) in capfd.readouterr().err

    keep_armed(machine.root, policy_file)
    assert "crashed" not in capfd.readouterr().err
    assert json.loads(machine.read("var/lib/kdumpd/reported-crashes.json")) == [str(folder)]


def test_a_crash_that_can_not_be_put_on_record_does_not_keep_the_machine_from_being_armed(
    machine: FakeMachine, policy_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", LOG)
    (machine.root / "var/lib/kdumpd/reported-crashes.json").mkdir(parents=True)

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


def test_the_daemon_gets_ready_and_stops_when_told(tmp_path: Path) -> None:
    """The real loop in a process of its own, with a policy that is refused before anything is changed."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("nonsense: 1\n")
    script = (
        "import sys; from pathlib import Path; from kdumpd.daemon import main\n"
        "main.keep_armed = lambda root, policy: f'looked at {policy.name}'\n"
        "main.Daemon(Path(sys.argv[1])).run()"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        with subprocess.Popen(
            [sys.executable, "-c", script, str(policy)], env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        ) as daemon:
            assert manager.recv(200).startswith(b"STATUS=starting")
            assert manager.recv(200) == b"READY=1\nSTATUS=looked at policy.yaml"
            daemon.send_signal(signal.SIGHUP)
            assert manager.recv(200) == b"RELOADING=1"
            assert manager.recv(200) == b"STATUS=reloading the policy"
            assert manager.recv(200) == b"READY=1\nSTATUS=looked at policy.yaml"
            daemon.terminate()
            assert manager.recv(200).startswith(b"STOPPING=1")
            assert daemon.wait(30) == 0
