# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waits, but not for ever, for what can hang in the kernel: a dead disk, a lost server."""

import threading
from collections.abc import Callable
from typing import TypeVar

from .program import SaveError

Result = TypeVar("Result")


def call(action: Callable[[], Result], *, timeout: float, what: str) -> Result:
    """The result of `action`, which runs in a thread of its own: one that hangs in the kernel can't be killed, only left alone.

    It may still go on afterwards, so it must not change what others read.

    Raises:
        SaveError: it was still running after `timeout` seconds.
        BaseException: what `action` raises.
    """
    results: list[Result] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            results.append(action())
        except BaseException as problem:  # noqa: BLE001 - it is the caller who decides
            problems.append(problem)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(timeout)
    if problems:
        raise problems[0]
    if not results:
        raise SaveError(f"{what} was still hanging after {timeout:.0f} s")
    return results[0]
