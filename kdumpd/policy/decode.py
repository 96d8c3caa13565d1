# SPDX-License-Identifier: LGPL-2.1-or-later
"""From YAML to a Policy: the values one by one, then what contradicts each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kdumpd.policy.keys import POLICY
from kdumpd.policy.model import Compression, DumpFormat, Fault, Loader, PanicPolicy, Policy, VmcorePolicy
from kdumpd.policy.nodes import Document, PolicyText, Value
from kdumpd.units import format_size

# kdump-config passes its command line through `eval` with only the first " escaped (kdump-tools 1.8.1 and 1.10.9).
SAFE_IN_EVAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-+=.,:/@%^")


@dataclass(frozen=True)
class Contradiction:
    """What two values together can't mean. It is told at the first of `keys` that was written."""

    keys: tuple[str, ...]
    fact: str
    hint: str


def decode_policy(texts: Sequence[PolicyText]) -> Policy:
    """The policy in these YAML texts, a later one overriding an earlier one key by key; without any, the defaults.

    Raises:
        PolicyError: all that is wrong with them, with file, line and column.
    """
    document = Document(texts)
    if document.root is None:
        document.raise_problems()
        return Policy()
    policy: Policy = POLICY.decode(Value(document, document.root, ""))
    for found in _contradictions(policy):
        document.record_contradiction(found.keys, found.fact, found.hint)
    document.raise_problems()
    return policy


def _contradictions(policy: Policy) -> Iterator[Contradiction]:
    if not policy.capture.dmesg and policy.capture.vmcore is None:
        yield Contradiction(
            ("capture.dmesg", "capture.vmcore"),
            "with vmcore: off, nothing would be saved",
            "write dmesg: true, or give vmcore a level",
        )
    if policy.capture.vmcore is not None:
        yield from _in_vmcore(policy.capture.vmcore)
    keep, loop = policy.capture.keep, policy.capture.crash_loop
    if loop is not None and keep.count < loop.count:
        yield Contradiction(
            ("capture.keep.count", "capture.crash_loop.count"),
            f"{keep.count} kept crashes can't show that there were more than the {loop.count} of capture.crash_loop",
            f"keep {loop.count} or more, or write crash_loop: off",
        )
    if policy.panic.hung_task_timeout != PanicPolicy.hung_task_timeout and Fault.HUNG_TASK not in policy.panic.on:
        yield Contradiction(
            ("panic.hung_task_timeout", "panic.on"),
            "hung_task is not in panic.on, so this has no effect",
            "add hung_task to panic.on",
        )
    ramoops = policy.pstore.ramoops
    if ramoops is not None and ramoops.record_size > ramoops.size:
        yield Contradiction(
            ("pstore.ramoops.record_size", "pstore.ramoops.size"),
            f"a record of {format_size(ramoops.record_size)} has no room in {format_size(ramoops.size)}",
            "make size a multiple of record_size",
        )
    if policy.loader is Loader.KDUMP_TOOLS:
        yield from _beyond_kdump_tools(policy)


def _in_vmcore(vmcore: VmcorePolicy) -> Iterator[Contradiction]:
    if vmcore.format is DumpFormat.ELF and vmcore.compress is not Compression.NONE:
        yield Contradiction(
            ("capture.vmcore.compress", "capture.vmcore.format"),
            "what is in an elf file is never compressed",
            "write compress: none, or format: kdump",
        )
    for before, after in pairwise(vmcore.level):
        if before & after != before:
            yield Contradiction(
                ("capture.vmcore.level",),
                f"after {before} comes {after}, which does not leave out all that {before} does, and so may be larger",
                "let each leave out all that the one before does, and more, as in [1, 17, 31]",
            )


def _beyond_kdump_tools(policy: Policy) -> Iterator[Contradiction]:
    if policy.dump_kernel.kernel is not None:
        yield Contradiction(
            ("dump_kernel.kernel", "loader"),
            "kdump-tools loads the running kernel and no other",
            "write loader: kdumpd, or kernel: running",
        )
    if policy.dump_kernel.remove:
        yield Contradiction(
            ("dump_kernel.remove", "loader"),
            "kdump-tools can't be told to remove parameters",
            "write loader: kdumpd, or remove: []",
        )
    if unsafe := sorted(set(policy.dump_kernel.append) - SAFE_IN_EVAL):
        yield Contradiction(
            ("dump_kernel.append", "loader"),
            f"kdump-tools would let a shell read the {' '.join(unsafe)} in it",
            "write loader: kdumpd, or do without these characters",
        )
