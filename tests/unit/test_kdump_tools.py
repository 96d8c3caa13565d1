# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's kdump-tools on the same machine: it stands down, or it loads and kdumpd captures."""

import hashlib
import os

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.errors import ApplyError, HostError, NotArmedError
from kdumpd.plan.make import arming_steps, make_plan
from kdumpd.plan.readiness import judge
from kdumpd.plan.steps import LoadByKdumpTools, WriteFile
from kdumpd.policy.model import Loader, Policy, PstorePolicy, RamoopsPolicy
from tests.unit.fakes import COMMAND_LINE, POLICY, FakeMachine, Stubs

LET_IT_LOAD = Policy(crashkernel=POLICY.crashkernel, loader=Loader.KDUMP_TOOLS)
PACKAGED = "# kdump-tools configuration\nUSE_KDUMP=1\n"


@pytest.fixture
def both(machine: FakeMachine, stubs: Stubs) -> FakeMachine:
    """A machine with kdump-tools as its package brought it; kdump-config does what the real one does of interest here."""
    settings, loaded = machine.root / "etc/default/kdump-tools", machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add(
        "kdump-config",
        f'. {settings}; [ "$USE_KDUMP" = 1 ] || exit 1; mkdir -p {machine.root}/var/crash\n'
        f'line="$(cat {machine.root}/proc/cmdline) $KDUMP_CMDLINE_APPEND"\n'
        f'echo "/sbin/kexec -p --command-line=\\"$line\\" /var/lib/kdump/vmlinuz" > {machine.root}/var/crash/kexec_cmd\n'
        f"echo 1 > {loaded}",
    )
    machine.write("etc/default/kdump-tools", PACKAGED)
    digest = hashlib.md5(PACKAGED.encode()).hexdigest()
    machine.write("var/lib/ucf/hashfile", f"{digest}  /etc/default/kdump-tools\n")
    machine.write("proc/stat", "btime 1000\n")
    return machine


def apply(machine: FakeMachine, policy: Policy) -> list[str]:
    facts = machine.facts(policy)
    told: list[str] = []
    apply_plan(make_plan(policy, facts), facts, machine.root, told.append)
    return told


def test_settings_that_are_as_the_package_brought_them_belong_to_nobody(both: FakeMachine) -> None:
    apply(both, POLICY)

    assert "\nUSE_KDUMP=0\n" in both.read("etc/default/kdump-tools")


def test_settings_that_a_person_changed_are_not_overwritten(both: FakeMachine) -> None:
    both.write("etc/default/kdump-tools", f"{PACKAGED}KDUMP_NUM_DUMPS=3\n")

    with pytest.raises(ApplyError, match=r"^/etc/default/kdump-tools was changed by somebody else than kdumpd"):
        apply(both, POLICY)


def test_its_udev_rule_which_unloads_everything_is_replaced_while_kdumpd_loads(both: FakeMachine) -> None:
    apply(both, POLICY)
    rule = both.read("etc/udev/rules.d/50-kdump-tools.rules")
    assert all(line.startswith("#") for line in rule.splitlines())

    apply(both, LET_IT_LOAD)
    assert not (both.root / "etc/udev/rules.d/50-kdump-tools.rules").exists()


def test_without_kdump_tools_there_is_no_rule_to_replace(machine: FakeMachine) -> None:
    apply(machine, POLICY)

    assert not (machine.root / "etc/udev").exists()


def test_kdump_tools_loads_what_boots_into_our_capture(both: FakeMachine, stubs: Stubs) -> None:
    both.reserve()
    told = apply(both, LET_IT_LOAD)

    assert told[-1] == "run kdump-config reload: /etc/default/kdump-tools changes"
    assert [call for call in stubs.calls if call.startswith(("kexec", "mkinitramfs", "kdump-config"))] == ["kdump-config reload"]
    assert " systemd.unit=kdumpd-capture.target " in both.read("var/crash/kexec_cmd")
    assert make_plan(LET_IT_LOAD, both.facts(LET_IT_LOAD)).is_empty
    readiness = judge(LET_IT_LOAD, both.facts(LET_IT_LOAD))
    assert (readiness.armed, readiness.troubles) == (True, ())


def test_what_kdump_tools_loaded_for_its_own_capture_is_loaded_again(both: FakeMachine) -> None:
    both.reserve()
    apply(both, LET_IT_LOAD)
    both.write("var/crash/kexec_cmd", '/sbin/kexec -p --command-line="root=UUID=1 systemd.unit=kdump-tools-dump.service"\n')

    (step,) = make_plan(LET_IT_LOAD, both.facts(LET_IT_LOAD)).steps
    assert step == LoadByKdumpTools(reason="what is loaded does not boot into kdumpd's capture")
    assert [trouble.fact for trouble in judge(LET_IT_LOAD, both.facts(LET_IT_LOAD)).troubles] == [
        "the dump kernel was loaded by another program"
    ]


def test_a_record_of_an_earlier_boot_proves_nothing(both: FakeMachine) -> None:
    both.reserve()
    apply(both, LET_IT_LOAD)
    os.utime(both.root / "var/crash/kexec_cmd", (500, 500))

    assert [type(step) for step in make_plan(LET_IT_LOAD, both.facts(LET_IT_LOAD)).steps] == [LoadByKdumpTools]


def test_kdumpd_takes_over_again_when_the_policy_says_so(both: FakeMachine, stubs: Stubs) -> None:
    both.reserve()
    apply(both, LET_IT_LOAD)
    apply(both, POLICY)

    assert stubs.calls[-1].startswith("kexec -s -p ")
    assert judge(POLICY, both.facts()).troubles == ()


def test_a_kdump_config_that_fails_is_told(both: FakeMachine, stubs: Stubs) -> None:
    both.reserve()
    stubs.add("kdump-config", "echo Creating symlink failed; exit 1")

    with pytest.raises(NotArmedError) as caught:
        apply(both, LET_IT_LOAD)
    assert str(caught.value) == (
        "kdump-tools could not load the dump kernel\n`kdump-config reload` failed with exit code 1\n    Creating symlink failed"
    )


def test_nothing_is_loaded_while_no_memory_is_reserved(both: FakeMachine) -> None:
    plan = make_plan(LET_IT_LOAD, both.facts(LET_IT_LOAD))

    assert all(isinstance(step, WriteFile) or "kdump-config" not in step.summary for step in plan.steps)


def test_loader_kdump_tools_without_kdump_tools_is_refused(machine: FakeMachine) -> None:
    with pytest.raises(HostError) as caught:
        make_plan(LET_IT_LOAD, machine.facts(LET_IT_LOAD))

    assert str(caught.value) == (
        "the policy says loader: kdump-tools, but kdump-config is not installed\nhint: install kdump-tools, or write loader: kdumpd"
    )


def test_a_command_line_that_its_eval_would_break_is_refused(both: FakeMachine) -> None:
    both.write("proc/cmdline", f"{COMMAND_LINE} memmap=2M$0x10000000\n")
    with pytest.raises(HostError) as caught:
        make_plan(LET_IT_LOAD, both.facts(LET_IT_LOAD))

    assert str(caught.value) == (
        "kdump-tools would let a shell read the $ of the kernel's command line\nhint: write loader: kdumpd"
    )


def test_ramoops_with_a_dollar_and_kdump_tools_do_not_go_together(both: FakeMachine) -> None:
    ramoops = PstorePolicy(ramoops=RamoopsPolicy(address=0x10000000))
    policy = Policy(crashkernel=POLICY.crashkernel, loader=Loader.KDUMP_TOOLS, pstore=ramoops)
    both.write("proc/iomem", "00100000-7fffffff : System RAM\n")

    with pytest.raises(HostError, match="kdump-tools would let a shell read the"):
        make_plan(policy, both.facts(policy))


def test_a_rebuild_is_asked_of_kdump_tools_too(both: FakeMachine) -> None:
    both.reserve()
    apply(both, LET_IT_LOAD)
    facts = both.facts(LET_IT_LOAD)
    assert arming_steps(LET_IT_LOAD, facts) == ()

    assert arming_steps(LET_IT_LOAD, facts, rebuild=True) == (LoadByKdumpTools(reason="it was asked for"),)
