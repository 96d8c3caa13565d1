# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program in the dump kernel, never for longer than it may take."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

# Whoever started us may have no PATH at all.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class SaveError(Exception):
    """Something could not be saved, and why."""


class Saved(NamedTuple):
    """What a step has saved: bytes on the disk, and what there is to say about it."""

    bytes: int
    detail: str = ""


def run(argv: list[str], *, timeout: float, output: int = subprocess.DEVNULL) -> None:
    """Runs one program to its end; what it prints goes to `output`, an open file.

    Raises:
        SaveError: it is missing, failed, or was still running after `timeout` seconds.
    """
    process = _start(argv, stdout=output, stderr=subprocess.PIPE)
    try:
        _, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as problem:
        raise _killed(process, argv, timeout) from problem
    if process.returncode != 0:
        raise SaveError(f"{argv[0]} failed with {process.returncode}: {' '.join(said.decode(errors='replace').split())[-500:]}")


def follow(argv: list[str], *, timeout: float, on_output: Callable[[bytes], None]) -> int:
    """Runs one program to its end, hands over all that it says while it says it, and returns its exit status.

    Raises:
        SaveError: it is missing, or was still running after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    reading, writing = os.pipe()
    try:
        try:
            process = _start(argv, stdout=writing, stderr=writing)
        finally:
            os.close(writing)
        while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            said = os.read(reading, 1 << 16)
            if not said:
                break
            on_output(said)
    finally:
        os.close(reading)
    try:
        return process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as problem:
        raise _killed(process, argv, timeout) from problem


def _start(argv: list[str], *, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            start_new_session=True, env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as problem:
        raise SaveError(f"cannot run {argv[0]}: {problem.strerror}") from problem


def _killed(process: subprocess.Popen[bytes], argv: list[str], timeout: float) -> SaveError:
    os.killpg(process.pid, signal.SIGKILL)
    # Not waited for: a process that hangs in the kernel would take us along.
    return SaveError(f"{argv[0]} was still running after {timeout:.0f} s")
