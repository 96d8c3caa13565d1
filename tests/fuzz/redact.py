# SPDX-License-Identifier: LGPL-2.1-or-later
"""The redactor, fed with secrets between any bytes. An input is a number, which chooses the secret, and what stands around it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from kdumpd.crashes.export import OWN_KEYS
from kdumpd.crashes.redact import Redactor
from kdumpd.crashes.text.lines import MAX_LINE
from tests.fuzz import text
from tests.unit.planted import PLANTED

T = TypeVar("T")
SECONDS = 1.0


def check(data: bytes) -> None:
    """No planted secret survives, in a log or in JSON, and no line takes over a second."""
    line, value = PLANTED[data[0] % len(PLANTED)] if data else PLANTED[0]
    middle = len(data) // 2
    before, after = (part.decode(errors="surrogateescape") for part in (data[1:middle], data[middle:]))
    if value.lower() in f"{before}\n{after}".lower():
        # There nothing says that it is a secret.
        return
    lines = f"{before}\n{line}\n{after}".splitlines(keepends=True)
    redactor = Redactor(["web-1.example.org"])
    for each in lines:
        _in_time(redactor.learn, each)
    assert value.lower() not in "".join(_in_time(redactor.mask, each) for each in lines).lower(), value
    document = json.dumps({before: [line, after]})
    redactor.learn_json(document)
    assert value.lower() not in redactor.mask_json(document, OWN_KEYS).lower(), value


def seeds() -> Iterator[bytes]:
    lines = [line.encode() for line, _ in PLANTED]
    for number, (before, after) in enumerate(zip(lines[1:], [*lines[2:], b""], strict=True)):
        yield bytes([number]) + before + after
    for log in text.seeds():
        yield log[: MAX_LINE // 4]


def _in_time(work: Callable[[str], T], line: str) -> T:
    begin = time.process_time()
    result = work(line)
    assert time.process_time() - begin < SECONDS, f"{len(line)} characters took too long"
    return result
