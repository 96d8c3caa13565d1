# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells the journal how `kdumpd test` went."""

from pathlib import Path

from kdumpd.crashes.selftest import TestResult, conclude_test
from kdumpd.daemon.journal import Priority, log


def report_test(root: Path) -> TestResult | None:
    """Judges a test that ended in this boot and tells of it, once.

    Raises:
        OSError: the result could not be put on record; the next call tries again.
    """
    result = conclude_test(root)
    if result:
        way_out = "" if result.passed else f"; way out: {result.way_out}"
        log(Priority.NOTICE if result.passed else Priority.ERROR, f"kdumpd test {result.verdict}{way_out}")
    return result
