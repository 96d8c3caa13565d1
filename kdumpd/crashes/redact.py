# SPDX-License-Identifier: LGPL-2.1-or-later
"""Masks what tells which machine a log is of, and whose: the same value becomes the same token, everywhere in one export."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from kdumpd.crashes.secrets import BY_NAME, RULES, Hit, Sort, host_key
from kdumpd.crashes.text.lines import MAX_LINE
from kdumpd.decode import parse_json
from kdumpd.files import read_text

# Longer than any line of a log; what has no line ends is cut at a blank, so that no value is cut.
PIECE = 1 << 20
LEFT_OUT = "(kdumpd left out a line of {} characters)\n"
# A log of a large cluster names some thousands of hosts; and of names with the same first part, so many lengths are tried.
MAX_KNOWN = 10_000
MAX_LENGTHS = 40
# A shorter value is masked only where the text says what it is; no name of a host is longer.
LEAST = {Sort.HOST: 1, Sort.USER: 3, Sort.MAC: 12, Sort.SERIAL: 6, Sort.SECRET: 6}
LONGEST = 253
_RUN = re.compile(r"[a-z0-9]+", re.IGNORECASE | re.ASCII)


class Redactor:
    """Learns from all texts of a crash first, then masks in each of them.

    A value is masked wherever it stands, as soon as one line tells what it is.
    """

    def __init__(self, host_names: Iterable[str] = ()) -> None:
        self._tokens: dict[tuple[Sort, str], str] = {}
        self._counts: dict[str, int] = {}
        self._known = _Known()
        for name in host_names:
            self._learn_value(Sort.HOST, host_key(name) or "")

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each sort were masked."""
        return dict(self._counts)

    def learn(self, text: str) -> None:
        """Takes the names, serial numbers and passwords of a text, wherever it says that something is one."""
        for rule in RULES:
            if rule.known:
                for _start, _end, sort, key in rule.find(_bounded(text)):
                    self._learn_value(sort, key)

    def learn_json(self, text: str) -> None:
        """The same for the keys and strings in a JSON text; what is no JSON is read as any text."""
        try:
            for name, value in _strings("", parse_json(text, dict)):
                self.learn(f"{name}\n{value}")
                if sort := _sort_by_name(name):
                    self._learn_value(sort, value.lower())
        except (ValueError, RecursionError):
            self.learn(text)

    def mask(self, text: str) -> str:
        """The text without any of it, and without lines that are too long for a log."""
        # Plain text and tokens in turn: what one rule leaves, the next one looks at, and none looks at a token.
        parts = [_bounded(text)]
        for rule in RULES:
            parts = self._masked(parts, rule.find)
        return "".join(self._masked(parts, self._known.find))

    def mask_json(self, text: str, own: Collection[str] = ()) -> str:
        """The same for the strings in a JSON text and for its keys, except our `own`; what is no JSON is masked as any text."""
        try:
            return json.dumps(self._mask_value(parse_json(text, dict), own), indent=2) + "\n"
        except (ValueError, RecursionError):
            return self.mask(text)

    def _mask_value(self, value: object, own: Collection[str]) -> object:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, list):
            return [self._mask_value(item, own) for item in value]
        if isinstance(value, dict):
            return dict(self._mask_member(name, item, own) for name, item in value.items())
        return value

    def _mask_member(self, name: str, value: object, own: Collection[str]) -> tuple[str, object]:
        if name in own:
            return name, self._mask_value(value, own)
        if value and isinstance(value, str) and (sort := _sort_by_name(name)):
            return self.mask(name), self._token(sort, value.lower())
        return self.mask(name), self._mask_value(value, own)

    def _learn_value(self, sort: Sort, key: str) -> None:
        if not LEAST[sort] <= len(key) <= LONGEST or (sort is Sort.SECRET and key.isalpha()):
            return
        for name in {key, key.partition(".")[0]} if sort is Sort.HOST else {key}:
            # As a part of an LVM name the device mapper doubles each dash, and systemd escapes it in the name of a unit.
            for written in (name, name.replace("-", "--"), name.replace("-", r"\x2d")):
                self._known.add(written, sort, name)

    def _masked(self, parts: Sequence[str], find: Callable[[str], Iterator[Hit]]) -> list[str]:
        masked = []
        for number, part in enumerate(parts):
            place = 0
            if number % 2 == 0:
                for start, end, sort, key in find(part):
                    masked += [part[place:start], self._token(sort, key)]
                    place = end
            masked.append(part[place:])
        return masked

    def _token(self, sort: Sort, key: str) -> str:
        if (sort, key) not in self._tokens:
            self._counts[sort.value] = self._counts.get(sort.value, 0) + 1
            self._tokens[sort, key] = f"{sort}-{self._counts[sort.value]}"
        return self._tokens[sort, key]


class _Known:
    """Words that are masked wherever they stand: looked up by their first letters and digits, however many words there are."""

    def __init__(self) -> None:
        self._words: dict[str, tuple[Sort, str]] = {}
        self._lengths: dict[str, list[int]] = {}

    def add(self, word: str, sort: Sort, key: str) -> None:
        runs = list(_RUN.finditer(word))
        if not runs or len(self._words) >= MAX_KNOWN:
            return
        bare = word[runs[0].start() : runs[-1].end()]
        lengths = self._lengths.setdefault(runs[0][0], [])
        if len(bare) not in lengths and len(lengths) < MAX_LENGTHS:
            lengths.append(len(bare))
            # A full name before its first part.
            lengths.sort(reverse=True)
        self._words.setdefault(bare, (sort, key))

    def find(self, text: str) -> Iterator[Hit]:
        """All of them in a text, from left to right, each a word of its own."""
        place = 0
        for run in _RUN.finditer(text):
            if run.start() < place:
                continue
            for length in self._lengths.get(run[0].lower(), ()):
                end = run.start() + length
                known = self._words.get(text[run.start() : end].lower())
                if known and not _RUN.match(text, end):
                    yield run.start(), end, *known
                    place = end
                    break


def _bounded(text: str) -> str:
    if len(text) <= MAX_LINE:
        return text
    return "".join(line if len(line) <= MAX_LINE else LEFT_OUT.format(len(line)) for line in text.splitlines(keepends=True))


def _sort_by_name(name: str) -> Sort | None:
    """What the value of a JSON key is, by its name."""
    return next((sort for sort, pattern in BY_NAME if pattern.search(name)), None)


def _strings(name: str, value: object) -> Iterator[tuple[str, str]]:
    """All strings in JSON, each with the key it is under."""
    if isinstance(value, str):
        yield name, value
    items = value.items() if isinstance(value, dict) else ((name, item) for item in value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _strings(key, item)


def host_names(root: Path) -> tuple[str, ...]:
    """What this machine is called."""
    return tuple(filter(None, ((read_text(root / name) or "").strip() for name in ("proc/sys/kernel/hostname", "etc/hostname"))))


def pieces(file: BinaryIO) -> Iterator[str]:
    """The lines of a log, whatever its bytes; one that is too long in pieces, each of which ends at a blank where it has one."""
    rest = b""
    while line := rest + file.readline(PIECE):
        rest = b""
        if not line.endswith(b"\n") and len(line) >= PIECE and b" " in line:
            line, _, rest = line.rpartition(b" ")
            line += b" "
        yield line.decode(errors="surrogateescape")


def whole_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a log, whatever its bytes; of one that is too long for a log only that it was there."""
    while line := file.readline(MAX_LINE + 1):
        size = len(line)
        while size > MAX_LINE and not line.endswith(b"\n") and (line := file.readline(PIECE)):
            size += len(line)
        yield line.decode(errors="surrogateescape") if size <= MAX_LINE else LEFT_OUT.format(size)
