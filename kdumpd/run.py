# SPDX-License-Identifier: LGPL-2.1-or-later
"""The only place (besides capture/) that starts other programs."""

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO

from kdumpd.errors import ToolError

STDERR_LINES = 20
# Of what is passed on line by line, in bytes.
LONGEST_LINE = 4096
# What Linux has buffered at most of a program's output (pipe(7)).
PIPE_SIZE = 1 << 16
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
    with _start(words, environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as problem:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise ToolError(f"`{shlex.join(words)}` was still running after {timeout:.0f} s and was killed") from problem
    result = Result(
        argv=words,
        returncode=process.returncode,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )
    if result.returncode != 0:
        raise ToolError(_failure(result), said=result.stderr.strip().partition("\n")[0])
    return result


@dataclass(frozen=True, kw_only=True)
class Said:
    """All that a program printed, up to a limit. `problem` is how it ended, in words, where that was no success."""

    output: bytes
    problem: str = ""


def run_limited(argv: Sequence[str], *, timeout: float, limit: int, typed: str = "") -> Said:
    """Runs one program that may print anything, and `typed` is its standard input: a line or a few, for a pipe must hold it.

    Nothing of it is left running, however this ends.

    Raises:
        ToolError: it is not installed.
    """
    deadline = time.monotonic() + timeout
    with _start(tuple(argv), {}, stdin=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            if process.stdin:
                with contextlib.suppress(BrokenPipeError), process.stdin as keyboard:
                    keyboard.write(typed.encode())
            output = _listen(process.stdout, limit, deadline) if process.stdout else b""
            if len(output) < limit:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
            returncode = process.poll()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if len(output) == limit:
        return Said(output=output, problem=f"cut off after {limit >> 20} MiB")
    if returncode is None:
        return Said(output=output, problem=f"was still running after {timeout:.0f} s and was killed")
    return Said(output=output, problem=_end(returncode) if returncode else "")


def _listen(program: IO[bytes], limit: int, deadline: float) -> bytes:
    heard = bytearray()
    while len(heard) < limit and select.select([program], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(program.fileno(), min(1 << 16, limit - len(heard)))
        if not piece:
            break
        heard += piece
    return bytes(heard)


def run_aloud(
    argv: Sequence[str | os.PathLike[str]], *, timeout: float, environment: Mapping[str, str], say: Callable[[str], None]
) -> str:
    """Runs one program to its end, and says each line that it prints, as it comes. Nothing of its process group outlives it.

    Returns how it ended, in words; "" is success.

    Raises:
        ToolError: it can't be run.
    """
    with _start(
        tuple(os.fspath(word) for word in argv), environment, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        try:
            in_time = _say_lines(process, time.monotonic() + timeout, say)
        finally:
            # Before it is waited for: until then no other group can have its number.
            os.killpg(process.pid, signal.SIGKILL)
    if not in_time:
        return f"was still running after {timeout:.0f} s and was killed"
    return _end(process.returncode) if process.returncode else ""


def find_program(name: str) -> str | None:
    """The path of a program, or None when it is not installed."""
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    # An unprivileged user has no sbin in PATH; a test has its stubs in front of it.
    return f"{os.environ['PATH']}:{SYSTEM_PATH}" if os.environ.get("PATH") else SYSTEM_PATH


def _start(words: tuple[str, ...], environment: Mapping[str, str], *, stdin: int, stderr: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={"PATH": _search_path(), "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
        )
    except OSError as problem:
        raise ToolError(
            f'cannot run "{words[0]}": {problem.strerror}', hint=f"install the package that has {words[0]}"
        ) from problem
    except ValueError as problem:
        # A NUL, or half a character, out of a damaged file.
        raise ToolError(f'cannot run "{words[0]}" with these arguments: {problem}') from problem


def _say_lines(process: "subprocess.Popen[bytes]", deadline: float, say: Callable[[str], None]) -> bool:
    """Whether the program has ended in time. What it has left running in the background is not waited for."""
    output, ended = process.stdout, os.pidfd_open(process.pid)
    listening, ready, unsaid = [output], list[object](), b""
    try:
        while ended not in ready and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([*listening, ended], [], [], left)
            if output and output in ready:
                piece = os.read(output.fileno(), PIPE_SIZE)
                listening = [output] if piece else []
                *lines, unsaid = (unsaid + piece).split(b"\n")
                for line in lines:
                    say(_cut(line).decode(errors="replace"))
                unsaid = _cut(unsaid)
    finally:
        os.close(ended)
    if unsaid:
        say(unsaid.decode(errors="replace"))
    return ended in ready


def _cut(line: bytes) -> bytes:
    return line[:LONGEST_LINE]


def _end(returncode: int) -> str:
    if returncode < 0:
        named = [number.name for number in signal.Signals if number == -returncode]
        return f"was killed by {named[0] if named else f'signal {-returncode}'}"
    return f"failed with exit code {returncode}"


def _failure(result: Result) -> str:
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-STDERR_LINES:]
    return "\n".join([f"`{shlex.join(result.argv)}` {_end(result.returncode)}", *(f"    {line}" for line in said)])
