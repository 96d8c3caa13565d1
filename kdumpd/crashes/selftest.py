# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd test`: what was known before the crash, and the judgement of the next boot on what is left of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kdumpd.capture.durable import remove_file, write_file
from kdumpd.capture.settings import is_dump_kernel
from kdumpd.capture.status import FILE as STATUS_FILE
from kdumpd.capture.status import Status
from kdumpd.crashes.archive import Crash, crash_folders, read_crash
from kdumpd.decode import read_json
from kdumpd.files import read_text
from kdumpd.host import layout
from kdumpd.units import KIB, approximate_size

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
NOTHING_SAVED = "the machine was restarted, but nothing was saved: the dump kernel did not start, or did not reach the store"
LOOK_AT_CONSOLE = (
    "look at what the console said then; is the memory enough: kdumpd estimate; is all else in place: kdumpd check;"
    " then again: kdumpd test"
)
AGAIN = "kdumpd test"


@dataclass(frozen=True, kw_only=True)
class StartedTest:
    """What is written down before the crash. `token` is in the log of this crash only; `known` are the crashes before it."""

    token: str
    boot_id: str
    started: str
    kernel: str
    dump_kernel: str
    stores: tuple[str, ...]
    vmcore: bool
    known: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """How a test went. `reason` and `way_out` tell of a failure; what was not measured is None. `total_kib` is what the dump
    kernel had for programs, of which `peak_used_kib` was the most in use.
    """

    started: str
    kernel: str
    dump_kernel: str
    passed: bool
    reason: str = ""
    way_out: str = ""
    folder: str | None = None
    finished: str | None = None
    seconds_to_log: float | None = None
    capture_seconds: float | None = None
    peak_used_kib: int | None = None
    total_kib: int | None = None
    vmcore_bytes: int | None = None

    @property
    def verdict(self) -> str:
        """All of it in one line."""
        when = f"{self.started[:16]}Z"
        if not self.passed:
            return f"failed {when}: {self.reason}"
        peak, total = (approximate_size(KIB * (size or 0)) for size in (self.peak_used_kib, self.total_kib))
        memory = f", {peak} of {total} memory used at the peak" if self.peak_used_kib else ""
        return f"passed {when}: the log was safe {self.seconds_to_log or 0.0:.1f} s after the dump kernel started{memory}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True)
class Failure:
    """Why a test has failed, and what to do."""

    reason: str
    way_out: str


def judge_test(test: StartedTest, crashes: Sequence[Crash]) -> TestResult:
    """The result, from all that is in the stores after the crash."""
    new = [crash for crash in crashes if str(crash.folder) not in test.known]
    own = [crash for crash in new if crash.test == test.token]
    # Without the token the first one after the test is the most likely to be of it.
    crash = next(iter(own or new), None)
    failure = _failure(test, crash)
    return TestResult(
        started=test.started,
        kernel=test.kernel,
        dump_kernel=test.dump_kernel,
        passed=failure is None,
        reason=failure.reason if failure else "",
        way_out=failure.way_out if failure else "",
        folder=str(crash.folder) if crash else None,
        **(_measured(crash.status) if crash and crash.status else {}),
    )


def _failure(test: StartedTest, crash: Crash | None) -> Failure | None:
    if crash is None:
        return Failure(NOTHING_SAVED, LOOK_AT_CONSOLE)
    story = f"see {crash.folder / STATUS_FILE}; then again: {AGAIN}"
    if crash.log is None:
        return Failure(crash.verdict, story if crash.status else LOOK_AT_CONSOLE)
    if crash.test != test.token:
        return Failure(f"what was saved in {crash.folder} is another crash: its log does not tell of this test", AGAIN)
    if crash.status is None or not crash.status.dmesg_saved:
        return Failure("the log was saved, but then the capture was cut off", LOOK_AT_CONSOLE)
    if test.vmcore and not crash.status.saved("vmcore"):
        details = [step.detail for step in crash.status.steps if step.name == "vmcore"]
        return Failure(f"the log was saved, but not the memory: {details[-1] if details else 'the capture was cut off'}", story)
    return None


def _measured(status: Status) -> dict[str, Any]:
    return {
        "finished": _finished(status),
        "seconds_to_log": _seconds_to_log(status),
        "capture_seconds": status.seconds,
        # Zeros when /proc could not be read.
        "peak_used_kib": status.memory_kib.peak_used or None,
        "total_kib": status.memory_kib.total or None,
        "vmcore_bytes": next((step.bytes for step in status.steps if step.name == "vmcore" and step.ok), None),
    }


def _finished(status: Status) -> str | None:
    try:
        return (datetime.strptime(status.started, TIME_FORMAT) + timedelta(seconds=status.seconds)).strftime(TIME_FORMAT)
    except (ValueError, OverflowError):
        return None


def _seconds_to_log(status: Status) -> float | None:
    """From the start of the dump kernel; of an older kdumpd: its age when the capture began, and all steps up to the log's."""
    if not status.dmesg_saved:
        return None
    if "log_safe" in status.milestones:
        return status.milestones["log_safe"]
    last = next(number for number, step in enumerate(status.steps, 1) if step.name == "dmesg" and step.ok)
    return round(status.uptime - status.seconds + sum(step.seconds for step in status.steps[:last]), 3)


def read_last_test(root: Path) -> TestResult | None:
    """The result of the last test that is over, whether the daemon has seen it yet or not."""
    return _judged(root) or read_json(root / layout.LAST_TEST, TestResult)


def conclude_test(root: Path) -> TestResult | None:
    """Judges a test that is over and not on record yet, and puts the result on record; None: there is no such test.

    Raises:
        OSError: the result could not be written; the next call judges again.
    """
    result = _judged(root)
    if result:
        write_file(root / layout.LAST_TEST, _text(asdict(result)), 0o644)
        remove_file(root / layout.TEST)
    return result


def record_start(root: Path, test: StartedTest) -> None:
    """Writes down, durably, that a test begins."""
    write_file(root / layout.TEST, _text(asdict(test)), 0o644)


def _judged(root: Path) -> TestResult | None:
    test = _started(root)
    boot_id = (read_text(root / "proc/sys/kernel/random/boot_id") or "").strip()
    if test is None or test.boot_id == boot_id or is_dump_kernel(root):
        return None
    known = set(test.known)
    crashes = [read_crash(folder) for folder in crash_folders(root, test.stores) if str(folder) not in known]
    # Somebody who may not look inside can't judge.
    return judge_test(test, crashes) if all(crash.readable or crash.broken for crash in crashes) else None


def _started(root: Path) -> StartedTest | None:
    """The test that was begun last and is not judged yet."""
    return read_json(root / layout.TEST, StartedTest)


def _text(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
