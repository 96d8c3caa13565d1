# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data classes from what json.loads() gave: strict, because what is read may be damaged, or written by somebody else."""

import dataclasses
import functools
import math
import re
import types
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def decode(kind: type[T], found: object) -> T:
    """`found` as a `kind`: a data class of data classes, enums, tuples, dicts, and plain values, each of them or None.

    Fields that have a default may be missing, so that what an older kdumpd wrote can be read; keys that are no fields are
    left alone, for what a newer one wrote.

    Raises:
        ValueError: it is something else, and where.
    """
    return _value(kind, found, kind.__name__)  # type: ignore[no-any-return]


def _value(kind: Any, found: object, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _fields(kind, found, where)
    if get_origin(kind) is not None:
        return _composed(kind, found, where)
    if issubclass(kind, Enum):
        return _enum(kind, found, where)
    # JSON has one sort of number, and bool is an int to Python.
    if kind is float and type(found) is int:
        return float(found)
    if type(found) is not kind:
        raise ValueError(f"{where} is {found!r:.60}, not of type {kind.__name__}")
    _refuse_what_json_is_not(found, where)
    return found


def _refuse_what_json_is_not(found: object, where: str) -> None:
    """Python's own reader takes NaN and half a character, which nothing can print or write."""
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{where} is {found}, not a number")
    if isinstance(found, str) and _HALF_CHARACTER.search(found):
        raise ValueError(f"{where} is {found!r:.60}, which is no text")


def _composed(kind: Any, found: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if found is None else _value(next(choice for choice in inner if choice is not type(None)), found, where)
    if origin is tuple and isinstance(found, list):
        return tuple(_value(inner[0], item, f"{where}[{number}]") for number, item in enumerate(found))
    if origin is dict and isinstance(found, dict):
        return {_value(str, name, where): _value(inner[1], item, f"{where}.{name}") for name, item in found.items()}
    raise ValueError(f"{where} is {found!r:.60}, not of type {kind}")


def _enum(kind: type[Enum], found: object, where: str) -> Enum:
    try:
        return kind(found)
    except ValueError as problem:
        raise ValueError(
            f"{where} is {found!r:.60}, which is none of {', '.join(str(member.value) for member in kind)}"
        ) from problem


def _fields(kind: Any, found: object, where: str) -> Any:
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {found!r:.60}, not an object")
    hints = _hints(kind)
    try:
        return kind(**{name: _value(hint, found[name], f"{where}.{name}") for name, hint in hints.items() if name in found})
    except TypeError as problem:
        raise ValueError(f"{where} lacks a field: {problem}") from problem


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
