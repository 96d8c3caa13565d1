# SPDX-License-Identifier: LGPL-2.1-or-later
"""Charts as SVG for a page of HTML: no text of a log, no colour and no script in them. Colours come by class from the page.

Places along the width are per cent, so that a chart is as wide as its column while its letters keep their size.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from kdumpd.crashes.timeline import SPAN, Event, Sort

_Sort = TypeVar("_Sort", bound=StrEnum)
# How long an axis may be in seconds, and into how many parts it is divided.
_AXES = (
    (0.01, 5), (0.02, 4), (0.05, 5), (0.1, 5), (0.2, 4), (0.5, 5), (1.0, 5), (2.0, 4), (5.0, 5), (10.0, 5),
    (15.0, 3), (30.0, 3), (60.0, 4), (120.0, 4), (SPAN, 5),
)  # fmt: skip
_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
MINUS = "\N{MINUS SIGN}"
# Pixels.
_LANE, _AXIS, _BAR = 40, 28, 36
# Per cent that stay free on both sides, for half a dot.
_EDGE = 1.5


def css_class(sort: StrEnum) -> str:
    """What the page calls the colour of a sort."""
    return sort.name.lower()


def span_text(seconds: float) -> str:
    """A time for people: its two largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s".replace(".0 ", " ")
    size, unit, part, smaller = next(units for units in _UNITS if seconds >= units[0])
    whole, rest = divmod(round(seconds), size)
    return f"{whole} {unit} {rest // part} {smaller}" if rest >= part else f"{whole} {unit}"


def draw_timeline(events: Iterable[Event]) -> str:
    """A lane for each sort of event, to the end of the log at the right; "" when no event has a time."""
    timed = [event for event in events if event.before is not None]
    if not timed:
        return ""
    longest = max(event.before or 0 for event in timed)
    span, parts = next((axis for axis in _AXES if axis[0] >= longest), _AXES[-1])
    lanes = [sort for sort in Sort if any(event.sort is sort for event in timed)]
    drawn = [_axis(span, parts, len(lanes) * _LANE)]
    for number, sort in enumerate(lanes):
        drawn += _lane(sort, [event for event in timed if event.sort is sort], number * _LANE, span)
    label = f"The last {span_text(span)} of the log, a lane for each sort of event"
    return _svg("".join(drawn), len(lanes) * _LANE + _AXIS, label)


def draw_bar(parts: Mapping[_Sort, int], label: str) -> str:
    """One bar, divided as the numbers are."""
    whole, drawn, left = sum(parts.values()), [], 0.0
    for sort, number in parts.items():
        width = 100 * number / whole
        drawn.append(f'<rect class="{css_class(sort)}" x="{left:.3f}%" y="0" width="{width:.3f}%" height="{_BAR}"/>')
        left += width
    return _svg("".join(drawn), _BAR, label)


def _axis(span: float, parts: int, bottom: int) -> str:
    drawn = [_line("axis", 0, bottom, 100, bottom)]
    for number in range(parts + 1):
        place = _place(span * number / parts, span)
        text = f"{MINUS}{span_text(span * number / parts)}" if number else "end"
        anchor = "end" if number == 0 else "start" if number == parts else "middle"
        # A narrow page shows some of the labels only.
        sort = "tick minor" if number != parts and (number % 2 or number == parts - 1) else "tick"
        x = {"end": 100.0, "start": 0.0, "middle": place}[anchor]
        drawn.append(_line("end" if number == 0 else "grid", place, 0, place, bottom))
        drawn.append(f'<text class="{sort}" x="{x:.2f}%" y="{bottom + 19}" text-anchor="{anchor}">{text}</text>')
    return "".join(drawn)


def _lane(sort: Sort, events: Sequence[Event], top: int, span: float) -> list[str]:
    middle = top + _LANE - 13
    drawn = [f'<text class="lane" x="0" y="{top + 14}">{sort}</text>']
    for event in events:
        first, last = _place(event.before or 0, span), _place(event.until or 0, span)
        if last - first > 1:
            drawn.append(_line(f"burst {css_class(sort)}", first, middle, last, middle))
        drawn.append(f'<circle class="{css_class(sort)}" cx="{last:.2f}%" cy="{middle}" r="5"/>')
    return drawn


def _place(before: float, span: float) -> float:
    return _EDGE + (100 - 2 * _EDGE) * (1 - min(before, span) / span)


def _line(css: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{css}" x1="{x1:.2f}%" y1="{y1}" x2="{x2:.2f}%" y2="{y2}"/>'


def _svg(drawn: str, height: int, label: str) -> str:
    return f'<svg role="img" aria-label="{label}" width="100%" height="{height}">{drawn}</svg>'
