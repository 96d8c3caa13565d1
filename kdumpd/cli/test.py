# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd test`."""

import argparse
from collections.abc import Iterator

from kdumpd.apply.look import ROOT
from kdumpd.capture.settings import FinalAction, Settings
from kdumpd.cli.ask import need_terminal, said_yes
from kdumpd.errors import ExitCode
from kdumpd.state.screen import AFTERWARDS
from kdumpd.state.selftest import crash_on_purpose, look_before_test
from kdumpd.state.state import State
from kdumpd.units import format_duration

BY_HAND = {FinalAction.POWEROFF: ": somebody must switch it on again", FinalAction.HALT: ": somebody must reset it"}


def run(arguments: argparse.Namespace) -> ExitCode:
    state, settings = look_before_test(ROOT, arguments.policy)
    if not arguments.yes:
        need_terminal("this machine would crash", hint="to crash it without being asked, add --yes")
    print("\n".join(_announcement(state, settings)), flush=True)
    if not arguments.yes and not said_yes("crash this machine now?", otherwise="nothing was done"):
        return ExitCode.USAGE
    # The question may have been open for long: it looks once more.
    raise crash_on_purpose(ROOT, state, settings)


def _announcement(state: State, settings: Settings) -> Iterator[str]:
    """What will happen, in plain words."""
    what = "the log and the memory" if settings.vmcore else "the log"
    where, deadline = ", else to ".join(settings.store_paths), format_duration(settings.deadline)
    yield "this crashes this machine, now and on purpose:"
    yield "  * the kernel panics: everybody is thrown out, every program ends, and what it has not saved is lost"
    yield "    (what was written to files is brought to the disks first)"
    yield f"  * the dump kernel saves {what} to {where}, in {deadline} at most"
    yield f"    (it is {state.dump_kernel})"
    yield f"  * then this machine will {AFTERWARDS[settings.then]}{BY_HAND.get(settings.then, '')}"
    if settings.on_failure is not settings.then:
        yield f"    (if nothing could be saved, it will {AFTERWARDS[settings.on_failure]}{BY_HAND.get(settings.on_failure, '')})"
    yield "  * after that, kdumpd status says whether the test has passed"
    for trouble in state.readiness.troubles:
        yield f"problem: {trouble.fact}"
