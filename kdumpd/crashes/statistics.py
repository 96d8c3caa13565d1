# SPDX-License-Identifier: LGPL-2.1-or-later
"""How often a crash has happened: it, and each other of its signature."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdumpd.crashes.index import Entry

# Somebody asked for it.
BY_HAND = "sysrq"


@dataclass(frozen=True, kw_only=True)
class Group:
    """All crashes of one signature; `title` is the latest one's, `share` is of all that nobody asked for."""

    signature: str
    title: str
    count: int
    share: float
    first: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """`by_hand` are tests and crashes by SysRq; `unknown` are those of which no log tells what they were."""

    groups: tuple[Group, ...] = ()
    by_hand: int = 0
    unknown: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the archive has of one signature, up to one crash and that included: how many, and the first and the one before."""

    signature: str
    count: int
    first: str
    before: str | None
    others: int


def count_signatures(entries: Sequence[Entry]) -> Statistics:
    """The most frequent first; `entries` are the oldest first."""
    faults = [entry for entry in entries if entry.signature and not is_by_hand(entry)]
    by_signature: dict[str, list[Entry]] = {}
    for entry in faults:
        by_signature.setdefault(str(entry.signature), []).append(entry)
    groups = (
        Group(
            signature=signature,
            title=same[-1].title or "",
            count=len(same),
            share=len(same) / len(faults),
            first=same[0].time,
            last=same[-1].time,
        )
        for signature, same in by_signature.items()
    )
    by_hand = sum(map(is_by_hand, entries))
    return Statistics(
        groups=tuple(sorted(groups, key=lambda group: -group.count)),
        by_hand=by_hand,
        unknown=len(entries) - len(faults) - by_hand,
    )


def is_by_hand(entry: Entry) -> bool:
    """Whether somebody crashed the machine on purpose."""
    return entry.test is not None or entry.kind == BY_HAND


def seen_before(crash_id: str, signature: str | None, entries: Iterable[Entry]) -> Seen | None:
    """None for a crash without a signature; `entries` are the oldest first."""
    if signature is None:
        return None
    known = list(entries)
    place = next((number for number, entry in enumerate(known) if entry.id == crash_id), len(known))
    earlier = [entry for entry in known[:place] if entry.signature == signature]
    own = known[place].time if place < len(known) else ""
    return Seen(
        signature=signature,
        count=len(earlier) + 1,
        first=earlier[0].time if earlier else own,
        before=earlier[-1].time if earlier else None,
        others=max(0, len(known) - 1),
    )
