# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells the journal how `kdumpd test` went."""

from pathlib import Path

from kdumpd.crashes.selftest import TestResult, conclude_test
from kdumpd.daemon.journal import Event, event


def report_test(root: Path) -> TestResult | None:
    """Judges a test that ended in this boot and tells of it, once.

    Raises:
        OSError: the result could not be put on record; the next call tries again.
    """
    result = conclude_test(root)
    if result and result.passed:
        event(Event.TEST_PASSED, f"kdumpd test {result.verdict}", folder=str(result.folder))
    elif result:
        event(Event.TEST_FAILED, f"kdumpd test {result.verdict}; way out: {result.way_out}", reason=result.reason)
    return result
