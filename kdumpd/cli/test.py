# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd test`."""

import argparse
import secrets
import time
from collections.abc import Iterator

from kdumpd.apply.look import ROOT
from kdumpd.capture.settings import FinalAction, Settings
from kdumpd.cli.ask import need_terminal, said_yes
from kdumpd.crashes.archive import capture_settings, list_crashes
from kdumpd.crashes.provoke import check_can_crash, crash_machine
from kdumpd.crashes.selftest import TIME_FORMAT, StartedTest
from kdumpd.errors import ExitCode, HostError, KdumpdError, NotArmedError
from kdumpd.files import lock
from kdumpd.host.read import read_kexec
from kdumpd.plan.readiness import Readiness
from kdumpd.state.screen import AFTERWARDS
from kdumpd.state.state import State, read_state
from kdumpd.units import format_duration

BY_HAND = {FinalAction.POWEROFF: ": somebody must switch it on again", FinalAction.HALT: ": somebody must reset it"}


def run(arguments: argparse.Namespace) -> ExitCode:
    check_can_crash(ROOT)
    state = read_state(ROOT, arguments.policy)
    settings = capture_settings(ROOT)
    _check_would_be_saved(state.readiness, settings)
    if not arguments.yes:
        need_terminal("this machine would crash", hint="to crash it without being asked, add --yes")
    print("\n".join(_announcement(state, settings)), flush=True)
    if not arguments.yes and not said_yes("crash this machine now?", otherwise="nothing was done"):
        return ExitCode.USAGE
    with lock(ROOT):
        # The question may have been open for long.
        if not read_kexec(ROOT).loaded:
            raise NotArmedError("the dump kernel was unloaded meanwhile, this machine was not crashed", hint="kdumpd arm")
        crash_machine(ROOT, _new_test(state, settings))
    raise KdumpdError("the kernel was told to crash, and did not", hint="see what it says: journalctl -k -b -g sysrq")


def _check_would_be_saved(readiness: Readiness, settings: Settings) -> None:
    serious = [trouble for trouble in readiness.troubles if trouble.serious]
    if not readiness.armed or serious:
        trouble = serious[0] if readiness.armed else readiness.first_trouble
        raise NotArmedError(f"this machine was not crashed, nothing would be saved: {trouble.fact}", hint=trouble.way_out)
    if not settings.dmesg:
        raise HostError("the log is not saved here, and without it a test proves nothing", hint="set capture.dmesg: true")


def _announcement(state: State, settings: Settings) -> Iterator[str]:
    """What will happen, in plain words."""
    what = "the log and the memory" if settings.vmcore else "the log"
    where, deadline = ", else to ".join(settings.stores), format_duration(settings.deadline)
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


def _new_test(state: State, settings: Settings) -> StartedTest:
    return StartedTest(
        token=secrets.token_hex(8),
        boot_id=state.facts.boot_id,
        started=time.strftime(TIME_FORMAT, time.gmtime()),
        kernel=state.facts.release,
        dump_kernel=state.dump_kernel,
        stores=settings.stores,
        vmcore=settings.vmcore is not None,
        known=tuple(str(crash.folder) for crash in list_crashes(ROOT, settings.stores)),
    )
