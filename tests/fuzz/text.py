# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reader of crash text, fed with anything."""

import json
from collections.abc import Iterator
from pathlib import Path

from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.reader import read_pieces

DATA = Path(__file__).parents[1] / "data"


def check(data: bytes) -> None:
    """An answer or none; where the log was cut into pieces is no matter; and an answer survives being written and read."""
    told = read_pieces([data])
    middle = len(data) // 2
    assert read_pieces([data[:middle], data[middle:]]) == told
    if told is not None:
        assert CrashText.from_json(json.loads(json.dumps(told.to_json(), allow_nan=False))) == told


def seeds() -> Iterator[bytes]:
    for log in (*DATA.glob("dmesg/*-kdump-*.txt"), *DATA.glob("crash-text/*.txt")):
        text = log.read_bytes()
        if len(text) < 64 << 10:
            yield text
