# SPDX-License-Identifier: LGPL-2.1-or-later
"""YAML nodes with positions, the decoders for them, and the collector of everything that is wrong.

`yaml.safe_load` is not used: it keeps the last of two equal keys without a word, turns `no` into False and `12:34`
into 754, and forgets where each value stood.
"""

import difflib
import enum
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from kdumpd.errors import PolicyError, Problem

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
NULL = "tag:yaml.org,2002:null"


class DecodeError(Exception):
    """A value is wrong. Raised by a decoder, put on record at the value's place by `Section` and `list_of`."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class PolicyText:
    """One file of a policy: its path, as messages show it, and its bytes."""

    source: str
    content: bytes


class Document:
    """The texts of a policy, in the order in which a later one overrides an earlier one, and all of their problems."""

    def __init__(self, texts: Sequence[PolicyText]) -> None:
        self.problems: list[Problem] = []
        self._lines: dict[str, list[str]] = {}
        roots = [root for text in texts if (root := self._compose(text)) is not None]
        self.root = functools.reduce(_merge, roots) if roots else None

    def _compose(self, text: PolicyText) -> yaml.MappingNode | None:
        """The mapping that a text is, or None when it is empty or wrong."""
        decoded = self._decode(text)
        node = None if decoded is None else self._load(decoded, text.source)
        if node is None or _is_null(node):
            return None
        if not isinstance(node, yaml.MappingNode):
            self.record_at(node, f"the policy: expected keys and values, found {_described(node)}")
            return None
        self._record_duplicates(node, "")
        return node

    def _decode(self, text: PolicyText) -> str | None:
        try:
            decoded = text.content.decode()
        except UnicodeDecodeError as problem:
            before = text.content[: problem.start]
            line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            fact = f"byte 0x{text.content[problem.start]:02x} is not UTF-8"
            self.record(text.source, line, column, fact, "save the file as UTF-8")
            return None
        self._lines[text.source] = decoded.splitlines()
        return decoded

    def _load(self, text: str, source: str) -> yaml.Node | None:
        try:
            for token in yaml.scan(text):
                if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                    mark = token.start_mark
                    self.record(
                        source, mark.line + 1, mark.column + 1, "anchors and aliases are not used here", "write the value out"
                    )
                    return None
            loader = yaml.SafeLoader(text)
            # Marks carry this name, so that each node knows its file even after texts were merged.
            loader.name = source
            node: yaml.Node | None = loader.get_single_node()
            return node
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            hint = "indent with spaces, not with tabs" if "'\\t'" in str(problem.problem) else None
            self.record(source, line, column, f"not valid YAML: {problem.problem or problem.context}", hint)
        except yaml.YAMLError as problem:
            self.record(source, 1, 1, f"not valid YAML: {' '.join(str(problem).split())}")
        except RecursionError:
            self.record(source, 1, 1, "not valid YAML: nested too deeply")
        return None

    def _record_duplicates(self, node: yaml.MappingNode, name: str) -> None:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            path = f"{name}{key}"
            if key in lines:
                self.record_at(key_node, f'the key "{path}" is here twice', f"the first one is in line {lines[key]}")
            lines.setdefault(key, key_node.start_mark.line + 1)
            if isinstance(value_node, yaml.MappingNode):
                self._record_duplicates(value_node, f"{path}.")

    def record_at(self, node: yaml.Node, message: str, hint: str | None = None) -> None:
        """Puts a problem on record, at a node."""
        mark = node.start_mark
        self.record(mark.name, mark.line + 1, mark.column + 1, message, hint)

    def record(self, source: str, line: int, column: int, message: str, hint: str | None = None) -> None:
        """Puts a problem on record; lines and columns count from 1."""
        lines = self._lines.get(source, [])
        text = lines[line - 1] if line <= len(lines) else None
        self.problems.append(Problem(source=source, line=line, column=column, message=message, hint=hint, text=text))

    def origins(self) -> dict[str, str]:
        """Dotted key -> `file:line` of every value that counts; a key that is not here has its default."""
        return dict(_origins(self.root, "")) if self.root is not None else {}

    def raise_problems(self) -> None:
        """
        Raises:
            PolicyError: there are any.
        """
        if self.problems:
            raise PolicyError(self.problems)


def _merge(earlier: yaml.MappingNode, later: yaml.MappingNode) -> yaml.MappingNode:
    """Key by key, the later one wins; a list is one value."""
    merged = {_key(key): (key, value) for key, value in earlier.value}
    for key, value in later.value:
        _, before = merged.get(_key(key), (None, None))
        if isinstance(before, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            merged[_key(key)] = (key, _merge(before, value))
        elif before is None or not _is_null(value):
            merged[_key(key)] = (key, value)
    return yaml.MappingNode(later.tag, list(merged.values()), later.start_mark, later.end_mark)


def _origins(node: yaml.MappingNode, name: str) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from _origins(value, f"{name}{_key(key)}.")
        elif not _is_null(value):
            yield f"{name}{_key(key)}", f"{key.start_mark.name}:{key.start_mark.line + 1}"


def _key(node: yaml.Node) -> str:
    """The text of a key; YAML also allows lists and mappings there, which are never one of ours."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "…"


def _is_null(node: yaml.Node) -> bool:
    """Whether nothing was written, as in `panic:` with an empty rest: the defaults hold."""
    return isinstance(node, yaml.ScalarNode) and node.tag == NULL and node.style is None


def _described(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f'"{node.value}"'
    return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"


@dataclass(frozen=True)
class Value:
    """A node, the document it is from, and its dotted name."""

    document: Document
    node: yaml.Node
    name: str

    def text(self) -> str:
        """A single value, as it was written.

        Raises:
            DecodeError: it is a list or a mapping.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            raise DecodeError(f"{self.name}: expected a single value, found {self.described()}")
        return str(self.node.value)

    def described(self) -> str:
        return _described(self.node)

    def record(self, problem: DecodeError) -> None:
        self.document.record_at(self.node, str(problem), problem.hint)


Decoder = Callable[[Value], T]


@dataclass(frozen=True)
class Key:
    """A key with one value: how it is read, and how its value is written for people."""

    decode: Decoder[Any]
    show: Callable[[Any], str] = str


@dataclass(frozen=True)
class Section:
    """A key whose value is keys and values again, which become a dataclass."""

    kind: Callable[..., Any]
    keys: "Mapping[str, Key | Section]"

    def decode(self, value: Value) -> Any:
        """A key that is not there, or is wrong, keeps its default."""
        if not isinstance(value.node, yaml.MappingNode):
            raise DecodeError(f"{value.name}: expected keys and values, found {value.described()}")
        fields: dict[str, Any] = {}
        for key_node, value_node in value.node.value:
            key = _key(key_node)
            path = f"{value.name}.{key}" if value.name else key
            if key not in self.keys:
                value.document.record_at(key_node, f'unknown key "{path}"', _did_you_mean(key, self.keys))
            elif not _is_null(value_node):
                _decode_into(fields, key, self.keys[key].decode, Value(value.document, value_node, path))
        return self.kind(**fields)


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
