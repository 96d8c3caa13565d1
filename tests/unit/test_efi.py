# SPDX-License-Identifier: LGPL-2.1-or-later
"""Variables of the firmware: each is asked for once in a boot, by whoever comes first."""

import os
from pathlib import Path

import pytest

from kdumpd.cli.main import main
from kdumpd.host.efi import MAX_SIZE, Variable, read_variable
from tests.unit.fakes import FakeMachine

# What the firmware would say if it were asked again.
AGAIN = b"another answer"


@pytest.fixture
def kept(machine: FakeMachine) -> Path:
    """The value "kept" of a variable that was read once in this boot."""
    machine.set_variable(Variable.LOADER_INFO, b"kept")
    assert read_variable(machine.root, Variable.LOADER_INFO) == b"kept"
    machine.set_variable(Variable.LOADER_INFO, AGAIN)
    return machine.root / "run/kdumpd" / Variable.LOADER_INFO.value


def test_the_first_who_needs_a_variable_keeps_it_for_all(machine: FakeMachine, kept: Path) -> None:
    assert read_variable(machine.root, Variable.LOADER_INFO) == b"kept"
    assert kept.stat().st_mode & 0o777 == 0o644


def test_the_harvest_of_a_boot_keeps_all_variables(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.cli.harvest.ROOT", machine.root)
    asked = [machine.set_variable(variable, variable.name.encode()) for variable in Variable]
    assert main(["harvest", "--quiet"]) == 0
    for path in asked:
        path.unlink()

    assert [read_variable(machine.root, variable) for variable in Variable] == [variable.name.encode() for variable in Variable]


def test_a_variable_that_the_firmware_does_not_have_is_none(machine: FakeMachine) -> None:
    assert read_variable(machine.root, Variable.SECURE_BOOT) is None
    assert not (machine.root / "run").exists()


@pytest.mark.parametrize("content", [b"", b"\x06\0\0", b"\x06\0\0\0", bytes(MAX_SIZE + 1)])
def test_after_damage_the_firmware_is_asked_again(machine: FakeMachine, kept: Path, content: bytes) -> None:
    kept.write_bytes(content)

    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN
    assert kept.read_bytes()[4:] == AGAIN


def test_what_somebody_else_has_written_is_not_believed(machine: FakeMachine, kept: Path) -> None:
    os.chown(kept, 1000, 0)

    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_what_others_can_write_is_not_believed(machine: FakeMachine, kept: Path, mode: int) -> None:
    kept.chmod(mode)

    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN


def test_a_link_is_not_followed_and_a_pipe_not_waited_for(machine: FakeMachine, kept: Path) -> None:
    kept.rename(kept.with_name("elsewhere"))
    kept.symlink_to("elsewhere")
    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN
    kept.unlink()
    os.mkfifo(kept)

    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN


def test_who_can_not_keep_the_answer_has_it_nevertheless(machine: FakeMachine) -> None:
    machine.set_variable(Variable.LOADER_INFO, AGAIN)
    machine.write("run/kdumpd", "no folder")

    assert read_variable(machine.root, Variable.LOADER_INFO) == AGAIN
