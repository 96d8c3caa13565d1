#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make_completions.py FOLDER: writes the completions of bash (kdumpd) and zsh (_kdumpd) there, made from kdumpd's parser."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from kdumpd.cli.parser import make_parser  # noqa: E402

# What completes an argument, by the word that stands for it in the help. One that is not here can't be built.
KINDS = {
    "FILE": "file",
    "DIR": "directory",
    "ID": "crash",
    "RELEASE": "kernel",
    "WHEN": "text",
    "SIG": "text",
    "VALUE|STRING": "text",
}
ZSH_ACTIONS = {"file": "_files", "directory": "_files -/", "crash": "__kdumpd_crash", "kernel": "__kdumpd_kernel", "text": " "}


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A value, of an option or by its place. `choices`: the only ones; else `kind` is one of KINDS."""

    name: str
    kind: str
    choices: tuple[str, ...]
    optional: bool
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class Option:
    """`value` None: it takes none. `excludes` are the options that it can't be given with, itself among them."""

    names: tuple[str, ...]
    about: str
    value: Argument | None
    excludes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Command:
    """`words` is how it begins, kdumpd first; `commands` are the names of what may follow, and what they do."""

    words: tuple[str, ...]
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: dict[str, str]

    @property
    def line(self) -> str:
        return " ".join(self.words)


def walk(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[Command]:
    """The command of a parser, and all below it."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    others = [action for action in parser._actions if action not in groups]
    yield Command(
        words=words,
        options=tuple(_option(parser, action) for action in others if action.option_strings),
        arguments=tuple(_argument(action) for action in others if not action.option_strings),
        commands={choice.dest: choice.help or "" for group in groups for choice in group._choices_actions},
    )
    for group in groups:
        for name, inner in group.choices.items():
            yield from walk(inner, (*words, name))


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    rivals = next((group for group in groups if action in group), [action])
    return Option(
        names=tuple(action.option_strings),
        about=parser._get_formatter()._expand_help(action),
        value=None if action.nargs == 0 else _argument(action),
        excludes=tuple(name for rival in rivals for name in rival.option_strings),
    )


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    name = str(action.metavar or action.dest)
    return Argument(
        name=name,
        kind="choice" if choices else KINDS[name],
        choices=choices,
        optional=action.nargs in ("?", "*"),
        repeated=action.nargs in ("+", "*"),
    )


def for_bash(commands: list[Command]) -> str:
    """Tables for the function in completion.bash: what follows a command, an option."""
    tables: dict[str, dict[str, str]] = {"commands": {}, "options": {}, "values": {}, "arguments": {}}
    for command in commands:
        tables["commands"][command.line] = " ".join(command.commands)
        tables["options"][command.line] = " ".join(name for option in command.options for name in option.names)
        tables["arguments"][command.line] = " ".join(map(_bash_kind, command.arguments))
        for option in command.options:
            if option.value:
                tables["values"] |= {f"{command.line} {name}": _bash_kind(option.value) for name in option.names}
    parts = [f"# Made from the parser of kdumpd.\n{(HERE / 'completion.bash').read_text()}"]
    for table, rows in tables.items():
        lines = [f"\t[{shlex.quote(key)}]={shlex.quote(value)}\n" for key, value in rows.items() if value]
        # -g: bash-completion loads this from within a function.
        parts.append(f"declare -gA _kdumpd_{table}=(\n{''.join(lines)})\n")
    return "\n".join(parts)


def _bash_kind(argument: Argument) -> str:
    kind = f"choice:{','.join(argument.choices)}" if argument.choices else argument.kind
    return f"{kind} ..." if argument.repeated else kind


def for_zsh(commands: list[Command]) -> str:
    """A function for each command, below those of completion.zsh."""
    functions = [_zsh_function(command) for command in commands]
    return "\n".join(["#compdef kdumpd", (HERE / "completion.zsh").read_text(), *functions, '_kdumpd "$@"\n'])


def _zsh_function(command: Command) -> str:
    specs = [*(spec for option in command.options for spec in _zsh_option(option)), *map(_zsh_argument, command.arguments)]
    if command.commands:
        names = [f"{name}:{about}" for name, about in command.commands.items()]
        body = f"\t__kdumpd_commands {_zsh_name(command)} {_zsh_words(names)} -- {_zsh_words(specs)}\n"
    else:
        body = f"\t_arguments -S : {_zsh_words(specs)}\n"
    return f"{_zsh_name(command)}()\n{{\n{body}}}\n"


def _zsh_name(command: Command) -> str:
    return f"_{'_'.join(command.words)}"


def _zsh_words(words: list[str]) -> str:
    return " ".join(f"\\\n\t\t{shlex.quote(word)}" for word in words)


def _zsh_option(option: Option) -> Iterator[str]:
    excludes = " ".join(option.excludes)
    for name in option.names:
        value = f"={_in_zsh(option.about)}{_zsh_argument(option.value)}" if option.value else _in_zsh(option.about)
        yield f"({excludes}){name}{value}"


def _in_zsh(about: str) -> str:
    return "[" + "".join(f"\\{char}" if char in "[]:\\" else char for char in about) + "]"


def _zsh_argument(argument: Argument) -> str:
    action = f"({' '.join(argument.choices)})" if argument.choices else ZSH_ACTIONS[argument.kind]
    return f"{'*' if argument.repeated else ':' if argument.optional else ''}:{argument.name}:{action}"


FILES: dict[str, Callable[[list[Command]], str]] = {"kdumpd": for_bash, "_kdumpd": for_zsh}


def main(folder: Path) -> None:
    """Writes both."""
    commands = list(walk(make_parser(), ("kdumpd",)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (folder / name).write_text(make(commands))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
