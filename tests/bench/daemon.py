# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon and the command cost on a living machine."""

import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.report import Figure, figures_table
from tests.bus.conftest import Client, PrivateBus, RunningDaemon
from tests.unit.fakes import FakeMachine
from tests.vm.guest import Guest
from tests.vm.machines import BOTH, Machine

TOP = Path(__file__).resolve().parents[2]
ROUNDS = 5
CALLS = 20_000
QUIET_SECONDS = 60
PID = "$(systemctl show --property MainPID --value kdumpd)"


def measure_daemon(machine: Machine) -> list[str]:
    """The lines of its section."""
    with machine.guest("bench-daemon") as guest:
        guest.restore(BOTH)
        return figures_table(list(figures(guest)))


def figures(guest: Guest) -> Iterator[Figure]:
    yield Figure("daemon at rest: RSS", _memory(guest, "VmRSS"), "MB", most=40)
    yield Figure("daemon at rest: of that its own, not shared", _memory(guest, "RssAnon"), "MB")
    before = _switches(guest)
    guest.run(f"sleep {QUIET_SECONDS}")
    # The watchdog's own, at half of WatchdogSec=3min.
    yield Figure(f"wake-ups in {QUIET_SECONDS} quiet seconds", _switches(guest) - before, "", most=1)
    # Emulated, so many calls would take an hour.
    yield Figure(f"daemon on a bus of its own: growth by {CALLS} calls", _growth_here(), "MB", most=10)
    ours, theirs = (_seconds(guest, command) for command in ("kdumpd status", "kdump-config status"))
    yield Figure("status command, in the emulated guest", ours, "s", theirs, compared=True)
    yield Figure("python3 -I -S -c pass there: what no Python program gets below", _seconds(guest, "python3 -I -S -c pass"), "s")
    yield Figure("status command, on this machine itself, without emulation", _seconds_here(), "s", most=0.3)


def _memory(guest: Guest, name: str) -> float:
    return int(guest.run(f"grep {name} /proc/{PID}/status").stdout.split()[1]) * 1024 / 1e6


def _switches(guest: Guest) -> int:
    """How often any thread of the daemon went to sleep by itself: once for every time that it was woken up."""
    return sum(map(int, re.findall(r"\d+", guest.run(f"grep -h ^voluntary /proc/{PID}/task/*/status").stdout)))


def _seconds(guest: Guest, command: str) -> float:
    """The median of some rounds."""
    clock = f"s=$(date +%s%N); {command} >/dev/null 2>&1; e=$(date +%s%N); echo $(( (e - s) / 1000 ))"
    return statistics.median(int(guest.run(clock).stdout) / 1e6 for _ in range(ROUNDS))


def _growth_here() -> float:
    """One call after the other, as a badly written monitor would make them."""
    with tempfile.TemporaryDirectory(prefix="kdumpd-bench-") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        machine = FakeMachine(Path(folder) / "root")
        machine.write("etc/kdumpd.yaml", "")
        bus = PrivateBus(Path(folder))
        own = {"NOTIFY_SOCKET": f"{folder}/notify", "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        daemon = RunningDaemon(machine, manager, own, "")
        daemon.wait_for("READY=1")
        client = Client(bus)
        before = daemon.rss_kib
        for number in range(CALLS):
            client.call("ListCrashes") if number % 2 else client.get("State")
        growth = daemon.rss_kib - before
        daemon.process.terminate()
        daemon.process.wait()
        bus.kill()
    return growth * 1024 / 1e6


def _seconds_here() -> float:
    """The same command, from this checkout, about this machine."""
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from kdumpd.cli.main import main; main(['status', *sys.argv[1:]])"
    with tempfile.NamedTemporaryFile(suffix=".yaml") as policy:
        argv = [sys.executable, "-I", "-c", program, str(TOP), "--policy", policy.name]
        rounds = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            rounds.append(time.monotonic() - began)
    return statistics.median(rounds)
