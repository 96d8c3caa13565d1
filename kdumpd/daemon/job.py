# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon does at start and on every reload: it brings the machine to the policy."""

import json
from collections.abc import Callable
from pathlib import Path

from kdumpd.apply.apply import apply_plan, load_last_good, recover
from kdumpd.apply.look import InForce, look, policy_in_force
from kdumpd.capture.durable import write_file
from kdumpd.crashes.archive import Crash, capture_stores, list_crashes
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


def report_crashes(root: Path, found: Found) -> None:
    """Tells the journal and `found` of every crash that they were not told of before."""
    reported = _reported(root)
    new = [crash for crash in list_crashes(root, capture_stores(root)) if str(crash.folder) not in reported]
    for crash in new:
        told = f"this machine crashed at {crash.time}: {crash.verdict}"
        event(Event.CRASH_FOUND, told, time=crash.time, headline=crash.verdict, folder=str(crash.folder))
        log(Priority.NOTICE, f"the log is safe: {crash.log}" if crash.log else f"what is left: {crash.folder}")
        found(crash)
    if new:
        names = sorted({*reported, *(str(crash.folder) for crash in new)})
        (root / layout.STATE).mkdir(parents=True, exist_ok=True)
        write_file(root / layout.REPORTED, (json.dumps(names, indent=2) + "\n").encode(), 0o644)


def _reported(root: Path) -> set[str]:
    try:
        return set(json.loads(read_text(root / layout.REPORTED) or "[]"))
    except (ValueError, TypeError):
        return set()
