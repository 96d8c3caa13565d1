# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a policy comes to on this machine, before it is compared with what is there."""

from dataclasses import dataclass

from kdumpd.crashkernel import Crashkernel
from kdumpd.errors import HostError
from kdumpd.host.facts import Facts
from kdumpd.plan.ramoops import Region, plan_region
from kdumpd.plan.reservation import check_fits, wanted_crashkernel
from kdumpd.policy.decode import SAFE_IN_EVAL
from kdumpd.policy.model import Loader, Policy


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`parameters` are the words for the kernel's command line."""

    crashkernel: Crashkernel
    region: Region | None

    @property
    def parameters(self) -> tuple[str, ...]:
        return (*self.crashkernel.parameters(), *((self.region.parameter,) if self.region else ()))


def want(policy: Policy, facts: Facts) -> Wanted:
    """
    Raises:
        HostError: this machine can't be brought to this policy, and why.
    """
    crashkernel = wanted_crashkernel(policy, facts)
    check_fits(crashkernel, facts.sizing.ram)
    region = plan_region(policy.pstore.ramoops, facts) if policy.pstore.ramoops else None
    wanted = Wanted(crashkernel=crashkernel, region=region)
    if policy.loader is Loader.KDUMP_TOOLS:
        _check_kdump_tools(wanted, facts)
    return wanted


def _check_kdump_tools(wanted: Wanted, facts: Facts) -> None:
    if facts.kdump_tools is None:
        raise HostError(
            "the policy says loader: kdump-tools, but kdump-config is not installed",
            hint="install kdump-tools, or write loader: kdumpd",
        )
    # Its own eval again: memmap=2M$0x… on the command line becomes mem=2M for the dump kernel.
    command_line = " ".join([facts.command_line, *wanted.parameters])
    if unsafe := sorted(set(command_line) - SAFE_IN_EVAL):
        fact = f"kdump-tools would let a shell read the {' '.join(unsafe)} of the kernel's command line"
        raise HostError(fact, hint="write loader: kdumpd")
