# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/architecture.md names only what there is, and the arrows that test_layers holds."""

import re

import pytest

from tests.guides import DOCS
from tests.unit.test_layers import MAY_IMPORT

TOP = DOCS.parent
PAGE = (DOCS / "architecture.md").read_text()
SPANS = set(re.findall(r"`([^`\n]+)`", PAGE))
PATHS = sorted(span for span in SPANS if re.match(r"(kdumpd|packaging|templates|tests|units|docs)/", span))
FUNCTIONS = sorted(span for span in SPANS if span.endswith("()"))
SOURCE = "".join(path.read_text() for path in (TOP / "kdumpd").rglob("*.py"))
ABOVE_ALL = "all of the above"


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_is_named_is_there(path: str) -> None:
    assert (TOP / path).exists()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_that_is_named_is_there(function: str) -> None:
    assert f"def {function[:-1]}" in SOURCE


def test_the_table_of_folders_has_the_arrows_that_are_held() -> None:
    rows = re.findall(r"^\| `?([a-z ]+?)`? \| .* \| (.+) \|$", PAGE.partition("## Policy")[0], re.MULTILINE)
    told = {("ground" if name == "ground floor" else name): allowed for name, allowed in rows if name != "folder"}
    assert set(told) == set(MAY_IMPORT)

    before: list[str] = []
    for name, allowed in told.items():
        below = set(before) if allowed == ABOVE_ALL else set(re.findall(r"`(\w+)`", allowed))
        assert below | {"ground"} == MAY_IMPORT[name] | {"ground"}
        before.append(name)
