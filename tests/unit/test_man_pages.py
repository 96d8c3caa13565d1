# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages as man(1) shows them. What they say is held by the tests of each of them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.pages import DOCS

NAMES = ["kdumpd-capture.8", "kdumpd.8", "kdumpd.yaml.5", "org.kdumpd1.5"]
# A page of ours, as another one refers to it, by what scdoc makes of *name*(8).
REFERENCE = re.compile(r"\\fB((?:org\.)?kdumpd[\w.-]*)\\fR\((\d)\)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    subprocess.run([DOCS / "build-pages", folder], check=True)
    return folder


def test_every_page_is_built(built: Path) -> None:
    assert sorted(path.name for path in built.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_man_has_nothing_to_complain_of(built: Path, name: str) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    shown = subprocess.run(["man", "--warnings", "-l", built / name], capture_output=True, text=True, check=True, env=environment)

    assert shown.stderr == ""
    assert shown.stdout.splitlines()[2].startswith("NAME")
    # The hyphen of a word that was cut: nobody can copy such a path.
    assert "\N{HYPHEN}" not in shown.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_page_refers_to_pages_that_there_are(built: Path, name: str) -> None:
    found = {f"{page}.{section}" for page, section in REFERENCE.findall((built / name).read_text().replace("\\&", ""))}

    assert found
    assert found <= set(NAMES)
