# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures for tests in the virtual machine."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.image import base_image, cache_folder
from tests.vm.machines import ARMED, BOTH, Machine, add_kdump_tools, armed_machine, copy_of
from tests.vm.roots import RootMachine, armed_root_machine

DEB = Path(__file__).resolve().parents[2] / "build/kdumpd.deb"
MODULE_SOURCE = Path(__file__).with_name("module")


@pytest.fixture(scope="session")
def deb() -> Path:
    if not DEB.exists():
        pytest.fail(f"{DEB} is missing: run `make deb`, or run the tests by `make test`")
    return DEB


@pytest.fixture(scope="session")
def machine(deb: Path) -> Iterator[Machine]:
    """Each of the processes that run tests beside each other has one for itself."""
    armed = armed_machine(deb)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield armed
        return
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="worker-") as folder:
        yield copy_of(armed, Path(folder))


@pytest.fixture
def guest(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A running server, just booted and armed; every test gets it in the same state."""
    yield from _restored(machine, ARMED, request)


@pytest.fixture
def guest_with_kdump_tools(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """The same, after Debian's kdump-tools was installed too."""
    add_kdump_tools(machine)
    yield from _restored(machine, BOTH, request)


@pytest.fixture
def root_guest(deb: Path, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A running server, armed, whose root is laid out as the test's parameter says."""
    yield from _restored(armed_root_machine(deb, request.param), ARMED, request)


def _restored(machine: Machine | RootMachine, snapshot: str, request: pytest.FixtureRequest) -> Iterator[Guest]:
    with machine.guest(re.sub(r"\W+", "-", request.node.name)) as guest:
        guest.restore(snapshot)
        yield guest


@pytest.fixture(scope="session")
def crash_module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A kernel module that oopses while it is loaded, built for the guest's kernel."""
    folder = tmp_path_factory.mktemp("module")
    shutil.copytree(MODULE_SOURCE, folder, dirs_exist_ok=True)
    headers = f"/usr/src/linux-headers-{base_image().kernel_release}"
    subprocess.run(["make", "-C", headers, f"M={folder}", "modules"], check=True, stdout=subprocess.DEVNULL)
    return (folder / "kcrash.ko").read_bytes()


@pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]  # pluggy 1.0 (Debian 12) has no types
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Shows the end of the guest's console below a failure."""
    outcome = yield
    report = outcome.get_result()
    funcargs = getattr(item, "funcargs", {})
    guest = next((value for value in funcargs.values() if isinstance(value, Guest)), None)
    if report.failed and guest:
        report.sections.append(("console of the guest", guest.console_tail()))
