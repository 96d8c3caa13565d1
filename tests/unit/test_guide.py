# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/*.md and README.md tell a reader to type can be typed, and what they show of a policy is valid."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.cli.parser import make_parser
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.nodes import PolicyText
from tests.guides import DOCS, Command, NewFile, blocks, commands, is_shown, story

TOP = DOCS.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
GUIDE = DOCS / "guide.md"
# Commands in the text, and what is typed in the blocks; a word in capitals stands for one of the reader's.
IN_TEXT = re.compile(r"`(kdumpd [a-z][^`]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named_commands(page: Path) -> Iterator[str]:
    text = page.read_text()
    yield from (found.replace("\n", " ") for found in IN_TEXT.findall(text))
    for kind, block in blocks(text):
        if kind == "console":
            yield from (command.typed for command in commands(block) if command.typed.startswith("kdumpd "))


COMMANDS = sorted({(page.name, command) for page in PAGES for command in named_commands(page)})


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_that_a_page_names_can_be_typed(page: str, command: str) -> None:
    words = shlex.split(command.partition(" | ")[0])[1:]
    # `kdumpd crashes` names a group of commands.
    words = ["crashes", "list"] if words == ["crashes"] else words

    make_parser().parse_args(words)


@pytest.mark.parametrize(
    "text",
    [text for page in PAGES for kind, text in blocks(page.read_text()) if kind.split(" ")[0] == "yaml"],
)
def test_every_policy_that_a_page_shows_is_valid(text: str) -> None:
    decode_policy([PolicyText(source="page.yaml", content=text.encode())])


def anchors(text: str) -> set[str]:
    """As GitHub and others make them of the headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), [(page, link) for page in PAGES for link in LINK.findall(page.read_text())])
def test_every_link_between_pages_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page

    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


def test_the_guide_has_the_first_crash_in_its_story() -> None:
    steps = list(story(GUIDE.read_text()))
    typed = [step.typed for step in steps if isinstance(step, Command)]

    assert typed[:2] == ["apt-get install ./kdumpd.deb", "kdumpd status"]
    assert {"reboot", "kdumpd test", "kdumpd crashes show"} <= set(typed)
    assert any(isinstance(step, NewFile) for step in steps)


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        (("a", "b"), "a\nb\n", True),
        (("a",), "a\nb\n", False),
        (("a", "…"), "a\n", True),
        (("a", "…", "d"), "a\nb\nc\nd\n", True),
        (("a…",), "a and b\n", True),
        (("a…",), "a\nb\n", False),
        (("at 2026-11-29T07:33:06Z, 2.4G free",), "at 2027-01-02T03:04:05Z, 17M free\n", True),
        (("in 2026-11-29T07-33-06Z, 3.5 s",), "in 2027-01-02T03-04-05Z-2, 12 s\n", True),
        (("image d93ed19a2ea4 of 6.1.0-56-cloud-amd64",), "image 0123456789ab of 6.1.0-99-amd64\n", True),
        (("peak  31.7M  measured",), "peak       9.1M  measured\n", True),
        (("kernel.panic = 30",), "kernel.panic = 7\n", False),
        (("438",), "446\n", False),
    ],
)
def test_what_is_printed_is_compared_but_for_what_differs_from_run_to_run(
    shown: tuple[str, ...], printed: str, alike: bool
) -> None:
    assert is_shown(shown, printed) is alike


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(ValueError, match="begins with a command"):
        list(commands("no command\n"))
