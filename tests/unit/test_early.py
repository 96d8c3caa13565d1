# SPDX-License-Identifier: LGPL-2.1-or-later
import subprocess
import sys

import pytest

from kdumpd.cli.main import main
from kdumpd.host import layout
from tests.unit.fakes import FakeMachine, Stubs

RECORD = """\
{"kernel": "/images/vmlinuz", "initrd": "/images/initrd.img", "command_line": "root=/dev/vda1", "boot_id": "boot-0"}
"""


@pytest.fixture(autouse=True)
def fake_root(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.cli.early.ROOT", machine.root)


def test_what_was_loaded_in_an_earlier_boot_is_loaded_in_this_one(
    machine: FakeMachine, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    machine.write(str(layout.LAST_LOADED), RECORD)

    assert main(["early"]) == 0
    assert capsys.readouterr().out == "loaded /images/vmlinuz\n"
    assert stubs.calls == ["kexec -s -p --initrd=/images/initrd.img --command-line=root=/dev/vda1 /images/vmlinuz"]


def test_what_is_loaded_already_is_left_alone(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    machine.write("sys/kernel/kexec_crash_loaded", "1\n")

    assert main(["early"]) == 0
    assert stubs.calls == []


def test_a_boot_without_reserved_memory_is_no_failure(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["early"]) == 0
    assert capsys.readouterr().out == "no memory is reserved for a dump kernel: nothing to load\n"


def test_when_nothing_can_be_loaded_the_boot_says_so(machine: FakeMachine) -> None:
    machine.reserve()

    assert main(["early"]) == 3


def test_it_needs_no_yaml_no_templates_and_no_bus() -> None:
    program = "import sys, kdumpd.cli.main, kdumpd.cli.early; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not {"yaml", "jinja2", "gi", "pydbus", "pyudev", "kdumpd.policy"}.intersection(loaded)
