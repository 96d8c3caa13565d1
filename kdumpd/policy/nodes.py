# SPDX-License-Identifier: LGPL-2.1-or-later
"""YAML nodes with positions, the decoders for them, and the collector of everything that is wrong.

`yaml.safe_load` is not used: it keeps the last of two equal keys without a word, turns `no` into False and `12:34`
into 754, and forgets where each value stood.
"""

import difflib
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from kdumpd.errors import PolicyError, Problem

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
NULL = "tag:yaml.org,2002:null"


class DecodeError(Exception):
    """A value is wrong. Raised by a decoder, put on record at the value's place by `section` and `list_of`."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Document:
    """One policy text and its problems. `root` is None when the text is empty or no YAML."""

    def __init__(self, content: bytes, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._lines: list[str] = []
        self.root = self._compose(content)

    def _compose(self, content: bytes) -> yaml.Node | None:
        try:
            text = content.decode()
        except UnicodeDecodeError as problem:
            before = content[: problem.start]
            line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            self.record(line, column, f"byte 0x{content[problem.start]:02x} is not UTF-8", "save the file as UTF-8")
            return None
        self._lines = text.splitlines()
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            hint = "indent with spaces, not with tabs" if "'\\t'" in str(problem.problem) else None
            self.record(line, column, f"not valid YAML: {problem.problem or problem.context}", hint)
        except yaml.YAMLError as problem:
            self.record(1, 1, f"not valid YAML: {' '.join(str(problem).split())}")
        except RecursionError:
            self.record(1, 1, "not valid YAML: nested too deeply")
        return None

    def record(self, line: int, column: int, message: str, hint: str | None = None) -> None:
        """Puts a problem on record; lines and columns count from 1."""
        text = self._lines[line - 1] if line <= len(self._lines) else None
        self.problems.append(Problem(source=self.source, line=line, column=column, message=message, hint=hint, text=text))

    def raise_problems(self) -> None:
        """
        Raises:
            PolicyError: there are any.
        """
        if self.problems:
            raise PolicyError(self.problems)


@dataclass(frozen=True)
class Value:
    """A node, the document it is from, and its dotted name, which is empty for the whole policy."""

    document: Document
    node: yaml.Node
    name: str = ""

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, as in `panic:` with an empty rest: the defaults hold."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == NULL and self.node.style is None

    def text(self) -> str:
        """A single value, as it was written.

        Raises:
            DecodeError: it is a list or a mapping.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            raise DecodeError(f"{self.name}: expected a single value, found {self.described()}")
        return str(self.node.value)

    def described(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return f'"{self.node.value}"'
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "keys and values"

    def record(self, problem: DecodeError) -> None:
        mark = self.node.start_mark
        self.document.record(mark.line + 1, mark.column + 1, str(problem), problem.hint)


Decoder = Callable[[Value], T]


def section(kind: Callable[..., T], keys: Mapping[str, Decoder[Any]]) -> Decoder[T]:
    """Decodes keys and values into a dataclass. A key that is not there, or is wrong, keeps its default."""

    def decode(value: Value) -> T:
        if value.is_null:
            return kind()
        if not isinstance(value.node, yaml.MappingNode):
            raise DecodeError(f"{value.name or 'the policy'}: expected keys and values, found {value.described()}")
        fields: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in value.node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "…"
            path = f"{value.name}.{key}" if value.name else key
            key_value, item = Value(value.document, key_node, path), Value(value.document, value_node, path)
            if key not in keys:
                key_value.record(DecodeError(f'unknown key "{path}"', hint=_did_you_mean(key, keys)))
            elif key in lines:
                key_value.record(DecodeError(f'the key "{path}" is here twice', hint=f"the first one is in line {lines[key]}"))
            else:
                lines[key] = key_node.start_mark.line + 1
                if not item.is_null:
                    _decode_into(fields, key, keys[key], item)
        return kind(**fields)

    return decode


def list_of(decoder: Decoder[T], *, at_least: int = 0) -> Decoder[tuple[T, ...]]:
    """Decodes every item of a list."""

    def decode(value: Value) -> tuple[T, ...]:
        if not isinstance(value.node, yaml.SequenceNode):
            key = value.name.rpartition(".")[2]
            hint = f"write {key}: [{value.node.value}]" if isinstance(value.node, yaml.ScalarNode) else None
            raise DecodeError(f"{value.name}: expected a list, found {value.described()}", hint=hint)
        if len(value.node.value) < at_least:
            raise DecodeError(f"{value.name}: the list has {len(value.node.value)} items, expected at least {at_least}")
        items: dict[int, T] = {}
        for number, node in enumerate(value.node.value):
            _decode_into(items, number, decoder, Value(value.document, node, value.name))
        return tuple(items.values())

    return decode


def word(kind: type[E]) -> Decoder[E]:
    """Decodes one word of an enum."""

    def decode(value: Value) -> E:
        text = value.text()
        try:
            return kind(text)
        except ValueError:
            words = [member.value for member in kind]
            close = difflib.get_close_matches(text, words, n=1)
            hint = f'did you mean "{close[0]}"?' if close else None
            raise DecodeError(f'{value.name}: "{text}" is not one of {", ".join(words)}', hint=hint) from None

    return decode


def quantity(parse: Callable[[str], int], show: Callable[[int], str], *, example: str, at_least: int) -> Decoder[int]:
    """Decodes a number with a unit; `parse` raises ValueError for what it doesn't know, `show` is its inverse."""

    def decode(value: Value) -> int:
        text = value.text()
        try:
            number = parse(text)
        except ValueError as problem:
            raise DecodeError(f"{value.name}: {problem}", hint=f"write {example}") from None
        if number < at_least:
            raise DecodeError(f'{value.name}: "{text}" is too small, expected at least {show(at_least)}', hint=f"write {example}")
        return number

    return decode


def _decode_into(target: dict[Any, T], key: object, decoder: Decoder[T], value: Value) -> None:
    try:
        target[key] = decoder(value)
    except DecodeError as problem:
        value.record(problem)


def _did_you_mean(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"the keys here are {', '.join(known)}"
