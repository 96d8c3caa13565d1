# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells everyone who could care what state this machine is in: the journal when it changes, monitoring always."""

from pathlib import Path

from kdumpd.apply.look import policy_in_force
from kdumpd.capture.durable import write_file
from kdumpd.daemon.journal import Event, Priority, event, log
from kdumpd.files import exists, read_own_text
from kdumpd.host import layout
from kdumpd.plan.readiness import Level
from kdumpd.state.metrics import metrics
from kdumpd.state.screen import verdict
from kdumpd.state.state import State, state_under

EVENTS = {
    Level.READY: Event.ARMED,
    Level.WITH_PROBLEMS: Event.ARMED,
    Level.DEGRADED: Event.DEGRADED,
    Level.NOT_ARMED: Event.NOT_ARMED,
    Level.UNKNOWN: Event.NOT_ARMED,
}


def look_and_publish(root: Path, policy_file: Path) -> State:
    """What has to follow every job.

    Raises:
        HostError: this machine does not let itself be read.
    """
    state = state_under(policy_in_force(policy_file, root), root, policy_file)
    publish(state, root)
    return state


def publish(state: State, root: Path) -> None:
    """What can't be written is told, and is no reason to do anything else differently."""
    try:
        (root / layout.METRICS).parent.mkdir(parents=True, exist_ok=True)
        _tell_change(state, root)
        _write_metrics(state, root)
    except OSError as problem:
        log(Priority.WARNING, f"cannot tell monitoring of this machine's state, {problem.filename}: {problem.strerror}")


def _tell_change(state: State, root: Path) -> None:
    """The journal hears of a state once: in a boot, not in a life of the daemon, which may be restarted every 10 seconds."""
    now = EVENTS[state.readiness.level]
    if now.name == read_own_text(root / layout.TOLD):
        return
    trouble = state.readiness.first_trouble
    fields = {"problem": trouble.fact, "way_out": trouble.way_out} if state.readiness.troubles else {}
    event(now, verdict(state), state=state.readiness.level, store=state.policy.capture.stores[0], **fields)
    write_file(root / layout.TOLD, now.name.encode(), 0o644)


def _write_metrics(state: State, root: Path) -> None:
    text = metrics(state).encode()
    write_file(root / layout.METRICS, text, 0o644)
    if exists((root / layout.NODE_EXPORTER_METRICS).parent):
        write_file(root / layout.NODE_EXPORTER_METRICS, text, 0o644)
