# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make picture`: docs/demo.svg, a terminal with what the last `make demo` has told, shortened."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from tests.vm.demo import RECORD

PICTURE = Path(__file__).parents[2] / "docs/demo.svg"
COLUMNS = 108
# Pixels. A monospaced letter is 0.6 as wide as its font is high, or a little more.
FONT, LETTER, LINE, MARGIN, TITLE = 14, 8.5, 20, 24, 40
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
CUT = "…"
# Of a block that is longer: its first lines, and its last; of a log, its last.
LONGEST_BLOCK, FIRST, LAST = 10, 4, 2
LONGEST_TRACE = 4
STYLES = {
    "plain": "#d3d7de",
    "soft": "#7d8794",
    "name": "#6cb6ff",
    "good": "#57c785",
    "bad": "#ff7b72",
    "bold": "#ffffff",
}
PHASE = re.compile(r"(?P<name> *[a-z]+(?: off)?)  (?P<story>\S.*) (?P<took>\d+ s)")
BLOCK = "           | "
KINDS = (
    ("block", re.escape(BLOCK)),
    ("frame", r"  [ ?] [\w.]+$"),
    ("log", r"\[ *\d+\.\d+\]"),
    ("status", r"  (reserved|dump kernel|capture|store|pstore|boot loader|last \w+) {3,}"),
)
# The first part of a line that counts: how it looks.
MARKS = (
    (r"ARMED:", "good"),
    (r"\S+Z: kernel .*", "bold"),
    (r"what to do now:|what was saved, .*|the last lines .*", "bold"),
    (r"\[ *\d+\.\d+\] Kernel panic.*", "bad"),
    (r"all of it took .*", "soft"),
    (r"…", "soft"),
)
Piece = tuple[str, str]


def shortened(lines: Sequence[str]) -> Iterator[str]:
    """What a picture has room for; "…" where something was left out."""
    told = [line.partition("; the console of")[0] for line in lines if not line.lstrip().startswith("guest  ")]
    for kind, group in groupby(told, key=_kind):
        part = list(group)
        match kind:
            case "block" if len(part) > LONGEST_BLOCK:
                yield from (*part[:FIRST], BLOCK + CUT, *part[-LAST:])
            case "frame" if len(part) > LONGEST_TRACE:
                yield from (*part[:LONGEST_TRACE], CUT)
            case "log":
                yield from (CUT, *part[-LAST:])
            case "status":
                # It was there before the crash: only what is new.
                yield from (CUT, *(line for line in part if line.startswith("  last end")), CUT)
            case _:
                yield from part


def _kind(line: str) -> str:
    """What a line is a part of."""
    return next((kind for kind, pattern in KINDS if re.match(pattern, line)), "")


def wrapped(lines: Sequence[str]) -> Iterator[str]:
    """As a terminal of so many columns shows them, but between words."""
    for line in lines:
        yield from textwrap.wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False) or [""]


def pieces(line: str) -> list[Piece]:
    """The parts of a line and the style of each."""
    if line.startswith(BLOCK):
        return [(BLOCK, "soft"), *pieces(line.removeprefix(BLOCK))]
    if found := PHASE.fullmatch(line):
        return [(found["name"], "name"), (f"  {found['story']} ", "plain"), (found["took"], "soft")]
    for mark, style in MARKS:
        if found := re.match(mark, line):
            return [(found[0], style), (line[found.end() :], "plain")]
    return [(line, "plain")]


def draw(record: str) -> str:
    """The picture."""
    lines = list(wrapped(list(shortened(record.strip("\n").split("\n")))))
    width = round(COLUMNS * LETTER) + 2 * MARGIN
    height = TITLE + len(lines) * LINE + MARGIN
    text = "\n".join(_line(number, line) for number, line in enumerate(lines) if line)
    classes = "".join(f".{name}{{fill:{colour}}}" for name, colour in STYLES.items())
    dots = "".join(
        f'<circle cx="{MARGIN + 20 * number}" cy="{TITLE // 2}" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>make demo: a virtual server is installed, armed, crashed, and tells what happened</title>
<style>text{{font:{FONT}px {FONTS};white-space:pre}}.name,.good,.bold,.bad{{font-weight:bold}}{classes}</style>
<rect width="{width}" height="{height}" rx="10" fill="#161b22"/>
<path d="M0 {TITLE}V10a10 10 0 0 1 10-10H{width - 10}a10 10 0 0 1 10 10V{TITLE}z" fill="#21262d"/>
{dots}
<text class="soft" x="{width // 2}" y="{TITLE // 2 + 5}" text-anchor="middle"># make demo</text>
{text}
</svg>
"""


def _line(number: int, line: str) -> str:
    spans = "".join(f'<tspan class="{style}">{escape(text)}</tspan>' for text, style in pieces(line) if text)
    return f'<text xml:space="preserve" x="{MARGIN}" y="{TITLE + MARGIN + number * LINE}">{spans}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(RECORD.read_text()))
    print(f"wrote {PICTURE}")
