# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that must hold for a dump to work, from one look: what `kdumpd check` and D-Bus tell."""

from pathlib import Path
from typing import Any

from kdumpd.apply.look import look, policy_in_force
from kdumpd.host.check_facts import read_check_facts
from kdumpd.plan.check import check, worst
from kdumpd.plan.findings import Finding, warn
from kdumpd.policy.model import Policy
from kdumpd.state.state import policy_troubles


def check_machine(root: Path, policy_file: Path) -> tuple[Finding, ...]:
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
    policy_findings = (warn("policy", trouble.fact, trouble.way_out) for trouble in policy_troubles(in_force, str(policy_file)))
    return (*policy_findings, *check(policy, facts, read_check_facts(root, facts)))


def findings_to_json(findings: tuple[Finding, ...]) -> dict[str, Any]:
    """For programs."""
    return {"verdict": worst(findings), "findings": [finding.to_json() for finding in findings]}
