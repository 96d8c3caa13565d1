# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a store must be: a folder that the dump kernel reaches, with room for a crash."""

from collections.abc import Mapping

from kdumpd.host.facts import Facts, Store
from kdumpd.policy.model import Policy
from kdumpd.units import MIB

STORE_ON_ROOT = "the dump kernel mounts only /; name a folder on it in capture.stores"
# The largest log buffer that distributions configure is 16 MiB (CONFIG_LOG_BUF_SHIFT up to 24 on big machines).
LOG_NEEDS = 32 * MIB
# The bits of makedumpfile's dump level that leave a whole kind of pages out (makedumpfile(8)), and what /proc/meminfo calls
# them. 1 (zero pages) and 2 (cache, but not that of some file systems) leave out what can't be told from here.
LEFT_OUT = {4: ("Cached", "Buffers"), 8: ("AnonPages",), 16: ("MemFree",)}


def elsewhere(store: Store) -> str:
    """The fact about a store that the dump kernel would not reach."""
    return f'the store "{store.path}" is on the file system that is mounted at {store.mount_point}'


def takes_a_log(store: Store) -> bool:
    """Whether the log of a crash would be saved there; where the memory does not fit, the log still does."""
    return store.mount_point == "/" and (store.free is None or store.free >= LOG_NEEDS)


def crash_needs(policy: Policy, facts: Facts) -> int:
    """The bytes that one crash may need in a store: an upper bound for the log, and for the memory if that is saved too.

    Of several levels the last one counts: it is what is tried when the others did not fit.
    """
    vmcore = policy.capture.vmcore
    return (LOG_NEEDS if policy.capture.dmesg else 0) + (_vmcore(vmcore.level[-1], facts.sizing.meminfo) if vmcore else 0)


def _vmcore(level: int, meminfo: Mapping[str, int]) -> int:
    """By what the memory is used for now, and before compression, which may halve it or do nothing."""
    left_out = sum(meminfo.get(name, 0) for bit, names in LEFT_OUT.items() if level & bit for name in names)
    return max(meminfo.get("MemTotal", 0) - left_out, 0)
