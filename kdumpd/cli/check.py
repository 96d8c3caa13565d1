# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd check`."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from kdumpd.apply.look import ROOT
from kdumpd.errors import ExitCode
from kdumpd.host.kernel_config import KernelConfig, parse_kernel_config
from kdumpd.plan.check import worst
from kdumpd.plan.findings import Finding, Verdict
from kdumpd.plan.kernel_options import Role, make_fragment, option_findings
from kdumpd.state.check import check_machine, findings_to_json
from kdumpd.terminal import harmless_lines


def run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.kernel_config is not None:
        return _check_kernel_config(arguments.kernel_config, arguments.json)
    findings = check_machine(ROOT, arguments.policy)
    if arguments.json:
        print(json.dumps(findings_to_json(findings), indent=2))
    else:
        print(harmless_lines("\n".join(_lines(findings))))
    return _exit_code(findings)


def _check_kernel_config(path: Path, as_json: bool) -> ExitCode:
    config = parse_kernel_config(path.read_bytes(), str(path))
    findings = tuple(finding for role in Role for finding in option_findings(config, role))
    if as_json:
        print(json.dumps({**findings_to_json(findings), "fragment": make_fragment(config)}, indent=2))
    else:
        print(_as_fragment(config))
    return _exit_code(findings)


def _as_fragment(config: KernelConfig) -> str:
    """All of it can be merged: what is not an option is a comment."""
    version = f"Linux {config.version[0]}.{config.version[1]}" if config.version else "a kernel that does not tell its version"
    missing = make_fragment(config)
    if not missing:
        return f"# {config.source} ({version}) has every option that kdumpd knows of"
    how = "# Merge it, in the kernel's source: scripts/kconfig/merge_config.sh -m .config THIS_FILE && make olddefconfig"
    return f"# Missing in {config.source} ({version})\n{how}\n\n{missing.rstrip()}"


def _lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.verdict:<5} {finding.subject}: {finding.fact}"
        if finding.way_out:
            yield f"      way out: {finding.way_out}"
    count = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    numbers = ", ".join(f"{verdict} {number}" for verdict, number in count.items())
    works = (
        "a crash now would NOT be saved" if count[Verdict.FAIL] else "a crash now would be saved, as far as can be seen from here"
    )
    yield f"{numbers}: {works}"


def _exit_code(findings: tuple[Finding, ...]) -> ExitCode:
    return ExitCode.NOT_ARMED if worst(findings) is Verdict.FAIL else ExitCode.OK
