# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make faults`: docs/faults.md, from what the tests of failing captures have found the last time that each of them ran."""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
ROWS = TOP / "build/faults"
TABLE = TOP / "docs/faults.md"
HEAD = """\
# What a capture does when something fails

Written by `make faults` from what tests/vm/test_capture_faults.py found: each row is a real crash of the reference guest (2 CPUs,
2 GiB, emulated, ext4). The seconds are from the panic to the end of the machine, on a shared machine. Where the root itself was not
destroyed, the log of an older crash in the same store was whole afterwards.

| fault | on disk | the machine | s |
|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one fault went."""

    fault: str
    on_disk: list[str]
    ended: str
    seconds: float


def write_row(row: Row) -> None:
    """Keeps it until the table is written."""
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / f"{re.sub(r'[^a-z0-9]+', '-', row.fault)}.json").write_text(json.dumps(asdict(row)))


def table(rows: Iterable[Row]) -> str:
    lines = [f"| {row.fault} | {'; '.join(row.on_disk) or 'nothing'} | {row.ended} | {row.seconds:.0f} |\n" for row in rows]
    return HEAD + "".join(lines)


def main() -> int:
    rows = [Row(**json.loads(path.read_text())) for path in sorted(ROWS.glob("*.json"))]
    if not rows:
        print(f"{ROWS} is empty: run the tests first, make test-all", file=sys.stderr)
        return 1
    TABLE.write_text(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
