# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kinds of values that a policy has: each can be read, written back, and described to an editor."""

import difflib
import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import yaml

from kdumpd.policy.nodes import DecodeError, Value, is_null, key_text

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
# What YAML 1.1 makes of a value: the text that kdumpd sees is the one that was written.
YAML_BOOLEANS = {"y", "yes", "true", "on", "n", "no", "false", "off"}
YAML_SIXTIES = re.compile(r"[0-9]+(:[0-5]?[0-9])+")
YAML_OCTAL = re.compile(r"0[0-7]+")
LONGEST_TRAP = 40
MEANING_NO = ("no", "off", "false", "n")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """`decode` raises DecodeError; `plain` gives what JSON can hold; `schema` is a JSON Schema."""

    decode: Callable[[Value], T]
    plain: Callable[[T], Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """A key with one value, and what an editor says about it."""

    kind: Kind[Any]
    about: str


@dataclass(frozen=True)
class Section:
    """A key whose value is keys and values again, which become a dataclass. `off`: the word `off` stands for None."""

    dataclass: Callable[..., Any]
    keys: "Mapping[str, Key | Section]"
    about: str
    off: bool = False

    def decode(self, value: Value) -> Any:
        """A key that is not there, or is wrong, keeps its default."""
        if self.off and isinstance(value.node, yaml.ScalarNode) and value.node.value == "off":
            return None
        if not isinstance(value.node, yaml.MappingNode):
            raise DecodeError(*self._expectation(value))
        fields: dict[str, Any] = {}
        for key_node, value_node in value.node.value:
            key = key_text(key_node)
            path = f"{value.name}.{key}" if value.name else key
            if key not in self.keys:
                value.document.record_at(key_node, f'unknown key "{path}"', _did_you_mean_key(key, self.keys))
            elif not is_null(value_node):
                found = self.keys[key]
                decode = found.decode if isinstance(found, Section) else found.kind.decode
                _decode_into(fields, key, decode, Value(value.document, value_node, path))
        return self.dataclass(**fields)

    def _expectation(self, value: Value) -> tuple[str, str | None]:
        expected = '"off" or keys and values' if self.off else "keys and values"
        example = ", ".join(f"{name}: …" for name in self.keys)
        return f"{value.name}: expected {expected}, found {value.described()}", f"write {value.key}: {{{example}}}"


def word(kind: type[E]) -> Kind[E]:
    """One word of an enum."""
    words = [member.value for member in kind]

    def decode(value: Value) -> E:
        text = value.text()
        try:
            return kind(text)
        except ValueError:
            raise DecodeError(f'{value.name}: "{text}" is not one of {", ".join(words)}', did_you_mean(text, words)) from None

    return Kind(decode, str, {"enum": words})


def flag() -> Kind[bool]:
    """true or false. YAML's other words for them are refused: half of the YAML world reads them as text."""

    def decode(value: Value) -> bool:
        text = value.text()
        if text in ("true", "false"):
            return text == "true"
        hint = None
        if text.lower() in YAML_BOOLEANS:
            hint = f"write {value.key}: {'false' if text.lower() in MEANING_NO else 'true'}"
        raise DecodeError(f'{value.name}: "{text}" is not true or false', hint)

    return Kind(decode, bool, {"type": "boolean"})


def number(at_least: int, at_most: int) -> Kind[int]:
    """A whole number."""

    def decode(value: Value) -> int:
        text = value.text()
        if not re.fullmatch(r"0|[1-9][0-9]*", text):
            raise DecodeError(f'{value.name}: "{text}" is not a whole number', _trap(text, str(at_least)))
        # The length comes first: int() has an error of its own for thousands of digits.
        if len(text) > len(str(at_most)) or not at_least <= int(text) <= at_most:
            raise DecodeError(f"{value.name}: {text} is out of range, expected {at_least} to {at_most}")
        return int(text)

    return Kind(decode, int, {"type": "integer", "minimum": at_least, "maximum": at_most})


def parsed(parse: Callable[[str], T], show: Callable[[T], str] = str, *, example: str, pattern: str | None = None) -> Kind[T]:
    """A text with a meaning of its own. `parse` raises ValueError for what it doesn't know, `show` is its inverse."""

    def decode(value: Value) -> T:
        text = value.text()
        try:
            return parse(text)
        except ValueError as problem:
            hint = getattr(problem, "hint", None) or _trap(text, example) or f"write {example}"
            raise DecodeError(f"{value.name}: {problem}", hint) from None

    return Kind(decode, show, {"type": "string", **({"pattern": f"^({pattern})$"} if pattern else {})})


def at_least(kind: Kind[int], least: int, example: str) -> Kind[int]:
    """A quantity that must not be smaller than this."""

    def decode(value: Value) -> int:
        quantity = kind.decode(value)
        if quantity < least:
            raise DecodeError(
                f'{value.name}: "{value.text()}" is too small, expected at least {kind.plain(least)}', f"write {example}"
            )
        return quantity

    return Kind(decode, kind.plain, kind.schema)


def or_word(name: str, kind: Kind[T]) -> Kind[T | None]:
    """A word that stands for None, or a value."""

    def decode(value: Value) -> T | None:
        if isinstance(value.node, yaml.ScalarNode) and value.node.value == name:
            return None
        return kind.decode(value)

    return Kind(decode, lambda found: name if found is None else kind.plain(found), {"anyOf": [{"const": name}, kind.schema]})


def list_of(kind: Kind[T], *, at_least: int = 0) -> Kind[tuple[T, ...]]:
    """A list in which nothing is there twice."""

    def decode(value: Value) -> tuple[T, ...]:
        if not isinstance(value.node, yaml.SequenceNode):
            hint = f"write {value.key}: [{value.node.value}]" if isinstance(value.node, yaml.ScalarNode) else None
            raise DecodeError(f"{value.name}: expected a list, found {value.described()}", hint)
        if len(value.node.value) < at_least:
            raise DecodeError(f"{value.name}: the list has {len(value.node.value)} items, expected at least {at_least}")
        items: dict[int, T] = {}
        for index, node in enumerate(value.node.value):
            item = Value(value.document, node, value.name)
            _decode_into(items, index, kind.decode, item)
            if index in items and list(items.values()).count(items[index]) > 1:
                item.record(DecodeError(f'{value.name}: "{items[index]}" is here twice'))
        return tuple(items.values())

    schema = {"type": "array", "items": kind.schema, "uniqueItems": True, "minItems": at_least}
    return Kind(decode, lambda found: [kind.plain(item) for item in found], schema)


def one_or_list(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """A single value, which is a list of one, or a list."""
    several = list_of(kind, at_least=1)

    def decode(value: Value) -> tuple[T, ...]:
        return (kind.decode(value),) if value.is_single() else several.decode(value)

    def plain(found: tuple[T, ...]) -> object:
        return kind.plain(found[0]) if len(found) == 1 else several.plain(found)

    return Kind(decode, plain, {"anyOf": [kind.schema, several.schema]})


def did_you_mean(text: str, words: Sequence[str]) -> str | None:
    """A hint at the word that was meant."""
    close = difflib.get_close_matches(text, words, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f'"{text}" is a boolean in YAML, write one of these words' if text.lower() in YAML_BOOLEANS else None


def _trap(text: str, example: str) -> str | None:
    """What other readers of YAML make of a number that looks harmless; None too of one that no person writes."""
    if len(text) > LONGEST_TRAP:
        return None
    if YAML_SIXTIES.fullmatch(text):
        sixties = 0
        for digits in text.split(":"):
            sixties = sixties * 60 + int(digits)
        return f'many YAML readers take "{text}" for the number {sixties}; write for example {example}'
    if YAML_OCTAL.fullmatch(text):
        return f'many YAML readers take "{text}" for the octal of {int(text, 8)}; write for example {example}'
    return None


def _decode_into(target: dict[Any, Any], key: object, decode: Callable[[Value], Any], value: Value) -> None:
    try:
        target[key] = decode(value)
    except DecodeError as problem:
        value.record(problem)


def _did_you_mean_key(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"the keys here are {', '.join(known)}"
