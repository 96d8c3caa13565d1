# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon does at start and on every reload: it brings the machine to the policy."""

import json
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kdumpd.apply.apply import apply_plan, arm_anyway, recover
from kdumpd.apply.look import InForce, look, policy_in_force
from kdumpd.capture.durable import write_file
from kdumpd.crashes import report
from kdumpd.crashes.archive import Crash, capture_stores, crash_folders, read_crash
from kdumpd.crashes.at_boot import harvest_at_boot
from kdumpd.crashes.index import list_entries
from kdumpd.crashes.last_end import Ended, read_last_end
from kdumpd.crashes.make import record_report
from kdumpd.daemon.announce import announce
from kdumpd.daemon.journal import Event, Priority, event, log
from kdumpd.daemon.publish import look_and_publish
from kdumpd.daemon.selftest import report_test
from kdumpd.decode import read_json
from kdumpd.errors import KdumpdError, in_words
from kdumpd.files import exists, lock, read_own_text
from kdumpd.host import layout
from kdumpd.host.read import read_kexec
from kdumpd.plan.make import make_plan
from kdumpd.plan.readiness import Readiness
from kdumpd.policy.model import Policy

Found = Callable[[Crash], None]


def keep_armed(root: Path, policy_file: Path, found: Found = lambda _: None) -> str:
    """Applies the policy and arms, then reports new crashes. Returns the state in one line, for systemd's status.

    Raises:
        HostError: this machine does not let itself be read. What could be loaded is loaded.
    """
    problem = _attempt(partial(_follow_policy, root, policy_file))
    _attempt(partial(_arm_anyway, root, failed=problem is not None))
    _attempt(partial(_harvest, root))
    _attempt(partial(_report, root, found), "crashes will be reported again, ")
    state = look_and_publish(root, policy_file)
    return _summary(state.readiness, problem)


def _attempt(work: Callable[[], KdumpdError | None], before: str = "") -> KdumpdError | None:
    """Returns the problem that `work` has returned or raised. A damaged file, or a defect, must keep nothing else from being
    done, least of all that this machine is armed.
    """
    try:
        return work()
    except (KdumpdError, OSError) as error:
        problem = in_words(error)
    except Exception as error:  # noqa: BLE001 - see above
        log(Priority.ERROR, traceback.format_exc())
        problem = in_words(error)
    log(Priority.ERROR, f"{before}{problem}")
    return problem


def _follow_policy(root: Path, policy_file: Path) -> KdumpdError | None:
    with lock(root):
        recover(root, lambda text: log(Priority.WARNING, text))
        in_force = policy_in_force(policy_file, root)
        problem = _told(in_force, policy_file)
        if in_force.policy is not None:
            _apply(in_force.policy, root, rolled_back=in_force.rolled_back)
    return problem


def _told(in_force: InForce, policy_file: Path) -> KdumpdError | None:
    if in_force.rolled_back:
        log(Priority.WARNING, f"the policy in {policy_file} was rolled back: what was applied before it stays in force")
    if in_force.problem:
        event(Event.POLICY_REFUSED, str(in_force.problem), policy=str(policy_file))
    return in_force.problem


def _apply(policy: Policy, root: Path, *, rolled_back: bool) -> None:
    facts = look(policy, root)
    plan = make_plan(policy, facts)
    if rolled_back:
        plan = plan.without(layout.absolute(layout.ROLLED_BACK))
    apply_plan(plan, facts, root, lambda text: log(Priority.INFO, text))
    for note in plan.notes:
        log(Priority.WARNING, note)


def _arm_anyway(root: Path, *, failed: bool) -> None:
    """Whatever has failed, or was not done for want of a policy."""
    kexec = read_kexec(root)
    # Before the reboot that reserves memory there is nothing to try.
    if kexec.reserved and (failed or not kexec.loaded):
        arm_anyway(root, lambda text: log(Priority.WARNING, text))


def _summary(readiness: Readiness, problem: KdumpdError | None) -> str:
    if problem is not None:
        state = "armed with the last good dump kernel" if readiness.armed else "not armed"
        return f"{state}; {str(problem).splitlines()[0]}"
    for trouble in readiness.troubles:
        log(Priority.WARNING, f"{trouble.fact}; way out: {trouble.way_out}")
    return "armed" if readiness.armed else f"not armed: {readiness.first_trouble.fact}"


def _harvest(root: Path) -> None:
    """What the first harvest of this boot could not have: ramoops is loaded by now, and stores on a network are mounted."""
    harvest_at_boot(root, lambda text: log(Priority.WARNING, text), begins=False)
    _tell_last_end(root)


def _report(root: Path, found: Found) -> None:
    report_crashes(root, found)
    report_test(root)


def _tell_last_end(root: Path) -> None:
    """Once in a boot. A crash that was dumped, or a test, is told of elsewhere."""
    end, told = read_last_end(root), root / layout.TOLD_LAST_END
    if end is None or read_own_text(told) == end.ended:
        return
    if end.ended is Ended.WITHOUT_DUMP and not end.test:
        log(Priority.WARNING, f"the last boot of this machine {end.words}")
    elif end.ended is Ended.CUT_OFF:
        log(Priority.NOTICE, f"the last boot of this machine was {end.words}")
    told.parent.mkdir(parents=True, exist_ok=True)
    write_file(told, end.ended.encode(), 0o644)


def report_crashes(root: Path, found: Found) -> None:
    """Tells the journal and `found` of every crash that they were not told of before."""
    reported, stores = _reported(root), capture_stores(root)
    new = {folder for folder in crash_folders(root, stores) if str(folder) not in reported}
    for folder in new:
        _record(folder)
    seen = Counter[str | None]()
    for entry in list_entries(root, stores) if new else ():
        seen[entry.signature] += 1
        if entry.folder in new:
            crash = read_crash(entry.folder)
            announce(crash, seen[entry.signature], root)
            found(crash)
    if new:
        names = sorted({*reported, *(str(folder) for folder in new)})
        (root / layout.STATE).mkdir(parents=True, exist_ok=True)
        write_file(root / layout.REPORTED, (json.dumps(names, indent=2) + "\n").encode(), 0o644)


def _record(folder: Path) -> None:
    """What can't be written down is told all the same."""
    try:
        if not exists(folder / report.FILE):
            record_report(folder)
    except OSError as problem:
        log(Priority.WARNING, f"{folder / report.FILE} could not be written: {problem.strerror}")


def _reported(root: Path) -> set[str]:
    return set(read_json(root / layout.REPORTED, tuple[str, ...]) or ())
