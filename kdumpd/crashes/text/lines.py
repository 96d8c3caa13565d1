# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lines of a log that tell of a fault, found in bytes, without what a log daemon or the console put before them."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from kdumpd.terminal import UNSEEN

# More than a record of the kernel's log can hold, and the longest list of modules.
MAX_LINE = 16 << 10
# One of these is in every line that begins something. Searching a block of bytes for each is many times faster than to look
# at each line: a kernel's log is nearly all of lines that say nothing of a fault.
MARKS = (
    b"BUG",
    b"[#",
    b"nable to handle",
    b"general protection",
    b"#PF: ",
    b" pgd=",
    b"Call Trace:",
    b"Call trace:",
    b"pc : ",
    b" state:D",
    b"WARNING: ",
    b"cut here ]-",
    b"Kernel panic",
    b"PANIC: ",
    b"hard LOCKUP",
    b"INFO: task ",
    b"INFO: rcu",
    b"Linux version ",
    b"elfcorehdr=",
    b"Hardware Error]",
    b"EDAC ",
    b"AER: ",
    b"ut of memory",
    b"Dumping ftrace ",
    b"DMI: ",
    b"UBSAN",
    b"RIP: 0010:",
    b" Comm: ",
    b"SError",
    b"exception on CPU",
    b"Insufficient stack",
    b"kdumpd: test ",
)

# What may stand before the kernel's own words, in any order that a log daemon found good.
_FAST = re.compile(
    r"(?:<(?P<level>\d{1,3})>)?\[ *(?P<seconds>\d{1,12}\.\d{1,9})\](?:\[ *(?P<caller>[TC]\d{1,10})\])?"
    r" (?!(?:\S+ )?kernel: | *\[ *[TC]?\d| *\(\d+\)\[)"
)
_CLOCK = r"(?P<{}>\d\d:\d\d:\d\d)(?:[.,]\d{{1,9}})?"
_PREFIX = re.compile(
    r"<(?P<level>\d{1,3})>"
    r"|\[ *(?P<seconds>\d{1,12}\.\d{1,9})(?:@\d+)?(?: *<[ \d.+]+>| / [\d:. -]{1,40})?\]"
    r"|\[ *(?P<caller>[TC]\d{1,10})\]"
    # `dmesg -T`, `dmesg -H`, and the programs that keep what a serial console says
    rf"|\[(?:[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d |\d{{4}}-\d\d-\d\d[T ])?{_CLOCK.format('clock1')}"
    r"(?: \d{4}|Z|[+-]\d\d:?\d\d)?\]"
    r"|\[(?:[A-Z][a-z]{2} ?\d\d? \d\d:\d\d| *\+\d{1,12}\.\d{6})\]"
    # /dev/kmsg and netconsole: level, number, microseconds, flags; netconsole can put the release before them (6.6)
    r"|(?:\d\.[\w.+-]{2,64},)?(?P<priority>\d{1,4}),\d{1,20},(?P<micros>\d{1,18}),[^;]{0,80};"
    # `dmesg -x`
    r"|[a-z]{3,8} *:[a-z]{3,7} *: "
    # syslog and journald, with the month in any language; `journalctl` with -o short-monotonic, short-full, and short-unix; OpenWrt
    rf"|(?:\d+ |[A-Z][a-z]{{2}} )?(?:(?:[^\s:\[<]{{2,12}} (?P<day1>[ \d]\d) {_CLOCK.format('clock2')}"
    rf"|\d{{4}}-\d\d-(?P<day2>\d\d)[T ]{_CLOCK.format('clock3')}(?:Z|[+-]\d\d:?\d\d)?)(?: \d{{4}}(?= )| [A-Z]{{3,5}}(?= ))?"
    r"|\d{9,10}\.\d{6}) (?:\d{1,3}(?:\.\d{1,3}){3} )?"
    r"|(?:[\w.:/()-]{1,255} ){0,2}kernel(?:\[\d+\])?(?:: ?| [-\d]+ - - )"
    # `journalctl -o export` and -o verbose
    r"|MESSAGE="
    # The processor and the thread, as makers of telephones have them
    r"|\[\d{1,3}: [^\]]{1,40}: *\d{1,10}\]|\[\d{1,3}\]\[\d{1,10}\]\[[^\]]{1,16}\]|\(\d{1,3}\)\[\d{1,10}:[^\]]{0,40}\]"
    # A letter that quotes
    r"|(?:> ?){1,20}"
)
# Anything at all, and then what only printk writes: the console of another system, or another one's log, passed on.
_FOREIGN = re.compile(r".{0,160}?(?:<\d{1,3}>)?(?=\[ *\d{1,12}\.\d{6}\])")
# A serial console's colours, the level that stands inside a record (include/linux/kern_levels.h), and what else can't be seen.
_UNSEEN = re.compile(rf"\x1b\[[0-9;]{{0,16}}m|\x01[0-7cd]|[{UNSEEN}]")


@dataclass(frozen=True, slots=True)
class Line:
    """What the kernel said. `seconds` of uptime, who said it (`T` thread, `C` CPU), and how grave it is, where the log tells.

    `level` is 0 for an emergency, 4 for a warning, 7 for what only a developer reads (include/linux/kern_levels.h).
    `clock`: what a log daemon's clock showed, in seconds of the month. `cut`: the log ends in it.
    """

    text: str
    seconds: float | None
    caller: str | None
    offset: int
    level: int | None = None
    clock: int | None = None
    cut: bool = False


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
    seconds, caller, level, clock, start = None, None, None, None, 0
    while prefix := _PREFIX.match(line, start):
        if prefix["seconds"]:
            seconds = float(prefix["seconds"])
        elif prefix["micros"]:
            seconds = int(prefix["micros"]) / 1e6
        caller = prefix["caller"] or caller
        level = level or prefix["level"] or prefix["priority"]
        clock = clock or _clock(prefix)
        start = prefix.end()
        while line[start : start + 1] == " ":
            start += 1
    return Line(line[start:].strip(), seconds, caller, offset, _level(level), clock)


def _clock(prefix: re.Match[str]) -> int | None:
    """Seconds of the month, or of the day where the date is not known."""
    time = prefix["clock1"] or prefix["clock2"] or prefix["clock3"]
    if time is None:
        return None
    hours, minutes, seconds = (int(part) for part in time.split(":"))
    return ((int(prefix["day1"] or prefix["day2"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


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
    for line in _find_in(rest, len(rest), offset, attentive):
        yield replace(line, cut=True)


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
