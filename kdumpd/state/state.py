# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state of this machine: what `kdumpd status`, D-Bus and monitoring tell, from one look."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdumpd.apply.look import InForce, look, policy_in_force
from kdumpd.crashes.archive import Crash, capture_stores, list_crashes
from kdumpd.crashes.selftest import TestResult, read_last_test
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.ours import loaded_by_kdump_tools
from kdumpd.plan.readiness import Readiness, Trouble, judge
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.policy.model import Loader, Policy


@dataclass(frozen=True, kw_only=True)
class State:
    """`policy` is the one in force; where there is none, the defaults, by which the machine is judged then."""

    policy_file: str
    policy: Policy
    facts: Facts
    readiness: Readiness
    crashes: tuple[Crash, ...]
    last_test: TestResult | None

    @property
    def last_crash(self) -> Crash | None:
        return self.crashes[-1] if self.crashes else None

    @property
    def dump_kernel(self) -> str:
        """What is loaded, in words."""
        last = self.facts.last_loaded
        if not self.facts.kexec.loaded:
            return "not loaded"
        if self.policy.loader is Loader.KDUMP_TOOLS and loaded_by_kdump_tools(self.policy, self.facts):
            return "loaded by kdump-tools, boots into kdumpd's capture"
        if last is None or last.boot_id != self.facts.boot_id:
            return "loaded, but not by kdumpd"
        return f"{last.kernel}  ({last.initrd})"

    def to_json(self) -> dict[str, Any]:
        facts = self.facts
        return {
            **self.readiness.to_json(),
            "crashkernel": {
                "policy": str(wanted_crashkernel(self.policy, facts)),
                "command_line": list(values(facts.command_line, "crashkernel")),
                "reserved": facts.kexec.reserved,
            },
            "dump_kernel": self.dump_kernel,
            "boot_loader": facts.boot.loader,
            "stores": [{"path": store.path, "free": store.free} for store in facts.stores],
            "last_test": self.last_test.to_json() if self.last_test else None,
            "last_crash": self.last_crash.to_json() if self.last_crash else None,
        }


def read_state(root: Path, policy_file: Path) -> State:
    """
    Raises:
        PolicyError: the policy is broken, and none was ever applied.
        HostError: this machine does not let itself be read.
    """
    in_force = policy_in_force(policy_file, root)
    if in_force.policy is None and in_force.problem:
        raise in_force.problem
    policy = in_force.policy or Policy()
    facts = look(policy, root)
    judged = judge(policy, facts)
    last_test = read_last_test(root)
    troubles = (*policy_troubles(in_force, str(policy_file)), *judged.troubles, *_test_troubles(last_test))
    return State(
        policy_file=str(policy_file),
        policy=policy,
        facts=facts,
        readiness=Readiness(armed=judged.armed, troubles=troubles),
        crashes=list_crashes(root, capture_stores(root)),
        last_test=last_test,
    )


def policy_troubles(in_force: InForce, source: str) -> Iterator[Trouble]:
    """Why the policy in force is not what the file says."""
    if in_force.problem:
        count = len(in_force.problem.problems)
        fact = f"{source} has {count} problem{'s' if count > 1 else ''}, the policy that was applied last stays in force"
        yield Trouble(fact=fact, way_out="see them: kdumpd policy check")
    if in_force.rolled_back:
        before = "the policy before it is in force" if in_force.policy else "there was none before it"
        yield Trouble(fact=f"the policy in {source} was rolled back, {before}", way_out="change it; or take it again: kdumpd apply")


def _test_troubles(last_test: TestResult | None) -> Iterator[Trouble]:
    if last_test and not last_test.passed:
        yield Trouble(fact="the last test failed", way_out=last_test.way_out)
