# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state in one screen, for people."""

from collections.abc import Iterator

from kdumpd.capture.settings import FinalAction
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.policy.model import Policy
from kdumpd.state.state import State
from kdumpd.units import approximate_size

AFTERWARDS = {FinalAction.POWEROFF: "power off", FinalAction.REBOOT: "reboot", FinalAction.HALT: "halt"}
NEVER_TESTED = "never: run kdumpd test when nobody needs this machine"


def screen(state: State) -> Iterator[str]:
    """Line by line: the verdict, what it is made of, and each problem with its way out."""
    facts, readiness, crash = state.facts, state.readiness, state.last_crash
    yield verdict(state)
    running = values(facts.command_line, "crashkernel")
    reserved = facts.kexec.reserved
    yield f"  policy        crashkernel={_policy_crashkernel(state.policy, facts)}  ({state.policy_file})"
    yield f"  command line  {' '.join(f'crashkernel={value}' for value in running) or 'no crashkernel='}"
    yield f"  reserved      {'unknown' if reserved is None else approximate_size(reserved) if reserved else 'nothing'}"
    yield f"  dump kernel   {state.dump_kernel}"
    yield f"  boot loader   {facts.boot.loader}  ({facts.boot.seen})"
    for store in facts.stores:
        free = "unknown" if store.free is None else approximate_size(store.free)
        yield f"  store         {store.path}  ({free} free)"
    yield f"  last test     {state.last_test.verdict if state.last_test else NEVER_TESTED}"
    yield f"  last crash    {f'{crash.time}  {crash.verdict}' if crash else 'none'}"
    for trouble in readiness.troubles:
        yield f"problem: {trouble.fact}"
        yield f"    way out: {trouble.way_out}"


def verdict(state: State) -> str:
    """Would a crash right now be saved?"""
    if state.readiness.armed is None:
        return "UNKNOWN: this kernel does not tell whether a dump kernel is loaded"
    if not state.readiness.armed:
        return "NOT ARMED: a crash now would leave nothing"
    first, afterwards = state.policy.capture.stores[0], AFTERWARDS[state.policy.capture.then]
    but = ", but with problems (below)" if state.readiness.troubles else ""
    return f"ARMED{but}: a crash now would be saved to {first}, then this machine would {afterwards}"


def _policy_crashkernel(policy: Policy, facts: Facts) -> str:
    wanted = str(wanted_crashkernel(policy, facts))
    return wanted if policy.crashkernel else f"auto, which is {wanted} here"
