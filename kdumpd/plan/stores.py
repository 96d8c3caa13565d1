# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a store must be: a folder that the dump kernel reaches, with room for a crash."""

from collections.abc import Iterator, Mapping

from kdumpd.host.crypttab import CRYPTTAB
from kdumpd.host.facts import Facts, Store
from kdumpd.policy.model import Policy
from kdumpd.units import MIB

LOCAL_STORE = "name a folder on a local disk in capture.stores"
# What makedumpfile and fsync(2) can rely on. Others lie on a network, in memory, on other file systems, know nothing of owners,
# or need a program that a dump kernel does not run.
FILE_SYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs"})
# What /etc/fstab may say of a mount that can only be looked at when it is there: the type is found out, or it is a bind mount.
NOT_KNOWN_YET = frozenset({"auto", "none"})
# The largest log buffer that distributions configure is 16 MiB (CONFIG_LOG_BUF_SHIFT up to 24 on big machines).
LOG_NEEDS = 32 * MIB
# The smallest is 128 KiB, which is more as text; a log in less space than this would not be whole.
LOG_AT_LEAST = MIB
# The bits of makedumpfile's dump level that leave a whole kind of pages out (makedumpfile(8)), and what /proc/meminfo calls
# them. 1 (zero pages) and 2 (cache, but not that of some file systems) leave out what can't be told from here.
LEFT_OUT = {4: ("Cached", "Buffers"), 8: ("AnonPages",), 16: ("MemFree",)}


def out_of_reach(store: Store) -> str:
    """Why no dump kernel could save anything there, in words; empty where one could."""
    mount = store.mount
    if mount is None or mount.on_root or mount.type in FILE_SYSTEMS or (not mount.now and mount.type in NOT_KNOWN_YET):
        return ""
    return f'the store "{store.path}" is on {mount.source}, a file system of the type {mount.type}, which no dump kernel can use'


def can_be_made(store: Store) -> bool:
    """Whether the folder is missing, and would be where the dump kernel looks for it."""
    return not store.exists and not store.read_only and (store.mount is None or store.mount.now)


def takes_a_log(store: Store) -> bool:
    """Whether the log of a crash could be saved there; where the memory does not fit, the log still does."""
    return not any(obstacles(store)) and (store.free is None or store.free >= LOG_AT_LEAST)


def obstacles(store: Store) -> Iterator[tuple[str, str]]:
    """What keeps the dump kernel from a store, whatever its size: the fact, and the way out."""
    mount = store.mount
    if fact := out_of_reach(store):
        yield fact, LOCAL_STORE
    elif mount and not mount.now:
        yield f"{mount.point} is not mounted, and so nobody can tell what a dump would find there", f"mount {mount.point}"
    elif mount and mount.storage and not mount.on_root and not mount.storage.local:
        yield f"{mount.point} is not on a disk of this machine, and the dump kernel has no network", LOCAL_STORE
    elif mount and mount.storage and not mount.on_root and mount.storage.asks:
        volumes = " and ".join(mount.storage.asks)
        fact = f"{mount.point} is on {volumes}, which is opened by a passphrase, and in the dump kernel nobody types one"
        yield fact, f"give it a key file in /{CRYPTTAB}, or name another store"
    elif mount and mount.obstacle and not mount.has_unit:
        fact = f"only systemd can mount {mount.point} in the dump kernel ({mount.obstacle}), and it does not know how"
        yield fact, f"write {mount.point} into /etc/fstab"


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
