# SPDX-License-Identifier: LGPL-2.1-or-later
"""What taints a kernel, in words (Documentation/admin-guide/tainted-kernels.rst, kernel/panic.c)."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdumpd.errors import KdumpdError
from kdumpd.files import read_text

RUNNING = "proc/sys/kernel/tainted"
MODULES = "proc/modules"
HINT = "give the number of /proc/sys/kernel/tainted, or the letters of a log, as in: kdumpd taint 12288; kdumpd taint OE"
# /proc/modules: name size users dependants state address, and the flags where there are any.
_MODULE = re.compile(r"^(\S+) .*\((\w+)[+-]?\)$", re.MULTILINE)


class TaintError(KdumpdError):
    """What was given is no taint."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One taint. `bit` is None for a letter that only another vendor's kernel knows."""

    letter: str
    name: str
    meaning: str
    bit: int | None


FLAGS = tuple(
    Flag(letter, name, meaning, bit)
    for bit, (letter, name, meaning) in enumerate(
        (
            ("P", "PROPRIETARY_MODULE", "a module that is not under the GPL was loaded"),
            ("F", "FORCED_MODULE", "a module was loaded by force"),
            ("S", "CPU_OUT_OF_SPEC", "the processor or the system runs outside of its specification"),
            ("R", "FORCED_RMMOD", "a module was unloaded by force"),
            ("M", "MACHINE_CHECK", "the processor reported a hardware error"),
            ("B", "BAD_PAGE", "a page of memory was in a bad state"),
            ("U", "USER", "a program asked for this taint"),
            ("D", "DIE", "the kernel had an oops or a BUG before"),
            ("A", "OVERRIDDEN_ACPI_TABLE", "an ACPI table was replaced"),
            ("W", "WARN", "the kernel gave a warning before"),
            ("C", "CRAP", "a driver from staging was loaded"),
            ("I", "FIRMWARE_WORKAROUND", "the kernel works around a grave bug of the firmware"),
            ("O", "OOT_MODULE", "a module from outside the kernel's tree was loaded"),
            ("E", "UNSIGNED_MODULE", "a module without a valid signature was loaded"),
            ("L", "SOFTLOCKUP", "a processor was stuck before"),
            ("K", "LIVEPATCH", "the kernel was patched while it ran"),
            ("X", "AUX", "a taint of the distribution's own"),
            ("T", "RANDSTRUCT", "the kernel was built with randomised structures"),
            ("N", "TEST", "a test inside the kernel was run"),
            ("J", "FWCTL", "a program changed a device's firmware state through fwctl"),
        )
    )
)
_BY_LETTER = {flag.letter: flag for flag in FLAGS}
# Red Hat's; all others that FLAGS does not know are kept without a meaning.
_BY_LETTER["H"] = Flag("H", "HARDWARE_UNSUPPORTED", "Red Hat does not support this hardware", None)


@dataclass(frozen=True, kw_only=True)
class Blame:
    """A taint, and the modules that carry it."""

    flag: Flag
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaintReport:
    """The taints of a kernel. `string` is what a log shows, without its blanks at the end; "" is not tainted."""

    string: str
    blames: tuple[Blame, ...] = ()

    @property
    def value(self) -> int:
        """The number that /proc/sys/kernel/tainted would show."""
        return sum(1 << blame.flag.bit for blame in self.blames if blame.flag.bit is not None)

    def to_json(self) -> dict[str, Any]:
        return {
            "string": self.string,
            "value": self.value,
            "flags": [blame.flag.letter for blame in self.blames],
            "explained": [asdict(blame.flag) | {"modules": list(blame.modules)} for blame in self.blames],
        }


def decode_letters(letters: str, modules: Iterable[tuple[str, str]] = ()) -> TaintReport:
    """The taints of a log's "Tainted:"; `modules` are pairs of name and flags."""
    known = list(modules)
    # G: all modules are under the GPL. It holds the place of P, and is no taint.
    found = {_BY_LETTER.get(letter) or Flag(letter, "UNKNOWN", "unknown to kdumpd", None) for letter in letters if letter.isalpha()}
    found = {flag for flag in found if flag.letter != "G"}
    ordered = sorted(found, key=lambda flag: (flag.bit is None, flag.bit or 0, flag.letter))
    return TaintReport(
        string=letters.rstrip(),
        blames=tuple(Blame(flag=flag, modules=tuple(name for name, own in known if flag.letter in own)) for flag in ordered),
    )


def decode_value(value: int, modules: Iterable[tuple[str, str]] = ()) -> TaintReport:
    """The taints of a number, with the string that the kernel would show for it; a bit without a letter becomes "bit N"."""
    letters = "".join(
        flag.letter if value >> bit & 1 else ("G" if flag.letter == "P" else " ") for bit, flag in enumerate(FLAGS) if value
    )
    report = decode_letters(letters, modules)
    unknown = tuple(
        Blame(flag=Flag("?", f"BIT_{bit}", "unknown to kdumpd", bit))
        for bit in range(len(FLAGS), value.bit_length())
        if value >> bit & 1
    )
    return TaintReport(string=report.string, blames=report.blames + unknown)


def decode(text: str) -> TaintReport:
    """The taints of a number or of letters, as somebody typed them.

    Raises:
        TaintError: it is neither.
    """
    given = text.strip().removeprefix("Tainted:").strip()
    if given.lower() == "not tainted":
        return TaintReport(string="")
    if re.fullmatch(r"[0-9]{1,20}|0x[0-9a-fA-F]{1,16}", given) and (value := int(given, 0 if given[:2] == "0x" else 10)) < 1 << 64:
        return decode_value(value)
    if re.fullmatch(r"[A-Z][A-Z ]{0,63}", given):
        return decode_letters(given)
    raise TaintError(f'"{text}" is not a taint: expected a number or capital letters', hint=HINT)


def read_running(root: Path) -> TaintReport:
    """The taints of the kernel that runs now.

    Raises:
        TaintError: /proc does not tell.
    """
    value = (read_text(root / RUNNING) or "").strip()
    if not value.isdigit():
        raise TaintError(f"/{RUNNING} can't be read", hint=HINT)
    return decode_value(int(value), _MODULE.findall(read_text(root / MODULES) or ""))
