# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state of this machine: what `kdumpd status`, D-Bus and monitoring tell, from one look."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from kdumpd.apply.look import InForce, look, policy_in_force
from kdumpd.crashes.archive import capture_stores
from kdumpd.crashes.index import Entry, list_entries
from kdumpd.crashes.last_end import LastEnd, read_last_end
from kdumpd.crashes.selftest import TestResult, read_last_test
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.doors import Way, way
from kdumpd.plan.ours import is_loaded_for
from kdumpd.plan.ramoops import NO_BACKEND
from kdumpd.plan.readiness import Readiness, Trouble, judge
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.plan.stores import crash_needs
from kdumpd.policy.model import Loader, Policy


@dataclass(frozen=True, kw_only=True)
class State:
    """`policy` is the one in force; where there is none, the defaults, by which the machine is judged then."""

    policy_file: str
    policy: Policy
    facts: Facts
    readiness: Readiness
    crashes: tuple[Entry, ...]
    last_test: TestResult | None
    last_end: LastEnd | None = None

    @property
    def last_crash(self) -> Entry | None:
        return self.crashes[-1] if self.crashes else None

    @property
    def needed_bytes(self) -> int | None:
        """What the policy wants the kernel to reserve on this machine."""
        return wanted_crashkernel(self.policy, self.facts).reserved_for(self.facts.sizing.ram)

    @property
    def way(self) -> Way:
        """Where in the dump kernel's boot the capture begins."""
        return way(self.facts, loader=self.policy.loader)

    @property
    def store_needs(self) -> int:
        """The bytes that the next crash may need in a store, at most."""
        return crash_needs(self.policy, self.facts)

    @property
    def dump_kernel(self) -> str:
        """What is loaded, in words."""
        last = self.facts.last_loaded
        if not self.facts.kexec.loaded:
            return "not loaded"
        if not is_loaded_for(self.policy, self.facts):
            return "loaded, but not by kdumpd"
        if last is None or self.policy.loader is Loader.KDUMP_TOOLS:
            return "loaded by kdump-tools, boots into kdumpd's capture"
        # …/images/RELEASE-DIGEST/initrd.img
        release, _, digest = PurePath(last.initrd).parent.name.rpartition("-")
        return f"{release}, image {digest}"

    @property
    def pstore_backend(self) -> str | None:
        """Who keeps the kernel's last words, if anybody does."""
        active = self.facts.pstore.active
        return None if active == NO_BACKEND else active

    def to_json(self) -> dict[str, Any]:
        facts = self.facts
        return {
            **self.readiness.to_json(),
            "crashkernel": {
                "policy": str(wanted_crashkernel(self.policy, facts)),
                "command_line": list(values(facts.command_line, "crashkernel")),
                "needed": self.needed_bytes,
                "reserved": facts.kexec.reserved,
            },
            "dump_kernel": self.dump_kernel,
            "capture": self.way.to_json(),
            "boot_loader": facts.boot.loader,
            "pstore": self.pstore_backend,
            "stores": [{"path": store.path, "free": store.free, "needed": self.store_needs} for store in facts.stores],
            "crashes": len(self.crashes),
            "last_test": self.last_test.to_json() if self.last_test else None,
            "last_end": self.last_end.to_json() if self.last_end else None,
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
    return state_under(in_force, root, policy_file)


def state_under(in_force: InForce, root: Path, policy_file: Path) -> State:
    """The same where a broken policy, with none before it, is only one problem of the machine.

    Raises:
        HostError: this machine does not let itself be read.
    """
    policy = in_force.policy or Policy()
    facts = look(policy, root)
    judged = judge(policy, facts)
    last_test = read_last_test(root)
    return State(
        policy_file=str(policy_file),
        policy=policy,
        facts=facts,
        readiness=replace(
            judged, troubles=(*judged.troubles, *policy_troubles(in_force, str(policy_file)), *_test_troubles(last_test))
        ),
        crashes=list_entries(root, capture_stores(root)),
        last_test=last_test,
        last_end=read_last_end(root),
    )


def policy_troubles(in_force: InForce, source: str) -> Iterator[Trouble]:
    """Why the policy in force is not what the file says."""
    if in_force.problem:
        count = len(in_force.problem.problems)
        instead = "the policy that was applied last stays in force" if in_force.policy else "and none was ever applied"
        yield Trouble(
            fact=f"{source} has {count} problem{'s' if count > 1 else ''}, {instead}", way_out="see them: kdumpd policy check"
        )
    if in_force.rolled_back:
        before = "the policy before it is in force" if in_force.policy else "there was none before it"
        yield Trouble(fact=f"the policy in {source} was rolled back, {before}", way_out="change it; or take it again: kdumpd apply")


def _test_troubles(last_test: TestResult | None) -> Iterator[Trouble]:
    if last_test and not last_test.passed:
        yield Trouble(fact="the last test failed", way_out=last_test.way_out)
