# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures for tests without a virtual machine."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdumpd.capture import console
from kdumpd.capture.settings import Settings
from kdumpd.daemon import journal
from tests.unit.captures import MAKEDUMPFILE
from tests.unit.fakes import FakeMachine, Journald, Stubs


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    stubs = Stubs(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return stubs


@pytest.fixture
def machine(tmp_path: Path, stubs: Stubs) -> FakeMachine:
    """A fake machine with the tools that kdumpd needs; its kexec succeeds."""
    machine = FakeMachine(tmp_path / "root")
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("update-grub", machine.update_grub())
    stubs.add("makedumpfile")
    # At once: nobody ever reads half of what sysfs says.
    stubs.add("kexec", f'case "$*" in *-u*) echo 0;; *) echo 1;; esac > {loaded}.new && mv {loaded}.new {loaded}')
    machine.add_generator(stubs)
    return machine


@pytest.fixture
def dump_kernel(machine: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMachine:
    """A machine that has crashed, seen from its dump kernel."""
    stubs.add("makedumpfile", MAKEDUMPFILE)
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    machine.write("proc/vmcore", "")
    machine.write("var/lib/kdumpd/capture.json", Settings().to_json())
    return machine


@pytest.fixture(autouse=True)
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the capture told the console, which in a test is not the one of this machine."""
    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    monkeypatch.setattr(console, "KMSG", str(kmsg))
    monkeypatch.setattr(console, "_told", [])
    return kmsg.read_text


@pytest.fixture(autouse=True)
def no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of this machine must not hear of crashes that never were."""
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))


@pytest.fixture
def journald(no_journal: None) -> Iterator[Journald]:
    """Without it there is no journal, and events go to standard error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(journal.SOCKET)
        yield Journald(listener)
