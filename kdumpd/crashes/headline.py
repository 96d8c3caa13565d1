# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one line of a kernel log that says why the kernel died."""

import re
from collections.abc import Iterable

PREFIX = re.compile(r"^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])?\s?")
# With kdump armed the oops that kills never reaches "Kernel panic" (arch/x86/kernel/dumpstack.c, oops_end() calls
# crash_kexec() first), so the first fault counts, and a panic line only where there was no fault before it.
FATAL = re.compile(
    r"^(?:BUG: |kernel BUG at |Oops: (?:general protection fault|\w+ error)|general protection fault|divide error|"
    r"watchdog: BUG: soft lockup|(?:NMI )?watchdog: Watchdog detected hard LOCKUP|PANIC: double fault|"
    r"Unable to handle kernel |Internal error: |Kernel panic - not syncing: )"
)
PLACE = re.compile(r"^(?:RIP: 0010:|pc : )([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\w+)\])?")
SYSRQ = "sysrq triggered crash"
# What the kernel was told just before `kdumpd test` crashed it; capture/console.py says who speaks.
TEST = re.compile(r"^kdumpd: test ([0-9a-f]+): ")
# An oops is over after its registers; a RIP that comes later belongs to something else.
PLACE_WITHIN = 40


def find_headline(lines: Iterable[str]) -> str | None:
    """The first fatal line, with the function it happened in when the log names one; None when nothing is fatal."""
    fatal: str | None = None
    after = 0
    for line in lines:
        text = PREFIX.sub("", line.strip())
        if fatal is None:
            fatal = text if FATAL.match(text) else None
            continue
        after += 1
        if place := PLACE.match(text):
            function, module = place.groups()
            return f"{fatal}, in {function}()" + (f" of module {module}" if module else "")
        if after > PLACE_WITHIN or "Kernel panic" in fatal:
            break
    return fatal


def find_test(lines: Iterable[str]) -> str | None:
    """The token of the last `kdumpd test` that this kernel was told of; None when there was none."""
    marks = [mark[1] for line in lines if (mark := TEST.match(PREFIX.sub("", line.strip())))]
    return marks[-1] if marks else None
