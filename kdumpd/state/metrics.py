# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state as Prometheus reads it: the text format, for node-exporter's folder of *.prom files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from kdumpd import __version__
from kdumpd.plan.readiness import Level
from kdumpd.state.state import State

# In a label's value these three are escaped, and nothing else is special.
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True)
class Sample:
    """One number, and what tells it from others of the same name."""

    value: int
    labels: Mapping[str, str]

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in self.labels.items())
        return f"{{{labels}}} {self.value}" if labels else f" {self.value}"


def metrics(state: State) -> str:
    """All metrics, each explained. What is not known is left out: Prometheus has no other word for it."""
    return "".join(
        f"# HELP {name} {about}\n# TYPE {name} gauge\n" + "".join(f"{name}{sample}\n" for sample in samples)
        for name, about, samples in _families(state)
        if samples
    )


def _families(state: State) -> Iterator[tuple[str, str, list[Sample]]]:
    facts, level = state.facts, state.readiness.level
    info = {"version": __version__, "kernel": facts.release, "dump_kernel": state.dump_kernel}
    yield "kdumpd_info", "What kdumpd and the kernels are.", [Sample(1, info)]
    yield (
        "kdumpd_armed",
        "Whether a crash right now would be saved.",
        _one(int(bool(state.readiness.armed))),
    )
    about = "Whether the last good dump kernel is loaded, because the wanted one could not be."
    yield "kdumpd_degraded", about, _one(int(level is Level.DEGRADED))
    yield "kdumpd_problems", "How many problems `kdumpd status` tells of.", _one(len(state.readiness.troubles))
    yield "kdumpd_reserved_bytes", "The memory that the kernel reserved for a dump kernel.", _one(facts.kexec.reserved)
    yield "kdumpd_needed_bytes", "The memory that the policy wants the kernel to reserve.", _one(state.needed_bytes)
    free = [Sample(store.free, {"path": store.path}) for store in facts.stores if store.free is not None]
    yield "kdumpd_store_free_bytes", "The space that is free in a store for crashes.", free
    yield "kdumpd_store_needed_bytes", "The space that the next crash may need, at most.", _one(state.store_needs)
    yield "kdumpd_crashes", "How many crashes the stores hold.", _one(len(state.crashes))
    crashed = _seconds(state.last_crash.time) if state.last_crash else None
    yield "kdumpd_last_crash_timestamp_seconds", "When this machine crashed for the last time.", _one(crashed)
    test = state.last_test
    yield "kdumpd_last_test_passed", "Whether the last `kdumpd test` was saved.", _one(int(test.passed) if test else None)
    tested = _seconds(test.started) if test else None
    yield "kdumpd_last_test_timestamp_seconds", "When this machine was crashed by `kdumpd test`.", _one(tested)


def _one(value: int | None) -> list[Sample]:
    return [] if value is None else [Sample(value, {})]


def _seconds(time: str) -> int | None:
    """Seconds since 1970; None for a folder whose name only looks like a time."""
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except (ValueError, OverflowError):
        return None
