# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be done to this machine, by a person at a terminal or through the daemon: under the lock, from a fresh look."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from kdumpd.apply.apply import Report, apply_plan, arm_anyway, do_steps, load_last_good, recover
from kdumpd.apply.look import look, policy_in_force, read_policy
from kdumpd.errors import KdumpdError, NotArmedError
from kdumpd.files import lock
from kdumpd.host.damage import set_damage_aside
from kdumpd.host.read import read_kexec
from kdumpd.image.load import unload
from kdumpd.plan.make import arming_steps, make_plan, wanted_dump_set
from kdumpd.plan.ours import misses_hotplug
from kdumpd.plan.readiness import judge
from kdumpd.plan.rollback import make_rollback
from kdumpd.plan.steps import Plan
from kdumpd.plan.withdraw import make_withdrawal
from kdumpd.policy.model import Policy

# Is asked before a plan is carried out.
Agreed = Callable[[Plan], bool]


def apply_policy(
    root: Path, policy_file: Path, report: Report, *, agreed: Agreed = lambda _: True, overwrite: bool = False
) -> Plan | None:
    """Brings the machine to the policy. Returns the plan that was carried out, None when it was not agreed to.

    Raises:
        KdumpdError: it could not be done; `apply_plan` says how far it got.
    """
    policy = read_policy(policy_file)
    with lock(root):
        recover(root, report)
        facts = look(policy, root)
        plan = make_plan(policy, facts)
        if not agreed(plan):
            return None
        apply_plan(plan, facts, root, report, overwrite=overwrite)
    return plan


def roll_back(
    root: Path, policy_file: Path, report: Report, *, agreed: Agreed = lambda _: True, overwrite: bool = False
) -> Plan | None:
    """Goes back to the state before the last apply. Returns the plan that was carried out, None when it was not agreed to.

    Raises:
        KdumpdError: there is nothing to go back to, or it could not be done.
    """
    with lock(root):
        recover(root, report)
        facts = look(policy_in_force(policy_file, root).policy or Policy(), root)
        plan = make_rollback(facts)
        if not agreed(plan):
            return None
        apply_plan(plan, facts, root, report, overwrite=overwrite)
        _follow_policy(root, policy_file, report)
    return plan


def _follow_policy(root: Path, policy_file: Path, report: Report) -> None:
    """The dump kernel's command line follows the policy, too. When none is left in force, what is loaded stays."""
    policy = policy_in_force(policy_file, root).policy
    if policy is None:
        return
    facts = look(policy, root)
    apply_plan(Plan(steps=arming_steps(policy, facts)), facts, root, report)


def withdraw(
    root: Path, policy_file: Path, report: Report, *, agreed: Agreed = lambda _: True, boot_loader: bool = True
) -> Plan | None:
    """Takes back all that was ever applied. Returns the plan that was carried out, None when it was not agreed to.

    Raises:
        KdumpdError: it could not be done; `apply_plan` says how far it got.
    """
    with lock(root):
        recover(root, report)
        facts = look(policy_in_force(policy_file, root).policy or Policy(), root)
        plan = make_withdrawal(facts, boot_loader=boot_loader)
        if not agreed(plan):
            return None
        # What a person has changed is kept beside it: kdumpd goes, so it has no other place for that.
        apply_plan(plan, facts, root, report, overwrite=True)
    return plan


def arm(root: Path, policy_file: Path, report: Report, *, rebuild: bool = False) -> bool:
    """Loads the dump kernel; false when there was nothing to do. Whatever fails, the last good one is loaded.

    Raises:
        NotArmedError: it can't be loaded, and why.
        KdumpdError: the policy is broken, or the dump image could not be built.
    """
    try:
        return _arm(root, policy_file, report, rebuild=rebuild)
    except Exception:
        with contextlib.suppress(KdumpdError, OSError):
            arm_anyway(root, report)
        raise


def _arm(root: Path, policy_file: Path, report: Report, *, rebuild: bool) -> bool:
    policy = read_policy(policy_file)
    with lock(root):
        set_damage_aside(root, report)
        # What was rolled back must not come back with the next arming.
        policy = policy_in_force(policy_file, root).policy or policy
        facts = look(policy, root)
        steps = arming_steps(policy, facts, rebuild=rebuild)
        if not facts.kexec.reserved or (wanted_dump_set(policy, facts) is None and not steps):
            trouble = judge(policy, facts).first_trouble
            raise NotArmedError(trouble.fact, hint=trouble.way_out)
        do_steps(steps, facts, root, report)
    return bool(steps)


def follow_hotplug(root: Path, policy_file: Path, report: Report) -> bool:
    """After memory or CPUs have changed; false when nothing had to be loaded again. What a person has disarmed stays so.

    Raises:
        KdumpdError: it can't be loaded.
    """
    with lock(root):
        policy = policy_in_force(policy_file, root).policy
        facts = look(policy or Policy(), root)
        if not facts.kexec.loaded:
            return False
        if policy is None:
            load_last_good(root, report)
            return misses_hotplug(facts.last_loaded, facts.boot_id, facts.hardware)
        steps = arming_steps(policy, facts)
        do_steps(steps, facts, root, report)
    return bool(steps)


def disarm(root: Path) -> bool:
    """Unloads the dump kernel; false when none was loaded.

    Raises:
        KdumpdError: the kernel still has it.
    """
    with lock(root):
        if not read_kexec(root).loaded:
            return False
        unload(root)
    return True
