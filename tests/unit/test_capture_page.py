# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd-capture(8), against what the dump kernel writes, says and reads."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdumpd.capture import boot_parameters, dmesg, pstore, vmcore
from kdumpd.capture.keep import FILES
from kdumpd.capture.settings import MARKER
from kdumpd.capture.status import Status, Step
from tests.unit import pages

PAGE = pages.read_page("kdumpd-capture.8")
INITRD = (pages.DOCS.parent / "packaging/initrd/functions").read_text() + (pages.DOCS.parent / "packaging/initrd/init").read_text()
SOURCES = [ast.parse(path.read_text()) for path in Path(boot_parameters.__file__).parent.glob("*.py")]
CONSOLE = [term for one in PAGE if one.chapter == "CONSOLE" for term in one.terms]
SPEAKERS = ("say", "_say", "tell")


def template(text: ast.expr) -> str | None:
    """A regular expression for what an expression may be; None where it is just a name."""
    match text:
        case ast.Constant(value=str(words)):
            return re.escape(words)
        case ast.JoinedStr(values=parts):
            return "".join(template(part) or ".+" for part in parts)
        case ast.BinOp(left=left, right=ast.IfExp(body=body)):
            return f"{template(left)}{template(body)}"
        case _:
            return None


def said_by_python() -> Iterator[str]:
    for call in (node for source in SOURCES for node in ast.walk(source) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in SPEAKERS and (found := template(call.args[0])):
            yield found


def said_by_the_initrd() -> Iterator[str]:
    for words in re.findall(r'\bsay "(.*?)"', INITRD):
        yield ".+".join(re.escape(part) for part in re.split(r"\$\w+", words))


SAID = sorted({*said_by_python(), *said_by_the_initrd()})
# With those that are put together first, and said later.
TEXTS = {
    *SAID,
    *(text for source in SOURCES for node in ast.walk(source) if isinstance(node, ast.expr) if (text := template(node))),
}
# One without a word of its own, as in "NAME: REASON", is like anything.
WORD = re.compile("[a-z]{3}")
WORDED = {text for text in TEXTS if WORD.search(text)}


def status_json() -> dict[str, Any]:
    """One that has everything."""
    status = Status(started="2026-11-23T14:15:24Z", kernel="6.1.0", steps=[Step(name="dmesg", ok=True, seconds=0.5)])
    found: dict[str, Any] = json.loads(status.to_json())
    return found


def fields(found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        yield name
        inner = value[0] if name == "steps" else value
        if isinstance(inner, dict):
            yield from (f"{name}.{key}" for key in inner)


def test_the_files_of_a_crash_are_those_that_kdumpd_makes() -> None:
    made = {*FILES, f"{pstore.FOLDER}/", dmesg.PARTIAL_FILE, vmcore.INCOMPLETE}

    assert set(pages.section(PAGE, "WHAT IS SAVED").terms) == made


def test_the_fields_of_status_json_are_those_that_are_written() -> None:
    assert sorted(pages.section(PAGE, "STATUS.JSON").terms) == sorted(fields(status_json()))


def test_the_parameters_are_those_that_the_capture_and_the_initrd_read() -> None:
    readers = Path(boot_parameters.__file__).read_text() + INITRD
    read = {MARKER, *re.findall(r"\bkdumpd\.\w+", readers)}

    assert {term.partition("=")[0] for term in pages.section(PAGE, "KERNEL COMMAND LINE").terms} == read


@pytest.mark.parametrize("text", SAID)
def test_what_the_console_may_say_is_explained(text: str) -> None:
    assert any(re.fullmatch(text, term) for term in CONSOLE)


@pytest.mark.parametrize("term", CONSOLE)
def test_what_is_explained_is_what_the_console_may_say(term: str) -> None:
    assert any(re.fullmatch(text, term) for text in (WORDED if WORD.search(term) else TEXTS))


def test_the_texts_are_found() -> None:
    assert len(list(said_by_python())) > 20
    assert len(list(said_by_the_initrd())) > 8
