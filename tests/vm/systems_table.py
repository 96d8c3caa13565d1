# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/systems.md: what the main job gave on each system, the last time that it was tried there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.vm.systems import MATRIX, System

TOP = Path(__file__).resolve().parents[2]
ROWS = TOP / "build/systems"
TABLE = TOP / "docs/systems.md"
WORKS = "works"
HEAD = """\
# The systems that kdumpd is tried on

`make matrix` writes this page (`make matrix ARGS=trixie`: one row). On each system the main job is done in a virtual machine with
2 CPUs and 2 GiB, emulated: install the package, plan, apply, reboot, crash, find the log and the memory saved, be told by the next
boot, pass `kdumpd test`, withdraw, purge, and find nothing left. A row that has failed says where.

*Reserved* is what `crashkernel: auto` asks for, *peak* the most memory that the dump kernel used while it saved log and vmcore,
*log* the seconds from its first line until the log was safe.

| system | kernel | systemd | kexec-tools | makedumpfile | Python | initrd, boot loader, firmware | reserved | peak | log | result |
|---|---|---|---|---|---|---|---|---|---|---|
"""
COLUMNS = 11


@dataclass(kw_only=True)
class Row:
    """What is known of the main job on one system; empty where it did not come so far."""

    system: str
    kernel: str = ""
    systemd: str = ""
    kexec_tools: str = ""
    makedumpfile: str = ""
    python: str = ""
    reserved: str = ""
    peak: str = ""
    log: str = ""
    result: str = ""

    def write(self) -> None:
        """Keeps it until the table is written."""
        ROWS.mkdir(parents=True, exist_ok=True)
        (ROWS / f"{self.system}.json").write_text(json.dumps(asdict(self)))


def write_table() -> None:
    """Puts the rows of this tree's runs into the page; systems that were not tried keep the line that they have."""
    lines = existing_lines(TABLE.read_text()) if TABLE.exists() else {}
    for path in ROWS.glob("*.json"):
        row = Row(**json.loads(path.read_text()))
        lines[row.system] = _line(row, next(system for system in MATRIX if system.name == row.system))
    TABLE.write_text(table(lines))


def table(lines: Mapping[str, str]) -> str:
    """The page, its rows in the order of the matrix."""
    return HEAD + "".join(f"{lines.get(system.name) or _not_tried(system)}\n" for system in MATRIX)


def existing_lines(page: str) -> dict[str, str]:
    """System -> its line in a page."""
    names = {system.name for system in MATRIX}
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    return {name: line for name, line in lines.items() if name in names}


def systems_that_work(page: str) -> list[System]:
    """Those whose row says so."""
    lines = existing_lines(page)
    return [system for system in MATRIX if lines.get(system.name, "").endswith(f"| {WORKS} |")]


def _line(row: Row, system: System) -> str:
    versions = (row.kernel, row.systemd, row.kexec_tools, row.makedumpfile, row.python)
    cells = (row.system, *versions, system.parts, row.reserved, row.peak, row.log, row.result)
    return f"| {' | '.join(cells)} |"


def _not_tried(system: System) -> str:
    cells = [system.name, *[""] * (COLUMNS - 2), "not tried yet"]
    cells[6] = system.parts
    return f"| {' | '.join(cells)} |"
