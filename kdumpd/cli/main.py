# SPDX-License-Identifier: LGPL-2.1-or-later
"""The only place that turns an error into words on a terminal and an exit code."""

import importlib
import io
import os
import sys
from collections.abc import Sequence

from kdumpd.cli.parser import make_parser
from kdumpd.errors import ExitCode, KdumpdError, NotArmedError, PolicyError
from kdumpd.terminal import harmless_lines


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Every module of `kdumpd.cli` that is named like a command has `run(arguments) -> ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        # A locale or a file name that is not UTF-8 costs a character its look, and no command its answer.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = make_parser().parse_args(argv)
    try:
        command = importlib.import_module(f"kdumpd.cli.{arguments.command}")
        code: ExitCode = command.run(arguments)
        sys.stdout.flush()
        return code
    except KdumpdError as problem:
        # A policy error begins with its place, as a compiler's does.
        _complain(str(problem) if isinstance(problem, PolicyError) else f"kdumpd: {problem}")
        return ExitCode.NOT_ARMED if isinstance(problem, NotArmedError) else ExitCode.ERROR
    except BrokenPipeError:
        # The reader of our output has gone (`kdumpd plan | head`): that is its right. Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as problem:
        hint = "\nhint: run this as root" if isinstance(problem, PermissionError) else ""
        _complain(f"kdumpd: {problem.filename or 'system call'}: {problem.strerror}{hint}")
        return ExitCode.ERROR
    except KeyboardInterrupt:
        return ExitCode.ERROR


def _complain(text: str) -> None:
    """Errors quote status.json, names of files and what programs have said."""
    print(harmless_lines(text), file=sys.stderr)
