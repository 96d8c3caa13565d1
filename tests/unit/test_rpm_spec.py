# SPDX-License-Identifier: LGPL-2.1-or-later
"""packaging/rpm/kdumpd.spec beside what it packs."""

import re
from pathlib import Path

from kdumpd import __version__

TOP = Path(__file__).parents[2]
SPEC = (TOP / "packaging/rpm/kdumpd.spec").read_text()


def test_the_spec_and_its_changelog_have_the_version_of_kdumpd() -> None:
    assert re.findall(r"^Version: *(\S+)$", SPEC, re.MULTILINE) == [__version__]
    assert re.search(r"^%changelog\n\* .* - (\S+)-\d+$", SPEC, re.MULTILINE)[1] == __version__  # type: ignore[index]


def test_the_pydbus_that_is_declared_is_the_one_that_is_fetched() -> None:
    (declared,) = re.findall(r"^%global pydbus_version (\S+)$", SPEC, re.MULTILINE)

    assert f"PYDBUS_VERSION := {declared}\n" in (TOP / "Makefile").read_text()
