# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd status`."""

import argparse
import json
from collections.abc import Iterator

from kdumpd.apply.look import ROOT, look, read_policy
from kdumpd.capture.settings import FinalAction
from kdumpd.crashes.archive import Crash, capture_stores, list_crashes
from kdumpd.errors import ExitCode
from kdumpd.host.facts import Facts
from kdumpd.plan.command_line import values
from kdumpd.plan.readiness import Readiness, judge
from kdumpd.policy.model import Policy
from kdumpd.units import approximate_size, format_size

AFTERWARDS = {FinalAction.POWEROFF: "power off", FinalAction.REBOOT: "reboot", FinalAction.HALT: "halt"}


def run(arguments: argparse.Namespace) -> ExitCode:
    policy = read_policy(arguments.policy)
    facts = look(policy, ROOT)
    readiness = judge(policy, facts)
    crashes = list_crashes(ROOT, capture_stores(ROOT))
    if arguments.json:
        print(json.dumps(_json(policy, facts, readiness, crashes), indent=2))
    else:
        print("\n".join(_screen(str(arguments.policy), policy, facts, readiness, crashes)))
    return ExitCode.OK if readiness.armed else ExitCode.NOT_ARMED


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
    yield f"  policy        crashkernel={format_size(policy.crashkernel)}  ({source})"
    yield f"  command line  {' '.join(f'crashkernel={value}' for value in running) or 'no crashkernel='}"
    yield f"  reserved      {'unknown' if reserved is None else approximate_size(reserved) if reserved else 'nothing'}"
    yield f"  dump kernel   {_dump_kernel(facts)}"
    for store in facts.stores:
        free = "unknown" if store.free is None else approximate_size(store.free)
        yield f"  store         {store.path}  ({free} free)"
    yield f"  last crash    {f'{crashes[-1].time}  {crashes[-1].verdict}' if crashes else 'none'}"
    for trouble in readiness.troubles:
        yield f"problem: {trouble.fact}"
        yield f"    way out: {trouble.way_out}"


def _dump_kernel(facts: Facts) -> str:
    last = facts.last_loaded
    if not facts.kexec.loaded:
        return "not loaded"
    if last is None or last.boot_id != facts.boot_id:
        return "loaded, but not by kdumpd"
    return f"{last.kernel}  ({last.initrd})"


def _json(policy: Policy, facts: Facts, readiness: Readiness, crashes: tuple[Crash, ...]) -> dict[str, object]:
    return {
        **readiness.to_json(),
        "crashkernel": {
            "policy": policy.crashkernel,
            "command_line": list(values(facts.command_line, "crashkernel")),
            "reserved": facts.kexec.reserved,
        },
        "dump_kernel": _dump_kernel(facts),
        "stores": [{"path": store.path, "free": store.free} for store in facts.stores],
        "last_crash": crashes[-1].to_json() if crashes else None,
    }
