# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program in the dump kernel, never for longer than it may take."""

import os
import signal
import subprocess
from dataclasses import dataclass

# Whoever started us may have no PATH at all.
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class SaveError(Exception):
    """Something could not be saved, and why."""


@dataclass(frozen=True)
class Saved:
    """What a step has saved: bytes on the disk, and what there is to say about it."""

    bytes: int
    detail: str = ""


def run(argv: list[str], *, timeout: float, output: int = subprocess.DEVNULL) -> None:
    """Runs one program to its end; what it prints goes to `output`, an open file.

    Raises:
        SaveError: it is missing, failed, or was still running after `timeout` seconds.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace",
            start_new_session=True, env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as problem:
        raise SaveError(f"cannot run {argv[0]}: {problem.strerror}") from problem
    try:
        _, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as problem:
        os.killpg(process.pid, signal.SIGKILL)
        # Not waited for: a process that hangs in the kernel would take us along.
        raise SaveError(f"{argv[0]} was still running after {timeout:.0f} s") from problem
    if process.returncode != 0:
        raise SaveError(f"{argv[0]} failed with {process.returncode}: {' '.join(said.split())[-500:]}")
