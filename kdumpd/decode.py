# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one reader of JSON: strict, because what is read may be damaged, or written by somebody else.

Whatever is wrong with a text ends in one ValueError: sizes, depths and numbers have limits, and types must be as expected.
"""

import collections.abc
import dataclasses
import functools
import json
import math
import re
import reprlib
import types
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from kdumpd.files import read_own

T = TypeVar("T")
# What nothing can print, or give to the system: half a character, and NUL.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_PLAIN = (str, int, float, bool, dict, list)
# What the kernel has has 64 bits, with a sign or without.
SMALLEST, LARGEST = -(1 << 63), (1 << 64) - 1
# In the metadata of a field: it holds the bytes of a file, with one half of a character for each that is not UTF-8.
ANY_BYTES = types.MappingProxyType({"any_bytes": True})


class _AnyBytes:
    """The type of such a field."""


def read_json(path: Path, kind: type[T], *, version: int | None = None) -> T | None:
    """What is in a file of kdumpd's own; None: it is missing or damaged, or this user may not look.

    `version`: the one that it must have.
    """
    try:
        content = read_own(path)
        return None if content is None else parse_json(content, kind, version=version)
    except (PermissionError, ValueError):
        return None


def parse_json(text: str | bytes, kind: type[T], *, version: int | None = None) -> T:
    """A text as a `kind`.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        # CPython allows some 1000 to 10000 levels.
        raise ValueError("nested too deeply") from None
    if version is not None and not (isinstance(found, dict) and found.get("version") == version):
        raise ValueError(f"its version is not {version}")
    return decode(kind, found)


def decode(kind: type[T], found: object) -> T:
    """`found` as a `kind`: a class with named fields, of classes, enums, tuples, dicts, and plain values, each of them or None.

    Fields that have a default may be missing, so that what an older kdumpd wrote can be read; keys that are no fields are
    left alone, for what a newer one wrote.

    Raises:
        ValueError: it is something else, and where.
    """
    return _value(kind, found, getattr(kind, "__name__", str(kind)))  # type: ignore[no-any-return]


def is_text(found: str) -> bool:
    """Whether it can be printed, and be given to the system."""
    return not _NO_TEXT.search(found)


def _value(kind: Any, found: object, where: str) -> Any:
    if get_origin(kind) is not None:
        return _composed(kind, found, where)
    if kind is _AnyBytes:
        return _expect(str, found, where)
    if issubclass(kind, Enum):
        return _enum(kind, found, where)
    if kind not in _PLAIN:
        return _fields(kind, found, where)
    return _plain(kind, found, where)


def _plain(kind: Any, found: object, where: str) -> Any:
    # JSON has one sort of number, and bool is an int to Python.
    if type(found) is int and kind in (int, float) and not SMALLEST <= found <= LARGEST:
        raise ValueError(f"{where} is a number of {found.bit_length()} bits")
    if kind is float and type(found) is int:
        return float(found)
    # Python's own reader takes NaN.
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{where} is {found}, not a number")
    if isinstance(found, str) and not is_text(found):
        raise ValueError(f"{where} is {found!r:.60}, which is no text")
    return _expect(kind, found, where)


def _expect(kind: Any, found: object, where: str) -> Any:
    if type(found) is not kind:
        raise ValueError(f"{where} is {_shown(found)}, not of type {kind.__name__}")
    return found


def _composed(kind: Any, found: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if found is None else _value(next(choice for choice in inner if choice is not type(None)), found, where)
    if origin in (tuple, collections.abc.Iterable) and isinstance(found, list):
        return tuple(_value(inner[0], item, f"{where}[{number}]") for number, item in enumerate(found))
    if origin in (dict, collections.abc.Mapping) and isinstance(found, dict):
        return {_value(str, name, where): _value(inner[1], item, f"{where}.{name}") for name, item in found.items()}
    raise ValueError(f"{where} is {_shown(found)}, not of type {kind}")


def _enum(kind: type[Enum], found: object, where: str) -> Enum:
    known = {str(member.value): member for member in kind}
    if not isinstance(found, str) or found not in known:
        raise ValueError(f"{where} is {_shown(found)}, which is none of {', '.join(known)}")
    return known[found]


def _fields(kind: Any, found: object, where: str) -> Any:
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {_shown(found)}, not an object")
    hints = _hints(kind)
    try:
        return kind(**{name: _value(hint, found[name], f"{where}.{name}") for name, hint in hints.items() if name in found})
    except TypeError as problem:
        raise ValueError(f"{where} lacks a field: {problem}") from problem


def _shown(found: object) -> str:
    """In a few words, however large or deep it is."""
    return f"{reprlib.repr(found):.60}"


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The fields and their types: of a data class, a named tuple, or a class that takes its fields by keyword."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: _AnyBytes if field.metadata == ANY_BYTES else hints[field.name] for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind if issubclass(kind, tuple) else kind.__init__)
    return {name: hint for name, hint in hints.items() if name != "return"}
