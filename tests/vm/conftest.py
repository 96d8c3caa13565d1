# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures for tests in the virtual machine."""

import os
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.vm import kernel_module
from tests.vm.guest import Guest
from tests.vm.machines import ARMED, BOTH, FRESH, Machine, add_kdump_tools, armed_machine, borrowed, fresh_machine
from tests.vm.roots import RootMachine, armed_root_machine
from tests.vm.systems import BOOKWORM, DEBIANS, MATRIX, System

DEB = Path(__file__).resolve().parents[2] / "build/kdumpd.deb"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What `make test` tries in the virtual machine, it tries on every Debian that kdumpd is for."""
    if "system" in metafunc.fixturenames:
        metafunc.parametrize("system", _systems_for(metafunc.definition), indirect=True, ids=str, scope="session")


def _systems_for(test: pytest.Item) -> Sequence[object]:
    if test.get_closest_marker("matrix"):
        return MATRIX
    if core := test.get_closest_marker("core"):
        # Two processes run the tests, and each makes the machines of one Debian.
        return [pytest.param(system, marks=pytest.mark.xdist_group(system.name)) for system in core.args or DEBIANS]
    return (BOOKWORM,)


@pytest.hookimpl(tryfirst=True)  # type: ignore[misc]  # pluggy 1.0 (Debian 12) has no types
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a test in the virtual machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("vm")


@pytest.fixture(scope="session")
def deb() -> Path:
    if not DEB.exists():
        pytest.fail(f"{DEB} is missing: run `make deb`, or run the tests by `make test`")
    return DEB


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> System:
    """The system that the guest runs."""
    value: System = request.param
    return value


@pytest.fixture(scope="session")
def machine(deb: Path, system: System) -> Iterator[Machine]:
    """An armed machine; each of the processes that run tests beside each other has one for itself."""
    armed = armed_machine(deb, system)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield armed
        return
    with borrowed(armed) as copy:
        yield copy


@pytest.fixture
def guest(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A running server, just booted and armed; every test gets it in the same state."""
    yield from _restored(machine, ARMED, request)


@pytest.fixture
def fresh_guest(system: System, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A running server, just booted, that has never seen kdumpd."""
    with borrowed(fresh_machine(system)) as machine:
        yield from _restored(machine, FRESH, request)


@pytest.fixture
def guest_with_kdump_tools(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """The armed server, after Debian's kdump-tools was installed too."""
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


@pytest.fixture
def crash_module(system: System) -> bytes:
    """A kernel module that oopses while it is loaded, built for the guest's kernel."""
    return kernel_module.crash_module(system)


@pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]  # pluggy 1.0 (Debian 12) has no types
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Keeps what a failure left for a look, and shows the end of the guest's console below it."""
    outcome = yield
    report = outcome.get_result()
    funcargs = getattr(item, "funcargs", {})
    guest = next((value for value in funcargs.values() if isinstance(value, Guest)), None)
    if report.failed and guest:
        report.sections.append(("console of the guest", guest.console_tail()))
        report.sections.append(("kept for a look", "\n".join(str(path) for path in guest.keep())))
