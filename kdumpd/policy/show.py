# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy for people, with the place that each value is from, and the JSON Schema for their editors."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from kdumpd.policy.decode import decode_policy
from kdumpd.policy.keys import POLICY
from kdumpd.policy.kinds import Section
from kdumpd.policy.model import Policy
from kdumpd.policy.nodes import Document, PolicyText

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Texts without a character that means something in YAML.
PLAIN_IN_LIST = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./+@-]*")
PLAIN = re.compile(r"[A-Za-z0-9/]([A-Za-z0-9_./+@,:-]*[A-Za-z0-9_./+@-])?")
# Text for PyYAML, but not in YAML 1.1 (booleans) or 1.2 (floats without a dot or a sign in the exponent, octals).
NOT_TEXT = re.compile(r"[yYnN]|[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+|0o[0-7]+")
TEXT = "tag:yaml.org,2002:str"
# A word of the policy, which kdumpd reads with and without quotes; people write it without.
OFF = "off"
COMMENT_COLUMN = 40


def show_policy(texts: Sequence[PolicyText]) -> str:
    """The policy in force as YAML, each value with the place that it is from.

    Raises:
        PolicyError: as `decode_policy`.
    """
    origins = Document(texts).origins()
    lines = _lines(POLICY, decode_policy(texts), ())
    return "\n".join(f"{line:<{COMMENT_COLUMN}}  # {origins.get(key, 'default')}" if key else line for key, line in lines)


def dump_policy(policy: Policy) -> str:
    """A whole policy as YAML, the same text for the same policy."""
    return "".join(f"{line}\n" for _, line in _lines(POLICY, policy, ()))


def _lines(section: Section, values: object, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Dotted key and line of every value; the line that opens a section has no key."""
    indent = "  " * len(names)
    for name, key in section.keys.items():
        value = getattr(values, name)
        path = (*names, name)
        if isinstance(key, Section) and value is not None:
            yield "", f"{indent}{name}:"
            yield from _lines(key, value, path)
        else:
            text = OFF if isinstance(key, Section) else _flow(key.kind.plain(value))
            yield ".".join(path), f"{indent}{name}: {text}"


def _flow(plain: Any, safe: re.Pattern[str] = PLAIN) -> str:
    if isinstance(plain, list):
        return f"[{', '.join(_flow(item, PLAIN_IN_LIST) for item in plain)}]"
    if isinstance(plain, str):
        return plain if safe.fullmatch(plain) and _is_text(plain) else json.dumps(plain)
    return json.dumps(plain)


def _is_text(plain: str) -> bool:
    """Return whether any YAML reader takes it for this text without quotes, not for a null, a boolean, a number or a date."""
    if plain == OFF:
        return True
    tag = yaml.resolver.Resolver().resolve(yaml.ScalarNode, plain, (True, False))
    return bool(tag == TEXT) and not NOT_TEXT.fullmatch(plain)


def schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a policy file; every key is optional, no other is allowed."""
    return {"$schema": DIALECT, "title": "kdumpd.yaml", **_section_schema(POLICY, POLICY.dataclass())}


def _section_schema(section: Section, defaults: object, *, is_off: bool = False) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, key in section.keys.items():
        default = getattr(defaults, name)
        if isinstance(key, Section):
            properties[name] = _section_schema(key, key.dataclass() if default is None else default, is_off=default is None)
        else:
            properties[name] = {"description": key.about, "default": key.kind.plain(default), **key.kind.schema}
    found = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    if not section.off:
        return {"description": section.about, **found}
    default = {"default": OFF} if is_off else {}
    return {"description": section.about, **default, "anyOf": [{"const": OFF}, found]}
