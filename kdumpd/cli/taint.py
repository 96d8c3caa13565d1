# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd taint`."""

import argparse
import json
from collections.abc import Iterator

from kdumpd.crashes.taint import Blame, TaintReport, decode, read_running
from kdumpd.errors import ExitCode
from kdumpd.host.layout import ROOT


def run(arguments: argparse.Namespace) -> ExitCode:
    report = read_running(ROOT) if arguments.flags is None else decode(arguments.flags)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(_lines(report)))
    return ExitCode.OK


def _lines(report: TaintReport) -> Iterator[str]:
    if not report.blames:
        yield "not tainted"
        return
    yield f"tainted: {report.string} ({report.value})"
    for blame in report.blames:
        yield f"  {explain(blame)}"


def explain(blame: Blame) -> str:
    """One taint in a line."""
    modules = f": {', '.join(blame.modules)}" if blame.modules else ""
    return f"{blame.flag.letter}  {blame.flag.name:<21}  {blame.flag.meaning}{modules}"
