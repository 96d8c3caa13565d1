# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/guide.md has an entry for everything that `kdumpd check` and `kdumpd status` can find, and for nothing else.

What they can find is read from the source: a new finding without an entry fails here.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.plan.check_loading import SUBJECT as LOADING
from kdumpd.plan.kernel_options import Role
from kdumpd.plan.readiness import Subject
from tests.guides import ANYTHING, DOCS

TOP = Path(__file__).parents[2]
SOURCES = [TOP / "kdumpd" / name for name in (
    "plan/check.py", "plan/check_loading.py", "plan/kernel_options.py", "plan/kernel_values.py", "plan/readiness.py",
    "plan/stores.py", "state/check.py", "state/state.py",
)]  # fmt: skip
# The call that makes a finding: which of its arguments is the fact; `tell` is warn or fail. `_obstacle` hands it on.
FACT_OF = {"Trouble": 0, "warn": 1, "fail": 1, "tell": 1, "_obstacle": 1}
# The facts of these are made by somebody else: the line says the fact of a trouble that is collected where it is made, or the
# text of an error, which has its entry by its subject.
TOLD_ELSEWHERE = {"fact", "trouble.fact", "problem.args[0]"}
GUIDE = (DOCS / "guide.md").read_text()
ENTRIES = re.findall(r"^\*\*`(.+?)`\*\*", GUIDE, re.MULTILINE)

Function = ast.FunctionDef
FUNCTIONS = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def texts(value: ast.expr, function: Function) -> set[str]:
    """What an expression of this function can be, as far as the source tells; the rest is "…"."""
    found: set[str] = set()
    match value:
        case ast.Constant(value=str(text)):
            found = {text}
        case ast.JoinedStr(values=parts):
            found = {"".join(each) for each in itertools.product(*(sorted(_in_text(part, function)) for part in parts))}
        case ast.IfExp(body=yes, orelse=no):
            found = texts(yes, function) | texts(no, function)
        case ast.Name(id=name):
            found = {text for each in _assigned(name, function) for text in texts(each, function)}
        case ast.Call(func=ast.Name(id=name)):
            called = [each for each in FUNCTIONS if each.name == name]
            found = {text for each in called for result in _results(each) for text in texts(result, each)}
        case ast.Tuple(elts=[first, *_]):
            found = texts(first, function)
    return found or {ANYTHING}


def _in_text(part: ast.expr, function: Function) -> set[str]:
    """A sentence is put together from parts; a name, a number and the like in it is "…"."""
    match part:
        case ast.FormattedValue(value=ast.Name(id="fact" | "has") as name):
            return texts(name, function)
        case ast.FormattedValue():
            return {ANYTHING}
        case _:
            return texts(part, function)


def _assigned(name: str, function: Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                yield value
            case ast.For(target=ast.Name(id=target) | ast.Tuple(elts=[ast.Name(id=target), *_]), iter=value) if target == name:
                yield value


def _results(function: Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        match node:
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                yield value


def findings() -> Iterator[tuple[ast.Call, Function]]:
    """Where the source makes one."""
    for function in FUNCTIONS:
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FACT_OF:
                yield node, function


def facts() -> Iterator[str]:
    """Every fact that can be found, "…" for what differs."""
    for call, function in findings():
        given = next((word.value for word in call.keywords if word.arg == "fact"), None)
        fact = given or call.args[FACT_OF[call.func.id]]  # type: ignore[attr-defined]
        found = texts(fact, function)
        if found != {ANYTHING} or ast.unparse(fact) not in TOLD_ELSEWHERE:
            yield from (text for text in found if text)


def subjects() -> Iterator[str]:
    """What the findings are about."""
    yield from (*Subject, *Role, LOADING)
    for call, function in findings():
        if call.args:
            yield from texts(call.args[0], function) - {ANYTHING}


FACTS = sorted(set(facts()))


def matches(fact: str, entry: str) -> bool:
    return re.fullmatch(".+".join(re.escape(part) for part in fact.split(ANYTHING)), entry) is not None


def test_nothing_is_found_elsewhere() -> None:
    makes = re.compile(r"\bTrouble\(|from kdumpd.plan.findings import .*\b(warn|fail)\b")
    makers = {path for path in (TOP / "kdumpd").rglob("*.py") if makes.search(path.read_text())}

    assert makers <= set(SOURCES)


def test_the_source_tells_what_can_be_found() -> None:
    assert "memory is reserved, but no dump kernel is loaded" in FACTS
    assert "… has only … free, … may need …" in FACTS
    assert ANYTHING not in FACTS
    assert len(FACTS) > 40


@pytest.mark.parametrize("fact", FACTS)
def test_whatever_can_be_found_has_its_entry_in_the_guide(fact: str) -> None:
    assert any(matches(fact, entry) for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_whatever_has_an_entry_in_the_guide_can_be_found(entry: str) -> None:
    assert any(matches(fact, entry) for fact in FACTS)


@pytest.mark.parametrize("subject", sorted(set(subjects())))
def test_every_subject_of_a_finding_has_its_heading_in_the_guide(subject: str) -> None:
    assert re.search(rf"^### (.*, )?`{re.escape(subject)}`", GUIDE, re.MULTILINE)
