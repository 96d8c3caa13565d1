# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values as json.dumps() takes them, and back.

The values of the capture are named tuples, where the rest of kdumpd has data classes: to load `dataclasses` and to make a dozen
of them is a quarter of the time that Python needs here until the log is saved.
"""

import json
import math
import re
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin

HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def plain(value: Any) -> Any:
    """Named tuples become dictionaries, at every depth."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def parse_object(text: str) -> dict[str, Any]:
    """Return the object in a JSON text.

    Raises:
        ValueError: it is anything else.
    """
    try:
        found = json.loads(text)
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem
    if not isinstance(found, dict):
        raise ValueError(f"it is {shown(found)}, not an object")
    return found


def restore(kind: Any, found: object, where: str) -> Any:
    """Make a `kind` of what plain() made of one: named tuples, enums, tuples, dictionaries and single values, or None.

    Fields with a default may be missing, and unknown ones are ignored: an older or a newer kdumpd may have written it.

    Raises:
        ValueError: it is something else; the text says what, and where.
    """
    if hasattr(kind, "_fields"):
        return _named_tuple(kind, found, where)
    if get_origin(kind) is not None:
        return _composed(kind, found, where)
    if issubclass(kind, Enum):
        return kind(found)
    if kind is float:
        return _number(found, where)
    # bool is an int to Python, and nothing else here is a subclass of anything.
    if type(found) is not kind or (isinstance(found, str) and HALF_CHARACTER.search(found)):
        raise ValueError(f"{where} is {shown(found)}, which is no {kind.__name__}")
    return found


def shown(found: object) -> str:
    """Return a value for a message. What is nested has no end, and its repr() may be too deep."""
    return f"{found!r:.60}" if found is None or isinstance(found, str | int | float) else f"of type {type(found).__name__}"


def _named_tuple(kind: Any, found: object, where: str) -> Any:
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {shown(found)}, not an object")
    kinds = kind.__annotations__
    if missing := [name for name in kinds if name not in found and name not in kind._field_defaults]:
        raise ValueError(f"{where} has no {missing[0]}")
    return kind(**{name: restore(kinds[name], found[name], f"{where}.{name}") for name in kinds if name in found})


def _composed(kind: Any, found: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if found is None else restore(inner[0], found, where)
    if origin is tuple and isinstance(found, list):
        return tuple(restore(inner[0], item, where) for item in found)
    if origin is dict and isinstance(found, dict):
        return {restore(str, name, where): restore(inner[1], item, where) for name, item in found.items()}
    raise ValueError(f"{where} is {shown(found)}, which is no {kind}")


def _number(found: object, where: str) -> float:
    """JSON has one sort of number. Python's reader takes NaN, infinities, and whole numbers that no float can hold."""
    try:
        if type(found) in (int, float) and math.isfinite(number := float(found)):  # type: ignore[arg-type]
            return number
    except OverflowError:
        pass
    raise ValueError(f"{where} is {shown(found)}, which is no number")
