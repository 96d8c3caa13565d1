# SPDX-License-Identifier: LGPL-2.1-or-later
"""The only place that turns an error into words on a terminal and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

from kdumpd.cli.parser import make_parser
from kdumpd.errors import ExitCode, KdumpdError, NotArmedError, PolicyError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Every module of `kdumpd.cli` that is named like a command has `run(arguments) -> ExitCode`."""
    arguments = make_parser().parse_args(argv)
    try:
        command = importlib.import_module(f"kdumpd.cli.{arguments.command}")
        code: ExitCode = command.run(arguments)
        sys.stdout.flush()
        return code
    except KdumpdError as problem:
        # A policy error begins with its place, as a compiler's does.
        print(problem if isinstance(problem, PolicyError) else f"kdumpd: {problem}", file=sys.stderr)
        return ExitCode.NOT_ARMED if isinstance(problem, NotArmedError) else ExitCode.ERROR
    except BrokenPipeError:
        # The reader of our output has gone (`kdumpd plan | head`): that is its right. Python must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as problem:
        hint = "\nhint: run this as root" if isinstance(problem, PermissionError) else ""
        print(f"kdumpd: {problem.filename or 'system call'}: {problem.strerror}{hint}", file=sys.stderr)
        return ExitCode.ERROR
    except KeyboardInterrupt:
        return ExitCode.ERROR
