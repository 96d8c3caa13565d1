# SPDX-License-Identifier: LGPL-2.1-or-later
"""What to reserve for the dump kernel: what the policy says, or what this machine needs."""

from kdumpd.crashkernel import Crashkernel, CrashkernelError, Range, parse_crashkernel
from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.facts import Facts
from kdumpd.parameters import values
from kdumpd.plan.estimate import Estimate, EstimateInputs, estimate, keep_or_change, measured_peak
from kdumpd.policy.model import Policy
from kdumpd.units import approximate_size, format_size


def wanted_crashkernel(policy: Policy, facts: Facts) -> Crashkernel:
    """The policy's word, or for `auto` a size that is enough; what is in use is kept as long as it is about right."""
    if policy.crashkernel is not None:
        return policy.crashkernel
    current = _current_size(facts)
    if facts.sizing.captures is None and current is not None:
        # Who may not read what was measured must not come to another answer than root did.
        return _plain(current)
    return _plain(keep_or_change(current, estimate_machine(policy, facts)))


def estimate_machine(policy: Policy, facts: Facts) -> Estimate:
    """The need of a dump kernel on this machine, line by line."""
    sizing = facts.sizing
    inputs = EstimateInputs(
        kernel=sizing.kernel,
        initrd=sizing.initrd,
        rootfs=sizing.unpacked,
        cpus=policy.dump_kernel.nr_cpus,
        ram=sizing.ram,
        measured=measured_peak(sizing.captures or (), facts.dump_release or facts.release, ram=sizing.ram),
        unlock=facts.storage.unlock_memory.most if facts.storage else 0,
    )
    return estimate(inputs)


def check_fits(crashkernel: Crashkernel, ram: int) -> None:
    """
    Raises:
        HostError: a machine of so much RAM would reserve nothing.
    """
    if crashkernel.reserved_for(ram) is not None:
        return
    has = f"this machine has {approximate_size(ram)} of RAM"
    if any(one.holds(ram) for one in crashkernel.ranges):
        raise HostError(f"crashkernel={crashkernel} is as much as there is, {has}", hint="write crashkernel: auto")
    fact = f"no range of crashkernel={crashkernel} fits, {has}"
    raise HostError(fact, hint="give the first range an earlier start, or write crashkernel: auto")


def _current_size(facts: Facts) -> int | None:
    """What kdumpd asks for now, when that is a plain size."""
    asked = values(facts.files[layout.absolute(layout.BOOT_PARAMETERS)].content or "", "crashkernel")
    try:
        found = parse_crashkernel(" ".join(asked))
    except CrashkernelError:
        return None
    return found.minimum() if str(found) == format_size(found.minimum()) else None


def _plain(size: int) -> Crashkernel:
    return Crashkernel(ranges=(Range(size=size),))
