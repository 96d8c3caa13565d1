# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/systems.md, and which of its systems a run of CI tries."""

from pathlib import Path

import pytest

from tests.vm import matrix, systems_table
from tests.vm.systems import MATRIX
from tests.vm.systems_table import WORKS, Row, existing_lines, systems_that_work, write_table


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page is written, from rows that only this test has."""
    path = tmp_path / "systems.md"
    monkeypatch.setattr(systems_table, "ROWS", tmp_path / "rows")
    monkeypatch.setattr(systems_table, "TABLE", path)
    monkeypatch.setattr(matrix, "TABLE", path)
    return path


def test_every_system_of_the_matrix_has_a_line_whether_it_was_tried_or_not(page: Path) -> None:
    Row(system="trixie", kernel="6.12.1", result=WORKS).write()
    write_table()

    lines = existing_lines(page.read_text())
    assert list(lines) == [system.name for system in MATRIX]
    assert lines["trixie"].startswith("| trixie | 6.12.1 |")
    assert lines["testing"].endswith("| not tried yet |")
    assert len({line.count("|") for line in lines.values()}) == 1


def test_a_system_that_was_not_tried_again_keeps_its_line(page: Path) -> None:
    Row(system="trixie", kernel="6.12.1", result=WORKS).write()
    write_table()
    Row(system="testing", kernel="7.2.3", result="fails: not armed").write()
    (systems_table.ROWS / "trixie.json").unlink()
    write_table()

    assert "| trixie | 6.12.1 |" in page.read_text()
    assert "| testing | 7.2.3 |" in page.read_text()


def test_every_system_that_works_gets_its_turn_and_no_other(page: Path) -> None:
    for name in ("bookworm", "trixie"):
        Row(system=name, result=WORKS).write()
    Row(system="testing", result="fails: not armed").write()
    write_table()

    assert [system.name for system in systems_that_work(page.read_text())] == ["bookworm", "trixie"]
    assert [matrix.whose_turn(commit).name for commit in ("a0", "a1", "a2")] == ["bookworm", "trixie", "bookworm"]
