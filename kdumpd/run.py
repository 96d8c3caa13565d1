# SPDX-License-Identifier: LGPL-2.1-or-later
"""The only place (besides capture/) that starts other programs."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kdumpd.errors import ToolError

STDERR_LINES = 20
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a program ended and what it printed."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(argv: Sequence[str | os.PathLike[str]], *, timeout: float, environment: Mapping[str, str] = MappingProxyType({})) -> Result:
    """Runs one program to its end, in a session of its own, with a small environment and no standard input.

    Raises:
        ToolError: it is not installed, ended with a code other than 0, or was still running after
            `timeout` seconds, in which case everything that it started was killed.
    """
    words = tuple(os.fspath(word) for word in argv)
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={"PATH": _search_path(), "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
        )
    except OSError as problem:
        raise ToolError(
            f'cannot run "{words[0]}": {problem.strerror}', hint=f"install the package that has {words[0]}"
        ) from problem
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as problem:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise ToolError(f"`{shlex.join(words)}` was still running after {timeout:.0f} s and was killed") from problem
    result = Result(argv=words, returncode=process.returncode, stdout=stdout, stderr=stderr)
    if result.returncode != 0:
        raise ToolError(_failure(result), said=result.stderr.strip().partition("\n")[0])
    return result


def find_program(name: str) -> str | None:
    """The path of a program, or None when it is not installed."""
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    # An unprivileged user has no sbin in PATH; a test has its stubs in front of it.
    return f"{os.environ['PATH']}:{SYSTEM_PATH}" if os.environ.get("PATH") else SYSTEM_PATH


def _failure(result: Result) -> str:
    if result.returncode < 0:
        end = f"was killed by {signal.Signals(-result.returncode).name}"
    else:
        end = f"failed with exit code {result.returncode}"
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-STDERR_LINES:]
    return "\n".join([f"`{shlex.join(result.argv)}` {end}", *(f"    {line}" for line in said)])
