# SPDX-License-Identifier: LGPL-2.1-or-later
import dataclasses
import os

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.host.facts import BootLoader, Facts
from kdumpd.plan.make import make_plan
from kdumpd.plan.readiness import Trouble, judge
from kdumpd.policy.model import Policy
from kdumpd.units import MIB
from tests.unit.fakes import GRUB_CFG, POLICY, FakeMachine


def armed(machine: FakeMachine) -> Facts:
    machine.reserve()
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)
    return machine.facts()


def hidden(facts: Facts) -> Facts:
    """As somebody sees it who may not read grub.cfg."""
    return dataclasses.replace(facts, boot=dataclasses.replace(facts.boot, entries=None))


def troubles(facts: Facts, policy: Policy | None = None) -> list[Trouble]:
    return list(judge(policy or POLICY, facts).troubles)


def test_an_armed_machine_has_no_troubles(machine: FakeMachine) -> None:
    readiness = judge(POLICY, armed(machine))

    assert readiness.armed
    assert readiness.troubles == ()


def test_before_the_first_apply_the_way_out_is_apply_and_reboot(machine: FakeMachine) -> None:
    assert troubles(machine.facts())[0] == Trouble(fact="the command line has no crashkernel=", way_out="kdumpd apply, then reboot")


def test_after_the_apply_the_way_out_is_the_reboot(machine: FakeMachine) -> None:
    machine.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", "quiet crashkernel=192M"))

    assert troubles(machine.facts())[0].way_out == "reboot: the boot loader has it already"


def test_another_crashkernel_on_the_command_line_is_named(machine: FakeMachine) -> None:
    facts = hidden(armed(machine))

    assert troubles(facts, Policy(crashkernel=parse_crashkernel("256M"))) == [
        Trouble(
            fact="the command line has crashkernel=192M, not crashkernel=256M",
            way_out="kdumpd apply, then reboot (whether that was done, only root can see)",
        )
    ]


def test_a_reservation_that_the_kernel_refused_is_told_from_one_that_was_never_asked_for(machine: FakeMachine) -> None:
    machine.reserve(size=0)

    assert troubles(machine.facts())[0].fact == "the command line has crashkernel=192M, but the kernel could not reserve it"


def test_a_smaller_reservation_is_named(machine: FakeMachine) -> None:
    machine.reserve(size=128 * MIB)

    assert troubles(machine.facts())[0].fact == "the kernel reserved 128M, not the 192M that were asked for"


def test_reserved_but_not_loaded_is_not_armed(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    readiness = judge(POLICY, machine.facts())

    assert not readiness.armed
    assert readiness.troubles == (Trouble(fact="memory is reserved, but no dump kernel is loaded", way_out="kdumpd arm"),)


def test_a_dump_kernel_of_somebody_else_is_named(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")

    assert [trouble.fact for trouble in troubles(machine.facts())] == ["the dump kernel was loaded by another program"]


def test_a_kernel_whose_package_was_removed_is_named(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), kernel_image=None)

    assert [trouble.fact for trouble in troubles(facts)] == [
        "the image of the running kernel 6.1.0-56-cloud-amd64 is neither in /boot nor in /lib/modules"
    ]


def test_programs_are_found_by_a_user_without_sbin_in_path(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.run.SYSTEM_PATH", os.environ["PATH"])
    monkeypatch.setenv("PATH", "/nowhere")

    assert machine.facts().missing_tools == ()
    assert machine.facts().boot.loader is BootLoader.GRUB


def test_a_missing_program_is_named(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), missing_tools=("makedumpfile",))

    assert troubles(facts) == [
        Trouble(fact='the program "makedumpfile" is not installed', way_out="install the package that has makedumpfile")
    ]


def test_a_store_that_the_dump_kernel_would_not_mount_is_named(machine: FakeMachine) -> None:
    facts = armed(machine)
    elsewhere = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], mount_point="/var"),))

    assert [trouble.fact for trouble in troubles(elsewhere)] == [
        'the store "/var/crash" is on the file system that is mounted at /var'
    ]


def test_of_several_crashkernel_parameters_the_last_counts(machine: FakeMachine) -> None:
    machine.reserve(parameter="crashkernel=384M-:128M crashkernel=192M")

    assert "crashkernel" not in " ".join(trouble.fact for trouble in troubles(machine.facts()))


def test_a_full_store_is_named(machine: FakeMachine) -> None:
    facts = armed(machine)
    full = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], free=3 * MIB),))

    assert [trouble.fact for trouble in troubles(full)] == ["/var/crash has only 3M free, a log may need 32M"]


def test_new_sysfs_paths_are_read_as_the_old_ones(machine: FakeMachine) -> None:
    for name in ("crash_size", "crash_loaded"):
        (machine.root / f"sys/kernel/kexec_{name}").unlink()
    machine.write("sys/kernel/kexec/crash_size", "4096\n")
    machine.write("sys/kernel/kexec/crash_loaded", "1\n")

    assert (machine.facts().kexec.reserved, machine.facts().kexec.loaded) == (4096, True)


def test_a_kernel_without_kexec_is_named(machine: FakeMachine) -> None:
    for name in ("crash_size", "crash_loaded"):
        (machine.root / f"sys/kernel/kexec_{name}").unlink()
    readiness = judge(POLICY, machine.facts())

    assert readiness.armed is None
    assert readiness.troubles[0].fact == "this kernel does not tell of a crash reservation"
