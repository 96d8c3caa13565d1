# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lines of a log that tell of a fault, found in bytes, without what a log daemon or the console put before them."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

# More than a record of the kernel's log can hold, and the longest list of modules.
MAX_LINE = 16 << 10
# One of these is in every line that begins something. Searching a block of bytes for each is many times faster than to look
# at each line: a kernel's log is nearly all of lines that say nothing of a fault.
MARKS = (
    b"BUG",
    b"[#",
    b"nable to handle kernel",
    b"WARNING: ",
    b"cut here ]",
    b"Kernel panic",
    b"PANIC: ",
    b"hard LOCKUP",
    b"blocked for more than",
    b"blocked in I/O",
    b"detected stall",
    b"expedited stall",
    b"Linux version ",
    b"elfcorehdr=",
    b"Hardware Error]",
    b"EDAC ",
    b"AER: ",
    b"ut of memory",
    b"Dumping ftrace ",
    b"DMI: ",
    b"UBSAN: ",
    b"RIP: 0010:",
    b" Comm: ",
    b"SError",
    b"Insufficient stack",
    b"kdumpd: test ",
)

# What may stand before the kernel's own words, in any order that a log daemon found good.
_FAST = re.compile(
    r"(?:<(?P<level>\d{1,3})>)?\[ *(?P<seconds>\d{1,12}\.\d{1,9})\](?:\[ *(?P<caller>[TC]\d{1,10})\])?"
    r" (?!(?:\S+ )?kernel: |\[ *[TC]\d)"
)
_PREFIX = re.compile(
    r"<(?P<level>\d{1,3})>"
    r"|\[ *(?P<seconds>\d{1,12}\.\d{1,9})(?:@\d+)?(?: *<[ \d.+]+>)?\]"
    r"|\[ *(?P<caller>[TC]\d{1,10})\]"
    # `dmesg -T`
    r"|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}\]"
    # /dev/kmsg and netconsole: level, number, microseconds, flags
    r"|(?P<priority>\d{1,4}),\d{1,20},(?P<micros>\d{1,18}),[^;]{0,80};"
    # `dmesg -x`
    r"|[a-z]{3,8} *:[a-z]{3,7} *: "
    # syslog and journald, and `journalctl -o short-monotonic`
    r"|(?:\d+ )?(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}(?:\.\d+)?|\d{4}-\d\d-\d\d[T ][\d:.,]{8,20}(?:Z|[+-]\d\d:?\d\d)?) "
    r"|(?:[\w.:-]{1,255} )?kernel(?:\[\d+\])?: ?"
)
# Anything at all, and then what only printk writes: the console of another system, or another one's log, passed on.
_FOREIGN = re.compile(r"[^\[]{0,160}?(?:<\d{1,3}>)?(?=\[ *\d{1,12}\.\d{6}\])")
# A serial console's colours, and what else can't be seen.
_UNSEEN = re.compile(r"\x1b\[[0-9;]{0,16}m|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Line:
    """What the kernel said. `seconds` of uptime, who said it (`T` thread, `C` CPU), and how grave it is, where the log tells.

    `level` is 0 for an emergency, 4 for a warning, 7 for what only a developer reads (include/linux/kern_levels.h).
    """

    text: str
    seconds: float | None
    caller: str | None
    offset: int
    level: int | None = None


def parse_line(raw: bytes, offset: int = 0) -> Line:
    """One line, without its prefixes."""
    line = raw[:MAX_LINE].decode("utf-8", "replace")
    if _UNSEEN.search(line):
        line = _UNSEEN.sub("", line)
    if fast := _FAST.match(line):
        return Line(line[fast.end() :].strip(), float(fast["seconds"]), fast["caller"], offset, _level(fast["level"]))
    if foreign := _FOREIGN.match(line):
        line = line[foreign.end() :]
    line = line.lstrip()
    seconds, caller, level, start = None, None, None, 0
    while prefix := _PREFIX.match(line, start):
        if prefix["seconds"]:
            seconds = float(prefix["seconds"])
        elif prefix["micros"]:
            seconds = int(prefix["micros"]) / 1e6
        caller = prefix["caller"] or caller
        level = level or prefix["level"] or prefix["priority"]
        start = prefix.end()
        while line[start : start + 1] == " ":
            start += 1
    return Line(line[start:].strip(), seconds, caller, offset, _level(level))


def _level(priority: str | None) -> int | None:
    """Of syslog's number, which has the facility in its upper bits."""
    return int(priority) & 7 if priority else None


def find_lines(pieces: Iterable[bytes], attentive: Callable[[], bool]) -> Iterator[Line]:
    """Lines with a mark, and every line for as long as `attentive` says so. `pieces` are cut anywhere."""
    rest, offset = b"", 0
    for piece in pieces:
        text = rest + piece
        end = text.rfind(b"\n") + 1
        if not end and len(text) > MAX_LINE:
            end = len(text)
        yield from _find_in(text, end, offset, attentive)
        rest, offset = text[end:], offset + end
    yield from _find_in(rest, len(rest), offset, attentive)


def _find_in(text: bytes, end: int, offset: int, attentive: Callable[[], bool]) -> Iterator[Line]:
    """The lines in `text` up to `end`, where a line ends."""
    position = 0
    marked = _marks_in(text, end)
    while position < end:
        if not attentive():
            hit = marked(position)
            if hit < 0:
                return
            position = text.rfind(b"\n", position, hit) + 1 or position
        stop = text.find(b"\n", position, end)
        stop = end if stop < 0 else stop
        yield parse_line(text[position : min(stop, position + MAX_LINE)], offset + position)
        position = stop + 1


def _marks_in(text: bytes, end: int) -> Callable[[int], int]:
    """A function that finds the first mark at or after a position; each mark is searched for only once in each stretch."""
    ahead = dict.fromkeys(MARKS, -1)

    def first(position: int) -> int:
        for mark in [mark for mark, place in ahead.items() if place < position]:
            place = text.find(mark, position, end)
            if place < 0:
                del ahead[mark]
            else:
                ahead[mark] = place
        return min(ahead.values(), default=-1)

    return first
