# SPDX-License-Identifier: LGPL-2.1-or-later
"""Masks what tells which machine a log is of: the same value becomes the same token, everywhere in one export."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from kdumpd.files import read_text

# Longer than any line of a log; what has no line ends is cut at a blank, so that no value is cut.
PIECE = 1 << 20
# A machine has some dozens. Each takes time at each character.
MAX_KNOWN = 200
# A shorter serial number is masked only where the text says that it is one.
LEAST_SERIAL = 6
# Names that thousands of machines have, and words that a log can't do without.
_NO_SECRET = frozenset({"", "localhost", "localhost.localdomain", "(none)", "linux", "kernel"})
_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5,}[0-9a-f]{2}|(?<=enx)[0-9a-f]{12}", re.IGNORECASE)
_UUID = re.compile(
    r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b|(?<=UUID=)[\w-]+", re.IGNORECASE | re.ASCII
)
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)|(?<!\w)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}", re.IGNORECASE | re.ASCII
)
_SERIAL = re.compile(
    r"(?:serial[ _]?(?:number|no)?[=]|serial[ _]?(?:number|no\.?)\s*[:#]|\bS/N\s*[:=]?)\s*([^\s\"',;\\\])}]{4,})"
    r"|\b(?:wwn-|naa\.|eui\.)((?:0x)?[0-9a-f]{16,})",
    re.IGNORECASE,
)
# The "serial number" of a USB host controller is its PCI address (drivers/usb/core/hcd.c, rh_string()).
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)
_HOST = (
    # systemd, src/core/main.c and src/shared/hostname-setup.c.
    re.compile(r"[Hh]ostname (?:set )?to <([^>]+)>"),
    # Documentation/admin-guide/nfs/nfsroot.rst: ip=CLIENT:SERVER:GATEWAY:NETMASK:HOST:…
    re.compile(r"\bip=[^\s:]*:[^\s:]*:[^\s:]*:[^\s:]*:([\w.-]+)"),
    re.compile(r"\b(?:systemd\.)?hostname=([\w.-]+)"),
    re.compile(r"\b(?:nfs|lockd): server ([\w.-]+)"),
    # What a syslog daemon puts before each line.
    re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ([\w.-]+) kernel:"),
)
# A sort of values, where they are, and what tells two of them apart; None: this one tells nothing of the machine.
Rule: TypeAlias = tuple[str, re.Pattern[str], Callable[[str], str | None]]


def _ip_key(value: str) -> str | None:
    try:
        address = ipaddress.ip_address(value if value.endswith("::") else value.rstrip(":"))
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified or value.startswith("255.") else str(address)


def _serial_key(value: str) -> str | None:
    return None if _PCI.fullmatch(value) else value


_BY_SHAPE: tuple[Rule, ...] = (
    ("MAC", _MAC, lambda value: re.sub("[:-]", "", value).lower()),
    ("UUID", _UUID, lambda value: value.replace("-", "").lower()),
    ("IP", _IP, _ip_key),
    ("SERIAL", _SERIAL, _serial_key),
)


class Redactor:
    """Learns from all texts of a crash first, then masks in each of them.

    A value is masked wherever it stands, as soon as one line tells what it is.
    """

    def __init__(self, host_names: Iterable[str] = ()) -> None:
        self._tokens: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        # As they are written, and what they are.
        self._hosts: dict[str, str] = {}
        self._serials: dict[str, str] = {}
        self._rules = _BY_SHAPE
        for name in host_names:
            self._learn_host(name)
        self._learned()

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each sort were masked."""
        return dict(self._counts)

    def learn(self, text: str) -> None:
        """Takes the host names and serial numbers of a text, wherever it says that something is one."""
        before = len(self._hosts) + len(self._serials)
        for pattern in _HOST:
            for found in pattern.finditer(text):
                self._learn_host(found[1])
        for found in _SERIAL.finditer(text):
            value = _serial_key(found[found.lastindex or 0])
            if value and len(value) >= LEAST_SERIAL and len(self._serials) < MAX_KNOWN:
                self._serials[value.lower()] = value
        if len(self._hosts) + len(self._serials) > before:
            self._learned()

    def mask(self, text: str) -> str:
        """The text without any of it."""
        return "".join(self._masked(text, self._rules))

    def mask_json(self, text: str) -> str:
        """The same for the strings in a JSON text, whose keys stay; what is no JSON is masked as any text."""
        try:
            return json.dumps(self._mask_value(json.loads(text)), indent=2) + "\n"
        except (ValueError, RecursionError):
            return self.mask(text)

    def _mask_value(self, value: object) -> object:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, list):
            return [self._mask_value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._mask_value(item) for key, item in value.items()}
        return value

    def _learn_host(self, name: str) -> None:
        full = name.strip().strip(".").lower()
        for known in {full, full.partition(".")[0]}:
            if known not in _NO_SECRET and len(self._hosts) < MAX_KNOWN:
                # As a part of an LVM name the device mapper doubles each dash.
                self._hosts |= {known: known, known.replace("-", "--"): known}

    def _learned(self) -> None:
        self._rules = (
            *_BY_SHAPE,
            ("SERIAL", _any_of(self._serials), lambda value: self._serials.get(value.lower())),
            ("HOST", _any_of(self._hosts), lambda value: self._hosts.get(value.lower())),
        )

    def _masked(self, text: str, rules: tuple[Rule, ...]) -> Iterator[str]:
        """What one rule leaves, the next one looks at; none looks at a token."""
        if not rules:
            yield text
            return
        sort, pattern, key_of = rules[0]
        place = 0
        for found in pattern.finditer(text):
            group = found.lastindex or 0
            if (key := key_of(found[group])) is not None:
                yield from self._masked(text[place : found.start(group)], rules[1:])
                yield self._token(sort, key)
                place = found.end(group)
        yield from self._masked(text[place:], rules[1:])

    def _token(self, sort: str, key: str) -> str:
        if (sort, key) not in self._tokens:
            self._counts[sort] = self._counts.get(sort, 0) + 1
            self._tokens[sort, key] = f"{sort}-{self._counts[sort]}"
        return self._tokens[sort, key]


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """The longest first: a full name before its first part. Where there are none, what never matches."""
    ordered = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, ordered)) or '(?!)'})(?![a-z0-9])", re.IGNORECASE | re.ASCII)


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
