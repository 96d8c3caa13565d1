# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd(8), against the command line that kdumpd takes."""

import argparse
import shlex
from collections.abc import Iterator

import pytest

from kdumpd.cli.main import main
from kdumpd.cli.parser import make_parser
from kdumpd.errors import ExitCode
from tests.unit import pages

PAGE = pages.read_page("kdumpd.8")
COMMANDS = {one.heading: one for one in PAGE if one.chapter == "COMMANDS" and one.heading != "COMMANDS"}
PROMPT = "# "


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, as it is typed."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield " ".join(words), parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, (*words, name))


PARSERS = dict(commands(make_parser()))


def usage(parser: argparse.ArgumentParser) -> str:
    """All on one line, and without -h, which every command has."""
    return " ".join(parser.format_usage().split()).removeprefix("usage: ").replace(" [-h]", "")


def examples() -> Iterator[tuple[str, str]]:
    """Each command below EXAMPLES that is kdumpd's, and the output that is shown of it."""
    for block in pages.section(PAGE, "EXAMPLES").literal_blocks:
        for part in f"\n{block}".split(f"\n{PROMPT}")[1:]:
            command, _, output = part.partition("\n")
            if command.startswith("kdumpd "):
                yield command, output


def test_the_page_has_every_command_and_no_other() -> None:
    assert list(COMMANDS) == list(PARSERS)


def test_the_synopsis_is_the_usage() -> None:
    assert pages.section(PAGE, "SYNOPSIS").paragraphs[0] == usage(make_parser())


@pytest.mark.parametrize("command", PARSERS)
def test_a_command_begins_with_its_usage_and_what_it_does(command: str) -> None:
    said, about, *_ = COMMANDS[command].paragraphs

    assert said == usage(PARSERS[command])
    assert len(about) > 50


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_of_a_command_is_explained(command: str) -> None:
    terms = [*pages.section(PAGE, "OPTIONS").terms, *COMMANDS[command].terms]
    explained = {word for term in terms for word in term.replace(",", "").split()}
    options = {option for action in PARSERS[command]._actions for option in action.option_strings}

    assert options <= explained


@pytest.mark.parametrize("command", PARSERS)
def test_no_option_is_explained_that_a_command_does_not_have(command: str) -> None:
    options = {option for action in PARSERS[command]._actions for option in action.option_strings}

    assert {term.split()[0] for term in COMMANDS[command].terms} <= options


def test_the_exit_codes_are_the_real_ones() -> None:
    found = pages.section(PAGE, "EXIT STATUS")

    assert found.terms == [str(number) for number in sorted({code.value for code in ExitCode})]
    # In the words of --help.
    said = " ".join(make_parser().format_help().replace("`", "").split()).lower()
    assert all(paragraph.lower().rstrip(".") in said for paragraph in found.paragraphs)


@pytest.mark.parametrize("command", [command for command, _ in examples()])
def test_an_example_is_a_command_that_kdumpd_takes(command: str) -> None:
    program, *arguments = shlex.split(command)

    assert program == "kdumpd"
    assert make_parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize(("command", "output"), [(command, output) for command, output in examples() if output])
def test_an_example_with_output_prints_it(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == output


def test_the_examples_are_found() -> None:
    assert len(list(examples())) > 10
    assert any(output for _, output in examples())
