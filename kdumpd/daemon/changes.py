# SPDX-License-Identifier: LGPL-2.1-or-later
"""What callers on D-Bus, and a hotplug, may change, and what came of it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kdumpd.apply.actions import apply_policy, arm, disarm, follow_hotplug, roll_back
from kdumpd.apply.look import for_everybody
from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.publish import look_and_publish
from kdumpd.errors import KdumpdError, in_words
from kdumpd.plan.steps import Plan
from kdumpd.state.selftest import crash_on_purpose, look_before_test

# Every method that changes something, and what polkit is asked for.
ACTIONS = {
    "Apply": "org.kdumpd1.apply",
    "Rollback": "org.kdumpd1.apply",
    "Arm": "org.kdumpd1.arm",
    "Disarm": "org.kdumpd1.arm",
    "Rebuild": "org.kdumpd1.arm",
    "Test": "org.kdumpd1.test",
}

_report = partial(log, Priority.INFO)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a change, in words; `hint` is the way out of a failure."""

    ok: bool
    message: str
    hint: str = ""


def change(what: str, root: Path, policy_file: Path) -> Outcome:
    """Does it, and tells the journal and monitoring as well."""
    try:
        outcome = Outcome(ok=True, message=_do(what, root, policy_file))
    except (KdumpdError, OSError) as error:
        # JobDone is for all who listen.
        problem = for_everybody(in_words(error), policy_file)
        outcome = Outcome(ok=False, message=problem.args[0], hint=problem.hint or "")
    log(Priority.INFO if outcome.ok else Priority.ERROR, f"{what}: {outcome.message}")
    try:
        look_and_publish(root, policy_file)
    except KdumpdError as problem:
        log(Priority.ERROR, str(problem))
    return outcome


def _do(what: str, root: Path, policy_file: Path) -> str:
    match what:
        case "Apply":
            return _words(apply_policy(root, policy_file, _report), "this machine is as the policy says")
        case "Rollback":
            return _words(roll_back(root, policy_file, _report), "this machine is as before the last apply")
        case "Arm":
            return "armed" if arm(root, policy_file, _report) else "armed already: nothing to do"
        case "Rebuild":
            arm(root, policy_file, _report, rebuild=True)
            return "armed with a new dump image"
        case "Disarm":
            return "disarmed: a crash now would leave nothing" if disarm(root) else "nothing was loaded"
        case "Test":
            raise crash_on_purpose(root, *look_before_test(root, policy_file))
        case "hotplug":
            return "loaded again" if follow_hotplug(root, policy_file, _report) else "nothing had to be loaded again"
    raise ValueError(what)


def _words(plan: Plan | None, done: str) -> str:
    notes = plan.notes if plan else ()
    return "\n".join([done, *(f"note: {note}" for note in notes)])
