# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd status`."""

import argparse
import json
from collections.abc import Iterator

from kdumpd.apply.look import ROOT, InForce, look, policy_in_force
from kdumpd.capture.settings import FinalAction
from kdumpd.crashes.archive import Crash, capture_stores, list_crashes
from kdumpd.errors import ExitCode
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.make import loaded_by_kdump_tools
from kdumpd.plan.readiness import Readiness, Trouble, judge
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.policy.model import Loader, Policy
from kdumpd.units import approximate_size

AFTERWARDS = {FinalAction.POWEROFF: "power off", FinalAction.REBOOT: "reboot", FinalAction.HALT: "halt"}


def run(arguments: argparse.Namespace) -> ExitCode:
    in_force = policy_in_force(arguments.policy, ROOT)
    if in_force.policy is None and in_force.problem:
        raise in_force.problem
    policy = in_force.policy or Policy()
    facts = look(policy, ROOT)
    judged = judge(policy, facts)
    troubles = (*_policy_troubles(in_force, str(arguments.policy)), *judged.troubles)
    readiness = Readiness(armed=judged.armed, troubles=troubles)
    crashes = list_crashes(ROOT, capture_stores(ROOT))
    if arguments.json:
        print(json.dumps(_json(policy, facts, readiness, crashes), indent=2))
    else:
        print("\n".join(_screen(str(arguments.policy), policy, facts, readiness, crashes)))
    return ExitCode.OK if readiness.armed else ExitCode.NOT_ARMED


def _policy_troubles(in_force: InForce, source: str) -> Iterator[Trouble]:
    if in_force.problem:
        count = len(in_force.problem.problems)
        fact = f"{source} has {count} problem{'s' if count > 1 else ''}, the policy that was applied last stays in force"
        yield Trouble(fact=fact, way_out="see them: kdumpd policy check")
    if in_force.rolled_back:
        before = "the policy before it is in force" if in_force.policy else "there was none before it"
        yield Trouble(fact=f"the policy in {source} was rolled back, {before}", way_out="change it; or take it again: kdumpd apply")


def _screen(source: str, policy: Policy, facts: Facts, readiness: Readiness, crashes: tuple[Crash, ...]) -> Iterator[str]:
    if readiness.armed:
        first, afterwards = policy.capture.stores[0], AFTERWARDS[policy.capture.then]
        but = ", but with problems (below)" if readiness.troubles else ""
        yield f"ARMED{but}: a crash now would be saved to {first}, then this machine would {afterwards}"
    elif readiness.armed is None:
        yield "UNKNOWN: this kernel does not tell whether a dump kernel is loaded"
    else:
        yield "NOT ARMED: a crash now would leave nothing"
    running = values(facts.command_line, "crashkernel")
    reserved = facts.kexec.reserved
    yield f"  policy        crashkernel={_policy_crashkernel(policy, facts)}  ({source})"
    yield f"  command line  {' '.join(f'crashkernel={value}' for value in running) or 'no crashkernel='}"
    yield f"  reserved      {'unknown' if reserved is None else approximate_size(reserved) if reserved else 'nothing'}"
    yield f"  dump kernel   {_dump_kernel(policy, facts)}"
    yield f"  boot loader   {facts.boot.loader}  ({facts.boot.seen})"
    for store in facts.stores:
        free = "unknown" if store.free is None else approximate_size(store.free)
        yield f"  store         {store.path}  ({free} free)"
    yield f"  last crash    {f'{crashes[-1].time}  {crashes[-1].verdict}' if crashes else 'none'}"
    for trouble in readiness.troubles:
        yield f"problem: {trouble.fact}"
        yield f"    way out: {trouble.way_out}"


def _policy_crashkernel(policy: Policy, facts: Facts) -> str:
    wanted = str(wanted_crashkernel(policy, facts))
    return wanted if policy.crashkernel else f"auto, which is {wanted} here"


def _dump_kernel(policy: Policy, facts: Facts) -> str:
    last = facts.last_loaded
    if not facts.kexec.loaded:
        return "not loaded"
    if policy.loader is Loader.KDUMP_TOOLS and loaded_by_kdump_tools(policy, facts):
        return "loaded by kdump-tools, boots into kdumpd's capture"
    if last is None or last.boot_id != facts.boot_id:
        return "loaded, but not by kdumpd"
    return f"{last.kernel}  ({last.initrd})"


def _json(policy: Policy, facts: Facts, readiness: Readiness, crashes: tuple[Crash, ...]) -> dict[str, object]:
    return {
        **readiness.to_json(),
        "crashkernel": {
            "policy": str(wanted_crashkernel(policy, facts)),
            "command_line": list(values(facts.command_line, "crashkernel")),
            "reserved": facts.kexec.reserved,
        },
        "dump_kernel": _dump_kernel(policy, facts),
        "boot_loader": facts.boot.loader,
        "stores": [{"path": store.path, "free": store.free} for store in facts.stores],
        "last_crash": crashes[-1].to_json() if crashes else None,
    }
