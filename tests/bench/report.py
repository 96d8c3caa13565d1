# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/benchmarks.md: figures as tables, in sections that are measured one by one."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HEADER = """\
# Benchmarks

Written by `make bench`; `make bench ARGS=capture` (`daemon`, `crashes`) measures one section and keeps the others. These
machines are shared, and the guest is emulated: what counts are the ratios of one run.
"""
UNKNOWN = "?"


@dataclass(frozen=True)
class Figure:
    """One line of the report. `value` is what kdumpd has, `other` kdump-tools; None is what nothing was measured for.

    `most` is what the ratio may be at most, or, where there is nothing to compare with, the value; `least` what
    the value must be at least. `aim` is what would be better.
    """

    name: str
    value: float | None
    unit: str
    other: float | None = None
    most: float | None = None
    aim: float | None = None
    least: float | None = None
    compared: bool = False

    @property
    def ratio(self) -> float | None:
        return self.value / self.other if self.value is not None and self.other else None

    @property
    def verdict(self) -> str:
        judged = self.ratio if self.compared else self.value
        if self.most is None and self.least is None:
            return ""
        if judged is None:
            return "not measured"
        if self.least is not None:
            return "yes" if judged >= self.least else "**no**"
        if self.aim is not None and judged <= self.aim:
            return "yes, and the aim"
        return "yes" if self.most is None or judged <= self.most else "**no**"

    @property
    def goal(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g} {self.unit}".rstrip()
        if self.most is None:
            return ""
        unit = f" {self.unit}".rstrip() if not self.compared else ""
        aim = "" if self.aim is None else f", aim {self.aim:.2f}"
        return f"≤ {self.most:.2f}{aim}" if self.compared else f"≤ {self.most:g}{unit}{aim}"

    def __str__(self) -> str:
        other = _amount(self.other, self.unit) if self.compared else ""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        return f"| {self.name} | {_amount(self.value, self.unit)} | {other} | {ratio} | {self.goal} | {self.verdict} |"


def _amount(value: float | None, unit: str) -> str:
    return UNKNOWN if value is None else f"{value:.2f} {unit}".rstrip()


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that were measured, None when none was."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def figures_table(figures: Iterable[Figure]) -> list[str]:
    return table(("figure", "kdumpd", "kdump-tools", "ratio", "goal", "met"), map(str, figures))


def table(titles: Sequence[str], rows: Iterable[str]) -> list[str]:
    """The lines of a table, with an empty one after it."""
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows, ""]


def with_sections(report: str, measured: Mapping[str, str], order: Sequence[str]) -> str:
    """`report` with the sections (title -> text) that were measured now; the others stay as they are."""
    _, *parts = re.split(r"^## (.*)\n", report, flags=re.MULTILINE)
    sections = {**dict(zip(parts[::2], parts[1::2], strict=True)), **measured}
    return "\n".join([HEADER, *(f"## {title}\n\n{sections[title].strip()}\n" for title in order if title in sections)])
