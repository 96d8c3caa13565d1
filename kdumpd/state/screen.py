# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state for people: in one screen, and in one line."""

from collections.abc import Iterator

from kdumpd.capture.settings import FinalAction
from kdumpd.host.facts import BootLoader, Store
from kdumpd.parameters import values
from kdumpd.plan.kernel_values import EARLY_PSTORE
from kdumpd.plan.readiness import Level, reservation_troubles
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.state.state import State
from kdumpd.terminal import one_line
from kdumpd.units import approximate_size

AFTERWARDS = {FinalAction.POWEROFF: "power off", FinalAction.REBOOT: "reboot", FinalAction.HALT: "halt"}
NEVER_TESTED = "never: run kdumpd test when nobody needs this machine"
# What a monitoring plugin calls it (monitoring-plugins.org, "Plugin Return Codes").
PLUGIN_WORDS = {
    Level.READY: "OK",
    Level.WITH_PROBLEMS: "WARNING",
    Level.DEGRADED: "WARNING",
    Level.NOT_ARMED: "CRITICAL",
    Level.UNKNOWN: "UNKNOWN",
}


def screen(state: State) -> Iterator[str]:
    """Line by line: the verdict, what it is made of, and each problem with its way out."""
    yield one_line(verdict(state))
    for name, text in _made_of(state):
        yield f"  {name:12}  {one_line(text)}"
    for trouble in state.readiness.troubles:
        yield f"problem: {one_line(trouble.fact)}"
        yield f"    way out: {one_line(trouble.way_out)}"


def check_line(state: State) -> str:
    """The state as a monitoring plugin tells it: a word, a sentence, and numbers for a graph."""
    free = state.facts.stores[0].free
    numbers = {"reserved": state.facts.kexec.reserved, "needed": state.needed_bytes, "free": free}
    # U is the guidelines' word for a number that is not known.
    performance = " ".join(f"{name}={'U' if value is None else f'{value}B'}" for name, value in numbers.items())
    word = PLUGIN_WORDS[state.readiness.level]
    return plugin_line(word, verdict(state).removeprefix(f"{word}: "), performance)


def plugin_line(word: str, text: str, performance: str = "") -> str:
    """What one line of a monitoring plugin looks like; a | begins the numbers, wherever it stands."""
    return f"KDUMP {word} - {one_line(text).replace('|', '/')}" + (f" | {performance}" if performance else "")


def verdict(state: State) -> str:
    """Would a crash right now be saved, and if not, why?"""
    troubles, why = state.readiness.troubles, state.readiness.first_trouble.fact
    match state.readiness.level:
        case Level.UNKNOWN:
            return "UNKNOWN: this kernel does not tell whether a dump kernel is loaded"
        case Level.NOT_ARMED:
            if state.readiness.loaded:
                return f"NOT ARMED, kdumpd would save nothing of a crash now: {why}"
            left = f"only what {state.pstore_backend} keeps" if state.pstore_backend else "nothing"
            return f"NOT ARMED, a crash now would leave {left}: {why}"
        case Level.DEGRADED:
            return f"DEGRADED: {why}"
        case Level.WITH_PROBLEMS:
            more = len(troubles) - 1
            return f"ARMED, BUT {why}" + (f" (and {more} more problem{'s' if more > 1 else ''})" if more else "")
        case Level.READY:
            capture = state.policy.capture
            return f"ARMED: a crash now would be saved to {capture.stores[0]}, then this machine would {AFTERWARDS[capture.then]}"


def _made_of(state: State) -> Iterator[tuple[str, str]]:
    facts, crash = state.facts, state.last_crash
    yield from _reservation(state)
    yield "dump kernel", state.dump_kernel
    yield "capture", str(state.way)
    for store in facts.stores:
        yield "store", f"{store.path}, {_room(state, store)}"
    yield "pstore", _pstore(state)
    yield "boot loader", "none that kdumpd knows" if facts.boot.loader is BootLoader.NONE else facts.boot.loader
    yield "last test", state.last_test.verdict if state.last_test else NEVER_TESTED
    if state.last_end:
        yield "last end", state.last_end.words
    yield "last crash", f"{crash.time} {crash.verdict}" if crash else "none"
    if crash and crash.crash_loop:
        yield "crash loop", crash.crash_loop


def _reservation(state: State) -> Iterator[tuple[str, str]]:
    """One line where all three agree."""
    policy, facts = state.policy, state.facts
    reserved, auto = facts.kexec.reserved, policy.crashkernel is None
    if reserved and not any(reservation_troubles(policy, facts)):
        said_by = "the policy (auto)" if auto else "the policy"
        yield "reserved", f"{approximate_size(reserved)}, as {said_by} and the command line say"
        return
    wanted = wanted_crashkernel(policy, facts)
    yield "policy", f"crashkernel={f'auto, which is {wanted} here' if auto else wanted} ({state.policy_file})"
    running = values(facts.command_line, "crashkernel")
    yield "command line", " ".join(f"crashkernel={value}" for value in running) or "no crashkernel="
    yield "reserved", "unknown" if reserved is None else approximate_size(reserved) if reserved else "nothing"


def _room(state: State, store: Store) -> str:
    need = f"a crash needs at most {approximate_size(state.store_needs)}"
    return f"{'unknown' if store.free is None else approximate_size(store.free)} free, {need}"


def _pstore(state: State) -> str:
    backend = state.pstore_backend
    if backend is None:
        return "none"
    if not state.facts.kexec.loaded:
        return f"{backend} would keep the end of the log"
    if state.facts.values.get(EARLY_PSTORE) == "Y":
        return f"{backend} keeps the end of the log too"
    # panic() in kernel/panic.c starts a dump kernel first, and does not come back.
    return f"{backend}, unused while a dump kernel is loaded (panic.early_pstore: false)"
