# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make matrix`: the main job on every system, or on those that are named; writes docs/systems.md."""

import argparse
import sys

import pytest

from tests.vm.systems import MATRIX, System
from tests.vm.systems_table import TABLE, systems_that_work, write_table

TEST = "tests/vm/test_systems.py::test_the_main_job[{}]"


def main() -> int:
    names = [system.name for system in MATRIX]
    parser = argparse.ArgumentParser(prog="tests.vm.matrix")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"{', '.join(names)}; all when none is named")
    parser.add_argument("--turn", metavar="COMMIT", help="only the one whose turn it is by this hash, of those that work")
    arguments = parser.parse_args()
    if unknown := set(arguments.systems) - set(names):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = [whose_turn(arguments.turn).name] if arguments.turn else arguments.systems or names
    code = pytest.main(["--tier", "matrix", "--numprocesses", str(min(2, len(chosen))), *map(TEST.format, chosen)])
    if not arguments.turn:
        write_table()
    return int(code)


def whose_turn(commit: str) -> System:
    """A system for a commit: every one gets its turn, and a run can be repeated."""
    systems = systems_that_work(TABLE.read_text())
    return systems[int(commit, 16) % len(systems)]


if __name__ == "__main__":
    sys.exit(main())
