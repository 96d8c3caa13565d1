# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a check says: one thing that holds or does not, and the way out."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """`warn`: a dump works without it, but something is not as it should be, or could not be seen."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`way_out` is None where all is well."""

    verdict: Verdict
    subject: str
    fact: str
    way_out: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ok(subject: str, fact: str) -> Finding:
    """All is well."""
    return Finding(verdict=Verdict.OK, subject=subject, fact=fact)


def warn(subject: str, fact: str, way_out: str) -> Finding:
    """A dump works, but."""
    return Finding(verdict=Verdict.WARN, subject=subject, fact=fact, way_out=way_out)


def fail(subject: str, fact: str, way_out: str) -> Finding:
    """No dump works."""
    return Finding(verdict=Verdict.FAIL, subject=subject, fact=fact, way_out=way_out)
