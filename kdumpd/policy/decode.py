# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keys of the policy: the one table by which it is read and shown."""

import re
from collections.abc import Iterator, Mapping, Sequence

from kdumpd.capture.settings import FinalAction
from kdumpd.policy.model import CapturePolicy, Fault, PanicPolicy, Policy
from kdumpd.policy.nodes import DecodeError, Document, Key, PolicyText, Section, Value, list_of, quantity, word
from kdumpd.units import MIB, format_duration, format_size, parse_duration, parse_size

# With less, the Debian 12 kernel dies before it reaches any initrd, measured on a 2 GiB guest: 80M lives, 72M does not.
MIN_CRASHKERNEL = 72 * MIB
# A capture needs its time even when all is well; a smaller number is a typing error.
MIN_DEADLINE = 30
# What can stand unquoted in a shell file, a systemd unit and a kernel command line alike.
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._+@-]+)+")


def _path(value: Value) -> str:
    path = value.text()
    if not PLAIN_PATH.fullmatch(path) or {".", ".."}.intersection(path.split("/")):
        fact = f'{value.name}: "{path}" is not an absolute path of letters, digits and . _ + @ -'
        raise DecodeError(fact, hint="write for example /var/crash")
    return path


def _show_list(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"


PANIC = Section(
    PanicPolicy,
    {
        "reboot_after": Key(quantity(parse_duration, format_duration, example="30s", at_least=0), format_duration),
        "on": Key(list_of(word(Fault)), _show_list),
    },
)
CAPTURE = Section(
    CapturePolicy,
    {
        "stores": Key(list_of(_path, at_least=1), _show_list),
        "deadline": Key(quantity(parse_duration, format_duration, example="5min", at_least=MIN_DEADLINE), format_duration),
        "then": Key(word(FinalAction)),
        "on_failure": Key(word(FinalAction)),
    },
)
POLICY = Section(
    Policy,
    {
        "crashkernel": Key(quantity(parse_size, format_size, example="192M", at_least=MIN_CRASHKERNEL), format_size),
        "panic": PANIC,
        "capture": CAPTURE,
    },
)


def decode_policy(texts: Sequence[PolicyText]) -> Policy:
    """The policy in these YAML texts, a later one overriding an earlier one key by key; without any, the defaults.

    Raises:
        PolicyError: all that is wrong with them, with file, line and column.
    """
    document = Document(texts)
    policy: Policy = POLICY.decode(Value(document, document.root, "")) if document.root is not None else Policy()
    document.raise_problems()
    return policy


def show_policy(texts: Sequence[PolicyText]) -> str:
    """The policy in force as YAML, each value with the place that it is from.

    Raises:
        PolicyError: as `decode_policy`.
    """
    policy = decode_policy(texts)
    return "\n".join(_show(POLICY, policy, Document(texts).origins(), ()))


def _show(section: Section, values: object, origins: Mapping[str, str], names: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * len(names)
    for name, key in section.keys.items():
        value = getattr(values, name)
        if isinstance(key, Section):
            yield f"{indent}{name}:"
            yield from _show(key, value, origins, (*names, name))
        else:
            line = f"{indent}{name}: {key.show(value)}"
            yield f"{line:<40}  # {origins.get('.'.join((*names, name)), 'default')}"
