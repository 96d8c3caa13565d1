# SPDX-License-Identifier: LGPL-2.1-or-later
"""What it costs to read a log, and to look into a full archive. On this machine itself: no guest is needed."""

import functools
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kdumpd.crashes.make import make_report
from kdumpd.crashes.text.reader import read_log
from tests.bench.report import Figure, figures_table

TOP = Path(__file__).resolve().parents[2]
DATA = TOP / "tests/data/dmesg"
ROUNDS = 5
LOG_BYTES = 100_000_000
CRASHES = 10_000
METHOD = """\
Medians of {rounds} rounds, after one that does not count. The ordinary log is the boot of a sample again and again, {megabytes} MB
of it, and then the sample's crash; the worst one is nothing but oopses. The archive has {crashes} crashes, from all samples in
turn; list and show are whole processes.
"""
FIRST_CRASH = datetime(2026, 1, 1, tzinfo=UTC)
# The command, on another root.
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kdumpd.host import layout
layout.ROOT = Path(sys.argv[2])
from kdumpd.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


def measure_crashes() -> list[str]:
    """The lines of its section."""
    method = METHOD.format(rounds=ROUNDS, megabytes=LOG_BYTES // 1_000_000, crashes=CRASHES)
    with tempfile.TemporaryDirectory(prefix="kdumpd-bench-") as folder:
        return [method, *figures_table(list(figures(Path(folder))))]


def describe_here() -> str:
    return f"On this machine itself: {platform.machine()}, Python {platform.python_version()}."


def figures(folder: Path) -> Iterator[Figure]:
    whole = (DATA / "x86_64-6.1.192-full-null.txt").read_bytes()
    boot, crash = whole[: (cut := whole.rindex(b"\n", 0, whole.index(b"BUG: ")) + 1)], whole[cut:]
    yield Figure("reading an ordinary log", _speed(folder / "log", boot, crash), "MB/s", least=50)
    yield Figure("reading a log of nothing but oopses", _speed(folder / "log", crash, b""), "MB/s")
    _fill(folder / "root/var/crash")
    # The first call may write an index; it is told apart, as it comes once.
    began = time.monotonic()
    _kdumpd(folder / "root", "list")
    yield Figure(f"crashes list, {CRASHES} crashes, for the first time", time.monotonic() - began, "s")
    for action, goal in (("list", 1.0), ("show", 0.3)):
        seconds = _median(functools.partial(_kdumpd, folder / "root", action))
        yield Figure(f"crashes {action}, {CRASHES} crashes", seconds, "s", most=goal)


def _speed(log: Path, again: bytes, end: bytes) -> float:
    """Megabytes in a second."""
    with log.open("wb") as file:
        for _ in range(LOG_BYTES // len(again)):
            file.write(again)
        file.write(end)
    return log.stat().st_size / 1e6 / _median(lambda: read_log(log))


def _median(work: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS + 1):
        began = time.monotonic()
        work()
        rounds.append(time.monotonic() - began)
    return statistics.median(rounds[1:])


def _fill(store: Path) -> None:
    """As captures and the daemon leave them: the log, and the report of it."""
    logs = sorted(DATA.glob("*-kdump-*.txt"))
    samples = []
    for log in logs:
        folder = store / "sample"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dmesg.txt").write_bytes(log.read_bytes())
        samples.append(make_report(folder))
    (folder / "dmesg.txt").unlink()
    folder.rmdir()
    for number in range(CRASHES):
        when = FIRST_CRASH + timedelta(minutes=number)
        report = replace(samples[number % len(samples)], id=f"{when:%Y-%m-%dT%H-%M-%SZ}", time=f"{when:%Y-%m-%dT%H:%M:%SZ}")
        folder = store / report.id
        folder.mkdir()
        (folder / "dmesg.txt").write_bytes(logs[number % len(logs)].read_bytes())
        (folder / "report.json").write_text(report.to_text())


def _kdumpd(root: Path, action: str) -> None:
    argv = [sys.executable, "-I", "-c", PROGRAM, str(TOP), str(root), "crashes", action]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
