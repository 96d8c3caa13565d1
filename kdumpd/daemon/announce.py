# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells of a crash that nobody was told of: an event and a line in the journal, and the programs in notify.d."""

from pathlib import Path

from kdumpd.crashes.archive import Crash
from kdumpd.crashes.notifiers import find_notifiers, start_notifiers
from kdumpd.daemon.journal import Event, Priority, event, log
from kdumpd.daemon.told import known
from kdumpd.errors import KdumpdError, in_words


def announce(crash: Crash, seen: int, root: Path) -> None:
    """`seen` is how many crashes have the signature of this one, itself included."""
    name = crash.folder.name
    told = crash.report.told if crash.report else None
    what = "this machine crashed" if told is None or told.fatal else "the kernel of this machine had a fault"
    event(Event.CRASH_FOUND, f"{what} at {crash.time}: {crash.verdict}", **_fields(crash, seen))
    saved = f"the log is safe: {crash.log}" if crash.log else f"what is left: {crash.folder}"
    log(Priority.NOTICE, f"{saved}; what happened: kdumpd crashes show {name}")
    try:
        if find_notifiers(root):
            start_notifiers(crash)
    except (KdumpdError, OSError) as problem:
        log(Priority.WARNING, f"nobody was notified of this crash: {in_words(problem)}\nby hand: kdumpd notify {name}")


def _fields(crash: Crash, seen: int) -> dict[str, str]:
    """The catalogue speaks of `where` and `seen`, and so every event has them, in words."""
    return {
        "id": crash.folder.name,
        "time": crash.time,
        "headline": crash.verdict,
        "folder": str(crash.folder),
        "where": _where(crash),
        "seen": _seen(crash, seen),
        **known(crash),
    }


def _where(crash: Crash) -> str:
    told = crash.report.told if crash.report else None
    if told is None or told.function is None:
        return "where in the kernel is not known"
    return f"in {told.function}()" + (f" of module {told.module}" if told.module else "")


def _seen(crash: Crash, seen: int) -> str:
    if crash.signature is None:
        return "whether this has happened before is not known"
    return "this has not happened before" if seen == 1 else f"this has happened {seen} times"
