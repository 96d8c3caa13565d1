# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes …`: what looks at all crashes is here, what looks into one is loaded when it is asked for."""

import argparse
import importlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kdumpd.crashes.archive import capture_stores
from kdumpd.crashes.index import Entry, list_entries
from kdumpd.errors import ExitCode, KdumpdError
from kdumpd.host.layout import ROOT
from kdumpd.terminal import harmless

AGO = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(rf"(\d{{1,6}})({'|'.join(AGO)})")
ELSEWHERE = {
    "show": "crash_show",
    "parse": "crash_show",
    "log": "crash_files",
    "export": "crash_files",
    "rm": "crash_files",
    "analyse": "analyse",
}


def run(arguments: argparse.Namespace) -> ExitCode:
    here: dict[str, Callable[[argparse.Namespace], ExitCode]] = {"list": _list, "stats": _stats}
    if arguments.action in here:
        return here[arguments.action](arguments)
    code: ExitCode = importlib.import_module(f"kdumpd.cli.{ELSEWHERE[arguments.action]}").run(arguments)
    return code


def _list(arguments: argparse.Namespace) -> ExitCode:
    stores = capture_stores(ROOT)
    since = parse_since(arguments.since, datetime.now(UTC)) if arguments.since else ""
    entries = list_entries(ROOT, stores)
    chosen = [entry for entry in entries if entry.time >= since and (entry.signature or "").startswith(arguments.signature)]
    if arguments.json:
        print(json.dumps([entry.to_json() for entry in chosen], indent=2))
    elif not chosen:
        print(f"none of {len(entries)} crashes is like that" if entries else f"no crashes in {', '.join(stores)}")
    else:
        print("\n".join(map(_lines, chosen)))
    return ExitCode.OK


def _lines(entry: Entry) -> str:
    return f"{entry.time}  {harmless(entry.verdict)}\n                      {entry.log or entry.folder}"


def parse_since(text: str, now: datetime) -> str:
    """A time as crashes have it, of a day, a time, or of how long ago.

    Raises:
        KdumpdError: it is none of these.
    """
    try:
        if ago := _AGO.fullmatch(text):
            when = now - timedelta(**{AGO[ago[2]]: int(ago[1])})
        else:
            when = datetime.fromisoformat(text)
            when = when.astimezone(UTC) if when.tzinfo else when
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise KdumpdError(
            f'"{text}" is not a time: expected a day, a time (UTC), or how long ago',
            hint="as in --since 2026-11-22, --since 2026-11-22T03:04:05Z, --since 7d, --since 12h",
        ) from None


def _stats(arguments: argparse.Namespace) -> ExitCode:
    # Not for a list: nothing there is counted.
    from kdumpd.crashes.statistics import count_signatures  # noqa: PLC0415

    stores = capture_stores(ROOT)
    entries = list_entries(ROOT, stores)
    found = count_signatures(entries)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
        return ExitCode.OK
    if not entries:
        print(f"no crashes in {', '.join(stores)}")
    for group in found.groups:
        print(f"{group.count:>6}  {group.share:>4.0%}  {harmless(group.signature)}")
        print(f"              {harmless(group.title)}")
        print(f"              first {group.first}, last {group.last}")
    if found.by_hand:
        print(f"{found.by_hand:>6}        by hand: tests and SysRq")
    if found.unknown:
        print(f"{found.unknown:>6}        of which nothing is known: without a log, or for root only")
    return ExitCode.OK
