# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts values where they do not belong into good JSON: most random bytes are no JSON at all, and end early."""

import copy
import json
from collections.abc import Iterator
from typing import Any

VALUES = json.loads(r'[null, true, 0, -1, 1e308, 1e999, NaN, 1180591620717411303424, "", "P", "\ud800", "\u0000", [[]], [{}], {}]')


def spoilt(good: Any, choices: bytes) -> Any:
    """Return the JSON value, changed. Pairs of bytes: which value, and what in its place."""
    for which, value in zip(choices[::2], choices[1::2], strict=False):
        places = list(_places(good))
        if places:
            container, key = places[which % len(places)]
            container[key] = copy.deepcopy(VALUES[value % len(VALUES)])
    return good


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)
