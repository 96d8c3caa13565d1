# SPDX-License-Identifier: LGPL-2.1-or-later
"""What most commands begin with: the policy in force and a look at this machine."""

import stat
from dataclasses import dataclass
from pathlib import Path

from kdumpd.errors import KdumpdError, PolicyError, Problem
from kdumpd.files import read_own_text
from kdumpd.host import layout
from kdumpd.host.facts import Facts
from kdumpd.host.read import read_facts
from kdumpd.plan.kernel_values import all_paths
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.model import Policy
from kdumpd.policy.nodes import PolicyText
from kdumpd.policy.show import dump_policy

ROOT = layout.ROOT
MAX_POLICY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The policy by which this machine is kept. `policy` None: there is none, by an error or by a rollback of the first apply."""

    policy: Policy | None
    problem: PolicyError | None = None
    rolled_back: bool = False


def policy_in_force(path: Path, root: Path) -> InForce:
    """What the file says; when it has errors or was rolled back, what was applied before."""
    try:
        policy = read_policy(path)
    except PolicyError as problem:
        return InForce(policy=_applied_last(root), problem=problem)
    if dump_policy(policy) == read_own_text(root / layout.ROLLED_BACK):
        return InForce(policy=_applied_last(root), rolled_back=True)
    return InForce(policy=policy)


def _applied_last(root: Path) -> Policy | None:
    text = read_own_text(root / layout.IN_FORCE)
    try:
        return None if text is None else decode_policy([PolicyText(source=str(layout.IN_FORCE), content=text.encode())])
    except (PolicyError, ValueError, RecursionError):
        # Damaged, or written by a kdumpd with other keys.
        return None


def read_policy(path: Path) -> Policy:
    """
    Raises:
        PolicyError: it can't be read, or all that is wrong with it.
    """
    return decode_policy(read_policy_texts(path))


def look(policy: Policy, root: Path, *, release: str | None = None) -> Facts:
    """`release`: as if this kernel ran, not the one that does.

    Raises:
        HostError: this machine does not let itself be read.
    """
    return read_facts(
        root,
        release=release,
        stores=policy.capture.stores,
        values=all_paths(),
        dump_kernel=policy.dump_kernel.kernel,
        asks_ramoops=policy.pstore.ramoops is not None,
    )


def read_policy_texts(path: Path) -> tuple[PolicyText, ...]:
    """A policy and its drop-ins, FILE.d/*.yaml in name order.

    Raises:
        PolicyError: one of them is not there, may not be read, or is no policy by its size.
    """
    return tuple(_read_policy_text(file) for file in _policy_files(path))


def is_private(path: Path) -> bool:
    """Whether a part of this policy is not for everybody to read; one that can't be looked at is not."""
    try:
        return not all(file.stat().st_mode & stat.S_IROTH for file in _policy_files(path))
    except OSError:
        return True


def for_everybody(problem: KdumpdError, path: Path) -> KdumpdError:
    """An error as any user may see it: of a private policy, which an error quotes, only that it has errors."""
    if isinstance(problem, PolicyError) and is_private(path):
        fact, hint = f"{len(problem.problems)} problems in a policy that not everybody may read", "as root: kdumpd policy check"
        return PolicyError([Problem(source=str(path), line=1, column=1, message=fact, hint=hint)])
    return problem


def _policy_files(path: Path) -> tuple[Path, ...]:
    return (path, *sorted(path.with_name(f"{path.name}.d").glob("*.yaml")))


def _read_policy_text(path: Path) -> PolicyText:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_POLICY_BYTES + 1)
    except OSError as problem:
        hints = {FileNotFoundError: f"an empty file is a valid policy: touch {path}", PermissionError: "run this as root"}
        fact = f"cannot read the policy: {(problem.strerror or str(problem)).lower()}"
        raise PolicyError([Problem(source=str(path), line=1, column=1, message=fact, hint=hints.get(type(problem)))]) from problem
    if len(content) > MAX_POLICY_BYTES:
        fact = f"the policy has more than {MAX_POLICY_BYTES} bytes"
        raise PolicyError([Problem(source=str(path), line=1, column=1, message=fact, hint="is this the right file?")])
    return PolicyText(source=str(path), content=content)
