# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written about the D-Bus interface, against what it is. What it does is shown in tests/bus."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from kdumpd import errors
from kdumpd.daemon.changes import ACTIONS

TOP = Path(__file__).parents[2]


def page() -> str:
    done = subprocess.run([sys.executable, "-B", str(TOP / "docs/interface_page.py")], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_page_explains_every_member_of_the_interface() -> None:
    lines = page().splitlines()
    members = list(ElementTree.parse(TOP / "kdumpd/daemon/org.kdumpd1.xml").getroot()[0])
    assert len(members) > 15

    for member in members:
        names = (f"*{member.get('name')}(", f"*{member.get('name')} (")
        heading = next(index for index, line in enumerate(lines) if line.startswith(names))
        assert len(lines[heading + 1]) > 20


def test_the_page_names_every_error() -> None:
    text = page()
    family = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.KdumpdError)]

    names = {error.dbus_name for error in family}
    assert len(names) == len(family)
    assert all(f"*{name}*\n\t" in text for name in names)


def test_polkit_knows_every_action_that_it_is_asked_for_and_no_other() -> None:
    actions = ElementTree.parse(TOP / "units/org.kdumpd1.policy").getroot().findall("action")

    assert {action.get("id") for action in actions} == set(ACTIONS.values())


def test_every_action_is_a_method() -> None:
    methods = {method.get("name") for method in ElementTree.parse(TOP / "kdumpd/daemon/org.kdumpd1.xml").iter("method")}

    assert methods >= set(ACTIONS)
