# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.kdumpd1 as its clients see it: the real daemon and a real bus, on a fake machine."""

import json
import signal
import subprocess
import time

import pytest
from gi.repository import GLib

from kdumpd.apply import actions
from kdumpd.daemon.publish import look_and_publish
from tests.bus.conftest import (
    NAME,
    TOP,
    Client,
    Polkit,
    PrivateBus,
    RunningDaemon,
    Start,
    as_nobody,
    call_as_nobody,
    crash,
    error_of,
)
from tests.unit.fakes import FakeMachine, Stubs

OOPS = (TOP / "tests/data/dmesg/x86_64-6.1.192-kdump-null.txt").read_text()
PANIC = "[ 1.0] Kernel panic - not syncing: sysrq triggered crash\n"


def test_the_properties_of_an_armed_machine(client: Client, machine: FakeMachine) -> None:
    found = client.call("GetAll", GLib.Variant("(s)", (NAME,)), "org.freedesktop.DBus.Properties")

    assert found == {
        "State": "ready",
        "Armed": True,
        "ReservedBytes": 192 << 20,
        "NeededBytes": 192 << 20,
        "Problems": [],
        "LastCrash": {},
        "LastTest": {},
        "PolicyFile": f"{machine.root}/etc/kdumpd.yaml",
    }


def test_a_property_tells_what_is_true_now_not_what_the_last_job_has_left(client: Client, machine: FakeMachine) -> None:
    assert client.get("Armed") is True
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    time.sleep(1.1)

    assert client.get("State") == "not-armed"
    assert client.get("Problems") == [("memory is reserved, but no dump kernel is loaded", "kdumpd arm")]
    assert client.wait_for("PropertiesChanged") == (
        NAME,
        {"State": "not-armed", "Armed": False, "Problems": [("memory is reserved, but no dump kernel is loaded", "kdumpd arm")]},
        [],
    )


def test_a_policy_that_was_never_good_is_the_problem(client: Client, machine: FakeMachine) -> None:
    machine.write("etc/kdumpd.yaml", "nonsense: 1\n")
    (machine.root / "var/lib/kdumpd/policy-in-force.yaml").unlink()
    time.sleep(1.1)

    assert client.get("State") == "with-problems"
    policy = f"{machine.root}/etc/kdumpd.yaml"
    assert (f"{policy} has 1 problem, and none was ever applied", "see them: kdumpd policy check") in client.get("Problems")


def test_a_wrong_call_is_an_error_at_once(client: Client) -> None:
    wrong = {
        ("Arm", GLib.Variant("(s)", ("x",))): "InvalidArgs",
        ("GetCrash", None): "InvalidArgs",
        ("GetCrash", GLib.Variant("(u)", (1,))): "InvalidArgs",
        ("Nonsense", None): "UnknownMethod",
    }
    for (method, arguments), error in wrong.items():
        with pytest.raises(GLib.Error) as failure:
            client.call(method, arguments, timeout=2000)
        assert error_of(failure)[0] == f"org.freedesktop.DBus.Error.{error}"


def test_no_property_can_be_set(client: Client) -> None:
    arguments = GLib.Variant("(ssv)", (NAME, "PolicyFile", GLib.Variant("s", "/tmp/mine.yaml")))
    with pytest.raises(GLib.Error) as failure:
        client.call("Set", arguments, "org.freedesktop.DBus.Properties", timeout=2000)

    assert error_of(failure)[0] == "org.freedesktop.DBus.Error.InvalidArgs"


def test_disarm_and_arm(client: Client, machine: FakeMachine) -> None:
    assert client.job("Disarm") == (True, "disarmed: a crash now would leave nothing", "")
    assert machine.read("sys/kernel/kexec_crash_loaded") == "0\n"
    assert client.get("State") == "not-armed"
    assert client.job("Disarm") == (True, "nothing was loaded", "")

    assert client.job("Arm") == (True, "armed", "")
    assert client.get("State") == "ready"
    assert client.job("Arm") == (True, "armed already: nothing to do", "")


def test_the_status_that_systemd_shows_follows(client: Client, daemon: RunningDaemon) -> None:
    client.job("Disarm")

    assert daemon.wait_for("not armed") == "STATUS=not armed: memory is reserved, but no dump kernel is loaded"


def test_rebuild_builds_what_is_there_already(client: Client, stubs: Stubs) -> None:
    before = len(stubs.calls)

    assert client.job("Rebuild") == (True, "armed with a new dump image", "")
    programs = [call.split()[0] for call in stubs.calls[before:]]
    assert "mkinitramfs" in programs
    assert programs[-1] == "kexec"


def test_a_test_crashes_no_machine_that_would_save_nothing(client: Client, machine: FakeMachine) -> None:
    machine.write("proc/sysrq-trigger", "")
    client.job("Disarm")
    fact = "this machine was not crashed, nothing would be saved: memory is reserved, but no dump kernel is loaded"

    assert client.job("Test") == (False, fact, "kdumpd arm")
    assert machine.read("proc/sysrq-trigger") == ""


def test_a_test_crashes_an_armed_machine(client: Client, machine: FakeMachine) -> None:
    machine.write("proc/sysrq-trigger", "")

    # A fake one survives it.
    assert client.job("Test")[:2] == (False, "the kernel was told to crash, and did not")
    assert machine.read("proc/sysrq-trigger") == "c"


def test_plan_apply_and_rollback(client: Client, machine: FakeMachine) -> None:
    assert json.loads(client.call("Plan"))["steps"] == []
    machine.write("etc/kdumpd.yaml", "crashkernel: 256M\n")
    steps = json.loads(client.call("Plan"))["steps"]
    assert steps[0]["summary"] == "change /etc/default/grub.d/kdumpd.cfg"
    assert "256M" in steps[0]["details"]

    ok, message, _ = client.job("Apply")
    assert (ok, message) == (True, "this machine is as the policy says\nnote: crashkernel=256M takes effect at the next reboot")
    assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg")

    ok, message, _ = client.job("Rollback")
    assert message.startswith("this machine is as before the last apply\n")
    assert "crashkernel=192M" in machine.read("boot/grub/grub.cfg")


def test_a_job_that_fails_says_why_and_what_to_do(client: Client, machine: FakeMachine, daemon: RunningDaemon) -> None:
    machine.write("sys/kernel/kexec_crash_size", "0\n")

    ok, message, hint = client.job("Arm")
    assert not ok
    assert message == "the command line has crashkernel=192M, but the kernel could not reserve it"
    assert hint == "see why: journalctl -k -b -g crashkernel; then ask for less in the policy"
    assert f"<3>Arm: {message}\n" in daemon.journal


def test_a_broken_policy_is_a_typed_error(client: Client, machine: FakeMachine) -> None:
    machine.write("etc/kdumpd.yaml", "crashkernel: 1\n")
    with pytest.raises(GLib.Error) as failure:
        client.call("Plan")

    name, text = error_of(failure)
    assert name == "org.kdumpd1.Error.Policy"
    assert text.startswith(f'{machine.root}/etc/kdumpd.yaml:1:14: crashkernel: "1" has no unit\n')


def test_check_tells_what_is_wrong_with_the_policy_and_with_the_machine(client: Client, machine: FakeMachine) -> None:
    machine.write("etc/kdumpd.yaml", "crashkernel: 1\n")
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")

    found = json.loads(client.call("Check"))
    assert found["verdict"] == "fail"
    subjects = {finding["subject"] for finding in found["findings"] if finding["verdict"] != "ok"}
    assert {"policy", "armed"} <= subjects


def test_crashes_are_listed_and_root_sees_what_was_saved(client: Client, machine: FakeMachine) -> None:
    assert client.call("ListCrashes") == []
    folder = crash(machine, "2026-11-22T03-04-05Z", PANIC + "[ 2.0] odd \x00 and \ufffd\n")
    described = {
        "id": "2026-11-22T03-04-05Z",
        "time": "2026-11-22T03:04:05Z",
        "verdict": "Kernel panic - not syncing: sysrq triggered crash",
        "folder": str(folder),
    }

    assert client.call("ListCrashes") == [described]
    whole = client.call("GetCrash", GLib.Variant("(s)", ("2026-11-22T03-04-05Z",)))
    assert whole.pop("signature").startswith("sysrq-")
    assert whole == {
        **described,
        "kind": "sysrq",
        "log": f"{folder}/dmesg.txt",
        "dmesg": PANIC + "[ 2.0] odd \ufffd and \ufffd\n",
        "status": "{}",
    }


def test_a_crash_that_is_not_there_is_a_typed_error(client: Client, machine: FakeMachine) -> None:
    crash(machine, "2026-11-22T03-04-05Z", PANIC)
    for name in ("2026-11-22T03-04-06Z", "../../../etc", ""):
        with pytest.raises(GLib.Error) as failure:
            client.call("GetCrash", GLib.Variant("(s)", (name,)))
        error, text = error_of(failure)
        assert (error, text) == (
            "org.kdumpd1.Error.NoSuchCrash",
            f'there is no crash "{name}"\nhint: see them: kdumpd crashes list',
        )


def test_a_new_crash_is_a_signal_with_what_its_log_tells_and_the_last_crash(
    client: Client, machine: FakeMachine, daemon: RunningDaemon
) -> None:
    assert client.get("LastCrash") == {}
    folder = crash(machine, "2026-11-22T03-04-05Z", OOPS)
    daemon.process.send_signal(signal.SIGHUP)

    (found,) = client.wait_for("CrashFound")
    report = json.loads(machine.read("var/crash/2026-11-22T03-04-05Z/report.json"))
    described = {
        "id": "2026-11-22T03-04-05Z",
        "time": "2026-11-22T03:04:05Z",
        "verdict": report["verdict"],
        "folder": str(folder),
    }
    assert found == {
        **described,
        "kind": "null-deref",
        "signature": report["signature"],
        "function": "kc_null",
        "module": "kcrash",
        "release": report["release"],
        "report": f"{folder}/report.json",
    }
    _, changed, _ = client.wait_for("PropertiesChanged")
    assert changed == {"LastCrash": described}


def test_everybody_may_ask(daemon: RunningDaemon, bus: PrivateBus, machine: FakeMachine) -> None:
    crash(machine, "2026-11-22T03-04-05Z", PANIC)
    machine.write("etc/kdumpd.yaml", "crashkernel: 256M\n")

    assert "2026-11-22T03-04-05Z" in call_as_nobody(bus, "ListCrashes").stdout
    assert call_as_nobody(bus, "Check").returncode == 0
    plan = call_as_nobody(bus, "Plan").stdout
    assert "change /etc/default/grub.d/kdumpd.cfg" in plan
    # What is in the files may be for root only.
    assert "@@" not in plan


def test_a_policy_that_not_everybody_may_read_is_quoted_to_nobody(
    daemon: RunningDaemon, bus: PrivateBus, client: Client, machine: FakeMachine, polkit: Polkit
) -> None:
    machine.write("etc/kdumpd.yaml", "crashkernel: hunter2\n")
    (machine.root / "etc/kdumpd.yaml").chmod(0o600)
    refused = call_as_nobody(bus, "Plan")
    assert "org.kdumpd1.Error.NotAuthorized: polkit does not allow org.kdumpd1.apply" in refused.stderr
    (machine.root / "var/lib/kdumpd/policy-in-force.yaml").unlink()
    told = call_as_nobody(bus, "Check")
    assert "org.kdumpd1.Error.Policy" in told.stderr
    ok, *words = client.job("Apply")
    assert not ok
    assert "hunter2" not in f"{refused} {told} {words}"

    polkit.allow("org.kdumpd1.apply")
    assert "hunter2" in call_as_nobody(bus, "Plan").stderr
    with pytest.raises(GLib.Error) as failure:
        client.call("Plan")
    assert "hunter2" in error_of(failure)[1]


def test_what_was_saved_of_a_crash_is_for_root_only(daemon: RunningDaemon, bus: PrivateBus, machine: FakeMachine) -> None:
    crash(machine, "2026-11-22T03-04-05Z", PANIC)
    refused = call_as_nobody(bus, "GetCrash", "2026-11-22T03-04-05Z")

    assert "org.kdumpd1.Error.NotAuthorized: only root may see what was saved of a crash" in refused.stderr
    assert refused.stdout == ""


def test_without_polkit_only_root_may_change_something(
    daemon: RunningDaemon, bus: PrivateBus, machine: FakeMachine, stubs: Stubs
) -> None:
    before = stubs.calls
    for method in ("Apply", "Rollback", "Arm", "Disarm", "Rebuild", "Test"):
        refused = call_as_nobody(bus, method)
        assert "org.kdumpd1.Error.NotAuthorized: only root may do this while polkit does not answer: " in refused.stderr
        assert "hint: do it as root" in refused.stderr

    assert stubs.calls == before
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_polkit_decides_for_everybody_else(daemon: RunningDaemon, bus: PrivateBus, client: Client, polkit: Polkit) -> None:
    refused = call_as_nobody(bus, "Disarm")
    assert "org.kdumpd1.Error.NotAuthorized: polkit does not allow org.kdumpd1.arm" in refused.stderr

    polkit.allow("org.kdumpd1.arm")
    assert call_as_nobody(bus, "Disarm").returncode == 0
    assert client.wait_for("JobDone")[1:3] == ("Disarm", True)
    refused = call_as_nobody(bus, "Apply")
    assert "org.kdumpd1.Error.NotAuthorized: polkit does not allow org.kdumpd1.apply" in refused.stderr


def test_a_polkit_that_waits_for_a_password_holds_nobody_else_up(
    bus: PrivateBus, start: Start, reserved: FakeMachine, polkit: Polkit
) -> None:
    start("from kdumpd.daemon import call; call.ANSWER_PATIENCE = 3.0").wait_for("READY=1")
    client = Client(bus)
    polkit.hang()
    with subprocess.Popen(as_nobody(bus, "Disarm"), stderr=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)
        assert client.get("Armed") is True
        assert waiting.poll() is None
        _, error = waiting.communicate(timeout=10)

    assert "org.kdumpd1.Error." in error
    assert client.get("Armed") is True


def test_who_listens_hears_what_a_command_has_changed(client: Client, machine: FakeMachine) -> None:
    assert client.get("Armed") is True
    actions.disarm(machine.root)
    look_and_publish(machine.root, machine.root / "etc/kdumpd.yaml")

    changed = client.wait_for("PropertiesChanged")[1]
    assert changed["Armed"] is False
    assert changed["State"] == "not-armed"
