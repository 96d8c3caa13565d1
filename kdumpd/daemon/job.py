# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon does at start and on every reload: it brings the machine to the policy."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kdumpd.apply.apply import apply_plan, load_last_good, recover
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
from kdumpd.errors import KdumpdError, in_words
from kdumpd.files import lock, read_text
from kdumpd.host import layout
from kdumpd.plan.make import make_plan
from kdumpd.plan.readiness import Readiness
from kdumpd.policy.model import Policy

Found = Callable[[Crash], None]


def keep_armed(root: Path, policy_file: Path, found: Found = lambda _: None) -> str:
    """Applies the policy and arms, then reports new crashes. Returns the state in one line, for systemd's status."""
    in_force = InForce(policy=None)
    problem: KdumpdError | None = None
    try:
        with lock(root):
            recover(root, lambda text: log(Priority.WARNING, text))
            in_force = policy_in_force(policy_file, root)
            problem = _told(in_force, policy_file)
            _apply(in_force, root)
    except (KdumpdError, OSError) as error:
        problem = in_words(error)
        log(Priority.ERROR, str(problem))
        _arm_anyway(root, in_force.policy or Policy())
    _harvest(root)
    try:
        report_crashes(root, found)
        report_test(root)
    except OSError as error:
        log(Priority.ERROR, f"crashes will be reported again, {error.filename}: {error.strerror}")
    state = look_and_publish(root, policy_file)
    return _summary(state.readiness, problem)


def _told(in_force: InForce, policy_file: Path) -> KdumpdError | None:
    if in_force.rolled_back:
        log(Priority.WARNING, f"the policy in {policy_file} was rolled back: what was applied before it stays in force")
    if in_force.problem:
        event(Event.POLICY_REFUSED, str(in_force.problem), policy=str(policy_file))
    return in_force.problem


def _apply(in_force: InForce, root: Path) -> None:
    if in_force.policy is None:
        _arm_last_good(root, Policy())
        return
    facts = look(in_force.policy, root)
    plan = make_plan(in_force.policy, facts)
    if in_force.rolled_back:
        plan = plan.without(layout.absolute(layout.ROLLED_BACK))
    apply_plan(plan, facts, root, lambda text: log(Priority.INFO, text))
    for note in plan.notes:
        log(Priority.WARNING, note)


def _arm_anyway(root: Path, policy: Policy) -> None:
    try:
        with lock(root):
            _arm_last_good(root, policy)
    except (KdumpdError, OSError) as problem:
        log(Priority.ERROR, str(problem))


def _arm_last_good(root: Path, policy: Policy) -> None:
    load_last_good(look(policy, root), root, lambda text: log(Priority.WARNING, text))


def _summary(readiness: Readiness, problem: KdumpdError | None) -> str:
    if problem is not None:
        state = "armed with the last good dump kernel" if readiness.armed else "not armed"
        return f"{state}; {str(problem).splitlines()[0]}"
    for trouble in readiness.troubles:
        log(Priority.WARNING, f"{trouble.fact}; way out: {trouble.way_out}")
    return "armed" if readiness.armed else f"not armed: {readiness.first_trouble.fact}"


def _harvest(root: Path) -> None:
    """What the first harvest of this boot could not have: ramoops is loaded by now, and stores on a network are mounted."""
    try:
        harvest_at_boot(root, lambda text: log(Priority.WARNING, text), begins=False)
        _tell_last_end(root)
    except (KdumpdError, OSError) as problem:
        log(Priority.ERROR, str(in_words(problem)))


def _tell_last_end(root: Path) -> None:
    """Once in a boot. A crash that was dumped, or a test, is told of elsewhere."""
    end, told = read_last_end(root), root / layout.TOLD_LAST_END
    if end is None or read_text(told) == end.ended:
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
        if not (folder / report.FILE).exists():
            record_report(folder)
    except OSError as problem:
        log(Priority.WARNING, f"{folder / report.FILE} could not be written: {problem.strerror}")


def _reported(root: Path) -> set[str]:
    try:
        return set(json.loads(read_text(root / layout.REPORTED) or "[]"))
    except (ValueError, TypeError):
        return set()
