# SPDX-License-Identifier: LGPL-2.1-or-later
"""What most commands begin with: the policy in force and a look at this machine."""

from pathlib import Path

from kdumpd.host.facts import Facts
from kdumpd.host.read import read_facts, read_policy_file
from kdumpd.plan.render import SYSCTLS
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.model import Policy

ROOT = Path("/")


def read_policy(path: Path) -> Policy:
    """
    Raises:
        PolicyError: it can't be read, or all that is wrong with it.
    """
    return decode_policy(read_policy_file(path), str(path))


def look(policy: Policy, root: Path) -> Facts:
    """
    Raises:
        HostError: this machine does not let itself be read.
    """
    return read_facts(root, stores=policy.capture.stores, sysctls=SYSCTLS)
