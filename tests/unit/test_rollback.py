# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back to the state before the last apply."""

from pathlib import Path

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.apply.look import policy_in_force
from kdumpd.cli.main import main
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.daemon.job import keep_armed
from kdumpd.errors import ApplyError
from kdumpd.plan.make import make_plan
from kdumpd.plan.rollback import make_rollback
from kdumpd.policy.model import PanicPolicy, Policy
from tests.unit.fakes import GRUB_CFG, POLICY, FakeMachine, Stubs

NEW = Policy(crashkernel=parse_crashkernel("256M"), panic=PanicPolicy(reboot_after=7))


def apply(machine: FakeMachine, policy: Policy, *, overwrite: bool = False) -> None:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None, overwrite=overwrite)


def roll_back(machine: FakeMachine) -> list[str]:
    told: list[str] = []
    facts = machine.facts()
    apply_plan(make_rollback(facts), facts, machine.root, told.append)
    return told


def tree(machine: FakeMachine) -> dict[str, bytes]:
    """Everything that counts: files, boot loader, values of the running kernel. The way back itself is no part of it."""
    kept = ("var/lib/kdumpd/previous/", "var/lib/kdumpd/images/", "run/")
    files = {str(path.relative_to(machine.root)): path for path in machine.root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(kept)}


def without_hold(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if name != "var/lib/kdumpd/policy-rolled-back.yaml"}


def test_a_rollback_brings_back_files_boot_loader_and_running_kernel(machine: FakeMachine) -> None:
    apply(machine, POLICY)
    before = tree(machine)
    apply(machine, NEW)
    assert machine.read("proc/sys/kernel/panic") == "7\n"
    assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg")

    told = roll_back(machine)

    assert without_hold(tree(machine)) == before
    assert "run update-grub: its files are as before the last apply" in told
    assert "set kernel.panic = 30 (now 7)" in told


def test_a_rollback_of_the_first_apply_leaves_nothing_of_kdumpd_in_etc(machine: FakeMachine) -> None:
    before = {name: content for name, content in tree(machine).items() if name.startswith(("etc/", "proc/"))}
    apply(machine, POLICY)
    roll_back(machine)

    assert {name: content for name, content in tree(machine).items() if name.startswith(("etc/", "proc/"))} == before
    assert "crashkernel" not in machine.read("boot/grub/grub.cfg")


def test_a_second_rollback_goes_forward_again(machine: FakeMachine) -> None:
    apply(machine, POLICY)
    apply(machine, NEW)
    after = tree(machine)
    roll_back(machine)
    roll_back(machine)

    assert tree(machine) == after


def test_what_a_person_had_before_they_gave_a_file_to_kdumpd_is_theirs_again(machine: FakeMachine) -> None:
    machine.write("etc/default/kdump-tools", "USE_KDUMP=1  # mine\n")
    apply(machine, POLICY, overwrite=True)
    roll_back(machine)

    assert machine.read("etc/default/kdump-tools") == "USE_KDUMP=1  # mine\n"
    with pytest.raises(ApplyError, match="was changed by somebody else"):
        apply(machine, POLICY)


def test_a_file_that_was_edited_since_the_apply_stops_the_rollback(machine: FakeMachine) -> None:
    apply(machine, POLICY)
    apply(machine, NEW)
    machine.write("etc/sysctl.d/60-kdumpd.conf", "kernel.panic = 99\n")

    with pytest.raises(ApplyError, match=r"^/etc/sysctl\.d/60-kdumpd\.conf was changed by somebody else than kdumpd"):
        roll_back(machine)


def test_a_boot_loader_that_fails_leaves_the_rollback_undone(machine: FakeMachine, stubs: Stubs) -> None:
    apply(machine, POLICY)
    apply(machine, NEW)
    after = tree(machine)
    stubs.add("update-grub", "exit 1")

    with pytest.raises(ApplyError, match="the boot loader could not be updated; every file was put back"):
        roll_back(machine)
    assert tree(machine) == after


def test_without_an_apply_there_is_nothing_to_take_back(machine: FakeMachine) -> None:
    with pytest.raises(ApplyError) as caught:
        make_rollback(machine.facts())

    assert str(caught.value) == ("there is no apply to take back\nhint: kdumpd rollback goes back one apply, and only as root")
    assert machine.read("boot/grub/grub.cfg") == GRUB_CFG


@pytest.fixture
def rolled_back(machine: FakeMachine) -> Path:
    """A machine whose second policy was taken back by its administrator; the file still says it."""
    machine.reserve()
    policy_file = machine.root / "etc/kdumpd.yaml"
    policy_file.write_text("crashkernel: 192M\n")
    keep_armed(machine.root, policy_file)
    policy_file.write_text("crashkernel: 256M\npanic: {reboot_after: 7s}\n")
    keep_armed(machine.root, policy_file)
    roll_back(machine)
    return policy_file


def test_the_daemon_does_not_apply_again_what_was_rolled_back(machine: FakeMachine, rolled_back: Path) -> None:
    assert policy_in_force(rolled_back, machine.root).policy == POLICY
    before = tree(machine)
    state = keep_armed(machine.root, rolled_back)

    assert state == "armed"
    assert tree(machine) == before


def test_a_policy_that_changed_since_the_rollback_is_applied(machine: FakeMachine, rolled_back: Path) -> None:
    rolled_back.write_text("crashkernel: 256M\n")
    keep_armed(machine.root, rolled_back)

    assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg")
    assert not (machine.root / "var/lib/kdumpd/policy-rolled-back.yaml").exists()


def test_status_says_that_the_policy_was_rolled_back(
    machine: FakeMachine, rolled_back: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.status.ROOT", machine.root)

    assert main(["status", "--policy", str(rolled_back)]) == 0
    assert (
        f"problem: the policy in {rolled_back} was rolled back, the policy before it is in force\n"
        "    way out: change it; or take it again: kdumpd apply\n"
    ) in capsys.readouterr().out


def test_an_explicit_apply_takes_the_policy_again(machine: FakeMachine, rolled_back: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.cli.apply.ROOT", machine.root)

    assert main(["apply", "--yes", "--policy", str(rolled_back)]) == 0
    assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg")
    assert policy_in_force(rolled_back, machine.root).rolled_back is False


def test_the_command_tells_what_it_does_and_what_stays(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.rollback.ROOT", machine.root)
    apply(machine, POLICY)
    apply(machine, NEW)
    machine.write("etc/kdumpd.yaml", "crashkernel: 256M\npanic: {reboot_after: 7s}\n")

    assert main(["rollback", "--yes", "--policy", str(machine.root / "etc/kdumpd.yaml")]) == 0
    out = capsys.readouterr().out
    assert "change /etc/default/grub.d/kdumpd.cfg\n" in out
    assert out.endswith(
        "note: the kernel's command line is as before from the next reboot on\n"
        "note: /etc/kdumpd.yaml stays as it is; kdumpd applies it again when you change it, or by: kdumpd apply\n"
    )


def test_a_boot_loader_that_is_only_brought_up_to_date_leaves_the_way_back(machine: FakeMachine) -> None:
    apply(machine, POLICY)
    apply(machine, NEW)
    machine.write("boot/grub/grub.cfg", GRUB_CFG)
    apply(machine, NEW)
    assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg")

    roll_back(machine)
    assert "crashkernel=192M" in machine.read("boot/grub/grub.cfg")


def test_arming_after_a_rollback_does_not_bring_the_policy_back(
    machine: FakeMachine, rolled_back: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled_back.write_text("crashkernel: 192M\ndump_kernel: {append: of-the-new-policy}\n")
    keep_armed(machine.root, rolled_back)
    roll_back(machine)
    monkeypatch.setattr("kdumpd.cli.arm.ROOT", machine.root)

    assert main(["arm", "--policy", str(rolled_back)]) == 0
    assert "of-the-new-policy" not in stubs.calls[-1]
