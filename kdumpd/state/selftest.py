# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd test`, up to the crash. Never crashes a machine of which it is known that nothing would be saved."""

import secrets
import time
from pathlib import Path

from kdumpd.capture.settings import Settings
from kdumpd.crashes.archive import capture_settings, crash_folders
from kdumpd.crashes.provoke import check_can_crash, crash_machine
from kdumpd.crashes.selftest import TIME_FORMAT, StartedTest
from kdumpd.errors import HostError, KdumpdError, NotArmedError
from kdumpd.files import lock
from kdumpd.host.read import read_kexec
from kdumpd.plan.readiness import Readiness
from kdumpd.state.state import State, read_state


def look_before_test(root: Path, policy_file: Path) -> tuple[State, Settings]:
    """The state of the machine, and what the dump kernel would do.

    Raises:
        NotArmedError: nothing would be saved, and why.
        HostError: this kernel can't be crashed by hand, or a crash would prove nothing.
    """
    check_can_crash(root)
    state = read_state(root, policy_file)
    settings = capture_settings(root)
    _check_would_be_saved(state.readiness, settings)
    return state, settings


def crash_on_purpose(root: Path, state: State, settings: Settings) -> KdumpdError:
    """Returns only when the kernel did not crash, with the error for that.

    Raises:
        NotArmedError: somebody has unloaded the dump kernel since the look.
    """
    with lock(root):
        if not read_kexec(root).loaded:
            raise NotArmedError("the dump kernel was unloaded meanwhile, this machine was not crashed", hint="kdumpd arm")
        crash_machine(root, _new_test(root, state, settings))
    return KdumpdError("the kernel was told to crash, and did not", hint="see what it says: journalctl -k -b -g sysrq")


def _check_would_be_saved(readiness: Readiness, settings: Settings) -> None:
    if not readiness.armed:
        trouble = readiness.first_trouble
        raise NotArmedError(f"this machine was not crashed, nothing would be saved: {trouble.fact}", hint=trouble.way_out)
    if not settings.dmesg:
        raise HostError("the log is not saved here, and without it a test proves nothing", hint="set capture.dmesg: true")


def _new_test(root: Path, state: State, settings: Settings) -> StartedTest:
    return StartedTest(
        token=secrets.token_hex(8),
        boot_id=state.facts.boot_id,
        started=time.strftime(TIME_FORMAT, time.gmtime()),
        kernel=state.facts.release,
        dump_kernel=state.dump_kernel,
        stores=settings.store_paths,
        vmcore=settings.vmcore is not None,
        known=tuple(str(folder) for folder in crash_folders(root, settings.store_paths)),
    )
