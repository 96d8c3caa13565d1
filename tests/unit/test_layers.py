# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arrows of the design: data flows one way."""

import ast
import re
from pathlib import Path

import pytest

from kdumpd import __version__

TOP = Path(__file__).parents[2]
GROUND = {"crashkernel", "decode", "errors", "files", "parameters", "run", "terminal", "transaction", "units"}
# What each folder may import of kdumpd, beside itself. capture/ is the leaf: the formats and the durable writer that
# both kernels share live there, because it must run alone.
MAY_IMPORT = {
    "capture": set[str](),
    "ground": {"capture"},
    "policy": {"ground", "capture"},
    "host": {"ground", "capture"},
    "plan": {"ground", "capture", "policy", "host"},
    "image": {"ground", "capture", "host", "plan"},
    "crashes": {"ground", "capture", "host", "plan"},
    "apply": {"ground", "capture", "policy", "host", "plan", "image"},
    "state": {"ground", "capture", "policy", "host", "plan", "image", "crashes", "apply"},
    "daemon": {"ground", "capture", "policy", "host", "plan", "image", "crashes", "apply", "state"},
    "cli": {"ground", "capture", "policy", "host", "plan", "image", "crashes", "apply", "state", "daemon"},
}
MODULES = sorted(path for path in (TOP / "kdumpd").rglob("*.py") if path.parent.name != "kdumpd")


def room(name: str) -> str:
    return "ground" if name in GROUND else name


def imported_rooms(module: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {room(name.split(".")[1]) for name in names if name.startswith("kdumpd.") and "__version__" not in name}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_folder_imports_from_above(module: Path) -> None:
    own = module.relative_to(TOP / "kdumpd").parts[0]

    assert imported_rooms(module) - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("name", sorted(GROUND))
def test_the_ground_floor_imports_only_itself_and_the_leaf(name: str) -> None:
    assert imported_rooms(TOP / f"kdumpd/{name}.py") <= {"ground"} | MAY_IMPORT["ground"]


@pytest.mark.parametrize("module", [path for path in MODULES if path.parent.name in ("policy", "plan")], ids=str)
def test_policy_and_plan_do_no_io(module: Path) -> None:
    text = module.read_text()

    assert not re.search(r"\bopen\(|read_text|read_bytes|write_text|os\.environ|subprocess|import os\b", text)


def test_no_module_is_too_long_to_read() -> None:
    assert {path.name for path in (TOP / "kdumpd").rglob("*.py") if len(path.read_text().splitlines()) > 400} == set()


def test_the_package_has_the_version_of_the_program() -> None:
    assert (TOP / "packaging/deb/changelog").read_text().startswith(f"kdumpd ({__version__}) ")
