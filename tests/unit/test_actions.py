# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

import pytest

from kdumpd.apply.actions import arm, disarm, follow_hotplug
from kdumpd.apply.apply import Report
from kdumpd.errors import KdumpdError
from tests.unit.fakes import FakeMachine, Stubs


@pytest.fixture
def policy_file(machine: FakeMachine) -> Path:
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    machine.reserve()
    return machine.root / "etc/kdumpd.yaml"


@pytest.fixture
def report() -> Report:
    return lambda text: None


def loads(stubs: Stubs) -> int:
    return len([call for call in stubs.calls if call.startswith("kexec")])


@pytest.mark.parametrize("policy", ["crashkernel: 192M\n", "nonsense: 1\n"])
def test_after_a_hotplug_the_dump_kernel_is_loaded_once_more(
    machine: FakeMachine, policy_file: Path, report: Report, stubs: Stubs, policy: str
) -> None:
    arm(machine.root, policy_file, report)
    # With errors in it, too: what is loaded has to know the memory of now.
    policy_file.write_text(policy)
    assert not follow_hotplug(machine.root, policy_file, report)
    machine.write("sys/devices/system/cpu/online", "0-1\n")

    assert follow_hotplug(machine.root, policy_file, report)
    assert not follow_hotplug(machine.root, policy_file, report)
    assert loads(stubs) == 2


def test_what_a_person_has_disarmed_is_not_armed_by_a_hotplug(
    machine: FakeMachine, policy_file: Path, report: Report, stubs: Stubs
) -> None:
    arm(machine.root, policy_file, report)
    assert disarm(machine.root)
    machine.write("sys/devices/system/cpu/online", "0-1\n")

    assert not follow_hotplug(machine.root, policy_file, report)
    assert machine.read("sys/kernel/kexec_crash_loaded") == "0\n"


@pytest.mark.parametrize("policy", ["nonsense: 1\n", "dump_kernel: {kernel: /boot/nowhere}\n"])
def test_an_arming_that_fails_leaves_the_last_good_dump_kernel_loaded(
    machine: FakeMachine, policy_file: Path, report: Report, policy: str
) -> None:
    arm(machine.root, policy_file, report)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    policy_file.write_text(policy)

    with pytest.raises(KdumpdError):
        arm(machine.root, policy_file, report)
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"
