# SPDX-License-Identifier: LGPL-2.1-or-later
"""What callers on D-Bus are told of this machine, in the types of org.kdumpd1.xml."""

import json
import os
from pathlib import Path
from typing import Any

from kdumpd.apply.look import for_everybody, look, policy_in_force, read_policy
from kdumpd.capture import status
from kdumpd.crashes import report
from kdumpd.crashes.archive import Crash, capture_stores, crash_folders, read_crash
from kdumpd.crashes.index import Entry, list_entries
from kdumpd.crashes.selftest import TestResult
from kdumpd.errors import KdumpdError, NoSuchCrashError
from kdumpd.files import exists, open_own, read_text
from kdumpd.plan.make import make_plan
from kdumpd.state.check import check_machine, findings_to_json
from kdumpd.state.state import state_under

# The log buffer that distributions configure is far smaller; a message on the system bus may have 32 MiB.
MAX_LOG = 8 << 20


def read_properties(root: Path, policy_file: Path) -> dict[str, Any]:
    """All properties, as they are now.

    Raises:
        HostError: this machine does not let itself be read.
    """
    state = state_under(policy_in_force(policy_file, root), root, policy_file)
    return {
        "State": str(state.readiness.level),
        "Armed": state.readiness.armed is True,
        "ReservedBytes": state.facts.kexec.reserved or 0,
        "NeededBytes": state.needed_bytes or 0,
        "Problems": [(_text(trouble.fact), _text(trouble.way_out)) for trouble in state.readiness.troubles],
        "LastCrash": describe(state.last_crash) if state.last_crash else {},
        "LastTest": _describe_test(state.last_test) if state.last_test else {},
        "PolicyFile": str(policy_file),
    }


def _describe_test(test: TestResult) -> dict[str, str]:
    return {
        "started": test.started,
        "passed": "yes" if test.passed else "no",
        "verdict": _text(test.verdict),
        "way_out": _text(test.way_out),
        "folder": test.folder or "",
    }


def plan_json(root: Path, policy_file: Path, *, details: bool) -> str:
    """What an apply would do. Quotes the policy: for whoever may read it, or apply it.

    Raises:
        KdumpdError: the policy is broken, or this machine can't be brought to it.
    """
    policy = read_policy(policy_file)
    plan = make_plan(policy, look(policy, root)).to_json()
    if not details:
        plan["steps"] = [{**step, "details": ""} for step in plan["steps"]]
    return json.dumps(plan)


def check_json(root: Path, policy_file: Path) -> str:
    """What a check finds.

    Raises:
        KdumpdError: the policy is broken, and none was ever applied; or this machine does not let itself be read.
    """
    try:
        return json.dumps(findings_to_json(check_machine(root, policy_file)))
    except KdumpdError as problem:
        raise for_everybody(problem, policy_file) from problem


def crashes(root: Path) -> list[dict[str, str]]:
    """All of them, the oldest first."""
    return [describe(crash) for crash in list_entries(root, capture_stores(root))]


def describe(crash: Crash | Entry) -> dict[str, str]:
    """What everybody may know of a crash."""
    return {"id": crash.id, "time": crash.time, "verdict": _text(crash.verdict), "folder": str(crash.folder)}


def describe_whole(crash: Crash) -> dict[str, str]:
    """The same, and what its log tells."""
    return {**describe(crash), **known(crash)}


def known(crash: Crash) -> dict[str, str]:
    """What the log of a crash tells, and where its report is; what is not known is missing."""
    told = crash.report.told if crash.report else None
    recorded = crash.folder / report.FILE
    found = {"report": str(recorded) if exists(recorded) else None}
    if told:
        found |= {name: getattr(told, name) for name in ("signature", "kind", "function", "module", "release")}
    return {name: _text(value) for name, value in found.items() if value}


def crash_contents(root: Path, name: str) -> dict[str, str]:
    """
    Raises:
        NoSuchCrashError: there is none of that name.
    """
    folder = next((folder for folder in crash_folders(root, capture_stores(root)) if folder.name == name), None)
    if folder is None:
        raise NoSuchCrashError(f'there is no crash "{name}"', hint="see them: kdumpd crashes list")
    found = read_crash(folder)
    return {
        **describe_whole(found),
        "log": str(found.log or ""),
        "dmesg": _end_of(found.log) if found.log else "",
        "status": _text(read_text(found.folder / status.FILE) or ""),
    }


def _end_of(log: Path) -> str:
    try:
        with open_own(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_LOG))
            return _text(file.read(MAX_LOG).decode(errors="replace"))
    except OSError:
        # What was a log when its report was written.
        return ""


def _text(text: str) -> str:
    # A string on D-Bus is UTF-8, and has no NUL.
    return text.replace("\0", "�").encode(errors="replace").decode()
