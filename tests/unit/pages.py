# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the sources of the manual pages, docs/*.scd, which are for scdoc(1)."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Section:
    """What is below a heading, up to the next one of any level. `chapter` is the heading of the first level that it is in."""

    heading: str
    chapter: str
    text: str

    @property
    def paragraphs(self) -> list[str]:
        """As a reader sees them, each in one line; a literal block is one too."""
        return [plain(" ".join(part.split())) for part in re.split(r"\n\s*\n", self.text)]

    @property
    def literal_blocks(self) -> list[str]:
        return [re.sub(r"\\(.)", r"\1", block) for block in re.findall(r"^```\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)]

    @property
    def terms(self) -> list[str]:
        """What is explained by a paragraph that is indented below it."""
        return [plain(line) for line in re.findall(r"^(\S.*)\n\t", self.text, re.MULTILINE)]

    def label(self, name: str) -> str:
        """What a paragraph says after "*name:*"."""
        found = re.search(rf"^\*{name}:\*(.*(?:\n.+)*)", self.text, re.MULTILINE)
        assert found, f'{self.heading} has no "{name}:"'
        return plain(" ".join(found[1].split()))

    def after(self, name: str) -> "Section":
        """The part of it that begins with "*name:*"."""
        _, label, rest = self.text.partition(f"\n*{name}:*\n")
        assert label, f'{self.heading} has no "{name}:"'
        return replace(self, text=rest)


def plain(text: str) -> str:
    """Without the marks for bold and underlined; an underscore inside a word is none."""
    unmarked = re.sub(r"(?<!\\)\*|(?<![\\A-Za-z0-9])_|(?<!\\)_(?![A-Za-z0-9])", "", text)
    return re.sub(r"\\(.)", r"\1", unmarked)


def read_page(name: str) -> list[Section]:
    """All sections of docs/NAME.scd."""
    return sections((DOCS / f"{name}.scd").read_text())


def sections(source: str) -> list[Section]:
    """In a literal block nothing is a heading: a root's prompt looks like one."""
    found: list[Section] = []
    literal = False
    for line in source.splitlines(keepends=True):
        literal ^= line == "```\n"
        marks, _, heading = line.rstrip().partition(" ")
        if marks in ("#", "##") and not literal:
            chapter = heading if marks == "#" else found[-1].chapter
            found.append(Section(heading, chapter, ""))
        elif found:
            found[-1] = replace(found[-1], text=found[-1].text + line)
    return found


def section(page: list[Section], heading: str) -> Section:
    return next(one for one in page if one.heading == heading)
