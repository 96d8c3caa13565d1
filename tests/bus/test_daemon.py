# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of the daemon: getting ready, reloading, stopping, losing the bus, and what it costs."""

import os
import signal
import sys
import time

import pytest
from gi.repository import GLib

from tests.bus.conftest import NAME, NOBODY, Client, PrivateBus, RunningDaemon, Start, error_of
from tests.unit.fakes import FakeMachine, Stubs

IMPATIENT = "from kdumpd.daemon import call; call.ANSWER_PATIENCE = 1.0\n"
# As on a disk that does not answer any more.
HANGING = """
import time
from kdumpd.daemon import told
answering = told.state_under
def state_under(policy, root, policy_file):
    while (root / "hangs").exists():
        time.sleep(0.1)
    return answering(policy, root, policy_file)
told.state_under = state_under
"""


def slow_kexec(machine: FakeMachine, stubs: Stubs, seconds: float) -> None:
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("kexec", f'sleep {seconds}; case "$*" in *-u*) echo 0 > {loaded};; *) echo 1 > {loaded};; esac')


def test_it_is_ready_when_the_machine_is_armed_and_the_name_is_owned(bus: PrivateBus, start: Start, reserved: FakeMachine) -> None:
    daemon = start()
    assert daemon.wait_for("STATUS=") == "STATUS=starting: bringing this machine to the policy"
    daemon.wait_for("READY=1")

    assert reserved.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert Client(bus).get("State") == "ready"


def test_without_a_bus_it_arms_and_gets_ready(start: Start, reserved: FakeMachine, tmp_path: object) -> None:
    daemon = start(DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={tmp_path}/nothing")
    daemon.wait_for("READY=1")

    assert reserved.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert daemon.journal.count("<4>nobody can reach kdumpd on D-Bus, trying on: ") == 1


def test_a_bus_that_is_restarted_gets_its_service_back(start: Start, reserved: FakeMachine, bus: PrivateBus) -> None:
    daemon = start()
    daemon.wait_for("READY=1")
    bus.kill()
    time.sleep(0.5)
    assert daemon.process.poll() is None
    bus.start()

    client = wait_for_service(bus)
    assert client.get("Armed") is True
    assert client.job("Disarm")[0]
    assert "<4>the D-Bus system bus went away\n" in daemon.journal


def test_while_another_has_the_name_the_machine_is_armed_all_the_same(start: Start, reserved: FakeMachine, bus: PrivateBus) -> None:
    first = start()
    first.wait_for("READY=1")
    second = start()
    second.wait_for("READY=1")
    assert "name already exists on the bus" in second.journal

    first.process.terminate()
    first.process.wait(10)
    assert wait_for_service(bus).get("Armed") is True


def test_only_root_may_be_kdumpd(bus: PrivateBus) -> None:
    command = f"{' '.join(NOBODY)} gdbus call --address {bus.address} --dest org.freedesktop.DBus"
    done = os.popen(f"{command} --object-path /org/freedesktop/DBus --method org.freedesktop.DBus.RequestName {NAME} 0 2>&1").read()

    assert "org.freedesktop.DBus.Error.AccessDenied" in done


def test_a_reload_applies_the_policy_and_says_when_it_is_done(daemon: RunningDaemon, reserved: FakeMachine) -> None:
    reserved.write("etc/kdumpd.yaml", "crashkernel: 256M\n")
    daemon.process.send_signal(signal.SIGHUP)

    assert daemon.wait_for("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert daemon.wait_for("STATUS=") == "STATUS=reloading the policy"
    daemon.wait_for("READY=1")
    assert "crashkernel=256M" in reserved.read("boot/grub/grub.cfg")


def test_what_a_reload_has_to_say_stays_the_status(daemon: RunningDaemon, bus: PrivateBus, reserved: FakeMachine) -> None:
    client = Client(bus)
    assert client.get("State") == "ready"
    reserved.write("etc/kdumpd.yaml", "nonsense: 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.wait_for("STATUS=armed").startswith("STATUS=armed with the last good dump kernel; ")
    client.wait_for("PropertiesChanged")
    assert client.get("State") == "with-problems"
    daemon.process.terminate()

    assert daemon.wait_for("STATUS=") == "STOPPING=1\nSTATUS=stopping; the dump kernel stays loaded"


def test_stopping_leaves_the_machine_armed(daemon: RunningDaemon, reserved: FakeMachine) -> None:
    daemon.process.terminate()

    assert daemon.process.wait(10) == 0
    assert reserved.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_a_kexec_that_runs_is_not_cut_off_by_a_stop(start: Start, bus: PrivateBus, reserved: FakeMachine, stubs: Stubs) -> None:
    slow_kexec(reserved, stubs, 1.5)
    daemon = start()
    while not any(call.startswith("kexec") for call in stubs.calls):
        time.sleep(0.05)
    daemon.process.terminate()

    assert daemon.process.wait(10) == 0
    assert reserved.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert len([call for call in stubs.calls if call.startswith("kexec")]) == 1


def test_while_it_stops_a_caller_is_told(bus: PrivateBus, daemon: RunningDaemon, reserved: FakeMachine, stubs: Stubs) -> None:
    slow_kexec(reserved, stubs, 2)
    client = Client(bus)
    number = client.call("Disarm")
    time.sleep(0.3)
    daemon.process.terminate()
    daemon.wait_for("STOPPING=1")
    with pytest.raises(GLib.Error) as failure:
        client.call("Arm")

    name, text = error_of(failure)
    assert name == "org.kdumpd1.Error.Busy"
    assert text.startswith("kdumpd is stopping")
    # Its last words.
    assert client.wait_for("JobDone")[:3] == (number, "Disarm", True)


def test_a_long_job_holds_up_no_answer_and_others_wait_for_their_turn(
    bus: PrivateBus, daemon: RunningDaemon, reserved: FakeMachine, stubs: Stubs
) -> None:
    slow_kexec(reserved, stubs, 1.5)
    client = Client(bus)
    first = client.call("Rebuild")
    began = time.monotonic()
    assert client.get("Problems") == []
    assert client.call("ListCrashes") == []
    assert time.monotonic() - began < 1

    # Asked for twice, before it has begun: done once.
    disarm = client.call("Disarm")
    assert client.call("Disarm") == disarm
    arm = client.call("Arm")
    assert client.call("Disarm") > arm > disarm > first
    client.call("Arm")
    with pytest.raises(GLib.Error) as failure:
        client.call("Disarm")
    assert error_of(failure)[0] == "org.kdumpd1.Error.Busy"
    assert client.wait_for("JobDone")[:3] == (first, "Rebuild", True)
    assert client.wait_for("JobDone")[:3] == (disarm, "Disarm", True)


def test_a_machine_that_can_not_be_read_is_an_error_not_a_silence(start: Start, bus: PrivateBus, reserved: FakeMachine) -> None:
    start(IMPATIENT + HANGING).wait_for("READY=1")
    client = Client(bus)
    time.sleep(1.1)
    reserved.write("hangs", "")
    with pytest.raises(GLib.Error) as failure:
        client.get("State")

    assert error_of(failure) == ("org.kdumpd1.Error.Failed", "there was no answer within 1 s\nhint: journalctl -u kdumpd")


def test_systemd_hears_from_it_twice_in_every_watchdog_interval(start: Start, reserved: FakeMachine, bus: PrivateBus) -> None:
    daemon = start(WATCHDOG_USEC="400000")
    daemon.wait_for("READY=1")
    began = time.monotonic()
    for _ in range(3):
        daemon.wait_for("WATCHDOG=1")

    assert 0.3 < time.monotonic() - began < 1.5


def test_at_rest_nothing_wakes_it_up(daemon: RunningDaemon, bus: PrivateBus) -> None:
    Client(bus).get("State")
    time.sleep(1)
    before = daemon.switches()
    time.sleep(4)

    # GLib connects in a thread that ends by itself some time later.
    assert {thread: count - before[thread] for thread, count in daemon.switches().items() if count != before[thread]} == {}


def test_calls_leave_nothing_behind(daemon: RunningDaemon, bus: PrivateBus) -> None:
    client = Client(bus)
    for _ in range(1000):
        client.get("State")
    before = daemon.rss_kib
    for _ in range(3000):
        client.get("State")

    # pydbus itself leaves 2.1 kB a call, which would be 6.3 MB.
    assert daemon.rss_kib - before < 1500


# Measured, and not kdumpd's to leave out: PyGObject 3.50 (Debian 13) and later imports asyncio (gi/_ossighelper.py), 8 MB. With
# Python 3.14 the same modules take 5 MB more than with 3.13.
LIMIT_MB = 40 if sys.version_info < (3, 12) else 45 if sys.version_info < (3, 14) else 50


def test_at_rest_it_takes_no_more_memory_than_its_limit(daemon: RunningDaemon) -> None:
    assert daemon.rss_kib < LIMIT_MB << 10


def wait_for_service(bus: PrivateBus) -> Client:
    client = Client(bus)
    end = time.monotonic() + 20
    while True:
        try:
            client.get("State")
        except GLib.Error:
            assert time.monotonic() < end
            time.sleep(0.1)
        else:
            return client
