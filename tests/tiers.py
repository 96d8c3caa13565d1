# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tiers of the tests: what each runs, how long it may take on two cores, and where its time went.

A run ends with its slowest tests, so that whoever adds one sees what it costs; all of them are in build/durations.json.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter  # pytest 7.2 (Debian 12) does not export it

DURATIONS = Path(__file__).resolve().parents[1] / "build/durations.json"
SLOWEST = 10


@dataclass(frozen=True, kw_only=True)
class Tier:
    """What `make TARGET` runs, as an expression of pytest's markers, and its budget in minutes."""

    expression: str
    minutes: int | None = None


TIERS = {
    "test-fast": Tier(expression="not vm", minutes=3),
    "test": Tier(expression="(not vm or core) and not matrix", minutes=30),
    "test-all": Tier(expression="not matrix"),
    "matrix": Tier(expression="matrix"),
}


class Stopwatch:
    """Adds up what each test took, its fixtures included."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        total = time.monotonic() - self.began
        tests = sorted(self.seconds.items(), key=lambda test: -test[1])
        _write(self.name, total, tests)
        if self.name in TIERS:
            terminalreporter.section(f"{self.name}: {_beside_budget(total, TIERS[self.name])}")
            for test, seconds in tests[:SLOWEST]:
                terminalreporter.line(f"{seconds:7.1f} s  {test}")


def _write(name: str, total: float, tests: Sequence[tuple[str, float]]) -> None:
    DURATIONS.parent.mkdir(exist_ok=True)
    record = {"tier": name, "seconds": round(total, 1), "tests": {test: round(seconds, 2) for test, seconds in tests}}
    DURATIONS.write_text(json.dumps(record, indent=1) + "\n")


def _beside_budget(total: float, tier: Tier) -> str:
    budget = f" of {tier.minutes}" if tier.minutes else ""
    return f"{total / 60:.1f}{budget} minutes"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", choices=sorted(TIERS), help="run the tests of this tier only")


@pytest.hookimpl(tryfirst=True)  # type: ignore[misc]  # pluggy 1.0 (Debian 12) has no types
def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("tier")
    if name and not config.option.markexpr:
        config.option.markexpr = TIERS[name].expression
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch(name or "no tier"), "stopwatch")
