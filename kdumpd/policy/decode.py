# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keys of the policy, each with its decoder."""

import re
from collections.abc import Sequence

from kdumpd.capture.settings import FinalAction
from kdumpd.policy.model import CapturePolicy, Fault, PanicPolicy, Policy
from kdumpd.policy.nodes import DecodeError, Document, PolicyText, Value, list_of, quantity, section, word
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


PANIC_KEYS = {
    "reboot_after": quantity(parse_duration, format_duration, example="30s", at_least=0),
    "on": list_of(word(Fault)),
}
CAPTURE_KEYS = {
    "stores": list_of(_path, at_least=1),
    "deadline": quantity(parse_duration, format_duration, example="5min", at_least=MIN_DEADLINE),
    "then": word(FinalAction),
    "on_failure": word(FinalAction),
}
POLICY_KEYS = {
    "crashkernel": quantity(parse_size, format_size, example="192M", at_least=MIN_CRASHKERNEL),
    "panic": section(PanicPolicy, PANIC_KEYS),
    "capture": section(CapturePolicy, CAPTURE_KEYS),
}
decode_root = section(Policy, POLICY_KEYS)


def decode_policy(texts: Sequence[PolicyText]) -> Policy:
    """The policy in these YAML texts, a later one overriding an earlier one key by key; without any, the defaults.

    Raises:
        PolicyError: all that is wrong with them, with file, line and column.
    """
    document = Document(texts)
    policy = decode_root(Value(document, document.root, "")) if document.root is not None else Policy()
    document.raise_problems()
    return policy
