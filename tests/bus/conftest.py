# SPDX-License-Identifier: LGPL-2.1-or-later
"""A bus of our own, with the bus policy that is installed, a polkit that says what a test wants, and the real daemon on it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gi.repository import Gio, GLib

from tests.unit import conftest as unit
from tests.unit.fakes import FakeMachine

machine, stubs = unit.machine, unit.stubs

TOP = Path(__file__).parents[2]
NAME, PATH = "org.kdumpd1", "/org/kdumpd1"
POLKIT, POLKIT_PATH = "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority"
# What /usr/share/dbus-1/system.conf says of all who are not named by a policy of their own.
BUS_CONFIG = """\
<busconfig>
  <listen>unix:path={folder}/socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="{polkit}"/>
    <allow send_destination="{polkit}"/>
  </policy>
  <include>{top}/units/org.kdumpd1.conf</include>
</busconfig>
"""
START = """
import sys
from pathlib import Path
from kdumpd.daemon import journal
from kdumpd.daemon.main import Daemon
# This machine's journal must not hear of it.
journal.SOCKET = "/nonexistent"
Daemon(Path(sys.argv[1]), Path(sys.argv[2])).run()
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class PrivateBus:
    """A dbus-daemon that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:path={folder}/socket"
        self._config = folder / "bus.conf"
        self._config.write_text(BUS_CONFIG.format(folder=folder, polkit=POLKIT, top=TOP))
        self.start()

    def start(self) -> None:
        command = ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile", "--print-address=1"]
        self._daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._daemon.stdout
        self._daemon.stdout.readline()

    def kill(self) -> None:
        self._daemon.kill()
        self._daemon.communicate()

    def connect(self) -> Any:
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        return Gio.DBusConnection.new_for_address_sync(self.address, flags, None, None)


class Client:
    """A program on the bus, run by root, that hears signals."""

    def __init__(self, bus: PrivateBus) -> None:
        self.connection = bus.connect()
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.connection.signal_subscribe(None, None, None, PATH, None, Gio.DBusSignalFlags.NONE, self._hear)

    def call(self, method: str, arguments: Any = None, interface: str = NAME, timeout: int = 30_000) -> Any:
        answer = self.connection.call_sync(
            NAME, PATH, interface, method, arguments, None, Gio.DBusCallFlags.NONE, timeout, None
        ).unpack()
        return answer[0] if len(answer) == 1 else answer

    def get(self, name: str) -> Any:
        return self.call("Get", GLib.Variant("(ss)", (NAME, name)), "org.freedesktop.DBus.Properties")

    def wait_for(self, signal_name: str) -> tuple[Any, ...]:
        """The next signal of that name that was not waited for before."""
        end = time.monotonic() + 30
        wake_up = GLib.timeout_add(100, lambda: True)
        try:
            while time.monotonic() < end:
                for heard in self.heard:
                    if heard[0] == signal_name:
                        self.heard.remove(heard)
                        return heard[1]
                GLib.MainContext.default().iteration(True)
        finally:
            GLib.source_remove(wake_up)
        pytest.fail(f"no {signal_name}; heard: {self.heard}")

    def job(self, method: str) -> tuple[Any, ...]:
        """Asks for a job and waits for its end: whether it went well, what came of it, the way out."""
        number = self.call(method)
        while (done := self.wait_for("JobDone"))[0] != number:
            pass
        return done[2:]

    def _hear(self, *about: Any) -> None:
        self.heard.append((about[4], about[5].unpack()))


def error_of(failure: Any) -> tuple[str, str]:
    """The name and the text of an error that came over the bus."""
    error = failure.value
    return str(Gio.DBusError.get_remote_error(error)), error.message.partition(": ")[2]


def as_nobody(bus: PrivateBus, method: str, *arguments: str) -> list[str]:
    """The command of a user who is not root, for one call."""
    call = ["gdbus", "call", "--address", bus.address, "--dest", NAME, "--object-path", PATH, "--method", f"{NAME}.{method}"]
    return [*NOBODY, *call, *arguments]


def call_as_nobody(bus: PrivateBus, method: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(as_nobody(bus, method, *arguments), capture_output=True, text=True, timeout=60, check=False)


class Polkit:
    """python-dbusmock's stand-in for it."""

    def __init__(self, bus: PrivateBus) -> None:
        self._connection = bus.connect()

    @property
    def is_there(self) -> bool:
        name = GLib.Variant("(s)", (POLKIT,))
        return bool(self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", name)[0])

    def allow(self, *actions: str) -> None:
        self._call(POLKIT, POLKIT_PATH, "org.freedesktop.DBus.Mock", "SetAllowed", GLib.Variant("(as)", (actions,)))

    def hang(self) -> None:
        self._call(POLKIT, POLKIT_PATH, "org.freedesktop.DBus.Mock", "SimulateHang", GLib.Variant("(b)", (True,)))

    def _call(self, *call: Any) -> Any:
        return self._connection.call_sync(*call, None, Gio.DBusCallFlags.NONE, 5000, None).unpack()


class RunningDaemon:
    """The daemon in a process of its own, and what it told systemd. `before`: Python that it runs first."""

    def __init__(self, machine: FakeMachine, manager: socket.socket, environment: dict[str, str], before: str) -> None:
        self._manager = manager
        self._log = machine.root.parent / "journal"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", before + START, str(machine.root / "etc/kdumpd.yaml"), str(machine.root)],
                env={**os.environ, **environment}, cwd=TOP, stderr=log,
            )  # fmt: skip

    def wait_for(self, state: str) -> str:
        """The next message to systemd that has this in it."""
        while state not in (message := self._manager.recv(4096).decode()):
            pass
        return message

    @property
    def journal(self) -> str:
        return self._log.read_text()

    def switches(self) -> dict[str, int]:
        """How often each thread went to sleep by itself, and so how often it was woken."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return {
            task.name: int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for task in tasks
        }

    @property
    def rss_kib(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where nobody may look, too: pytest's own folders are closed."""
    path = Path(tempfile.mkdtemp(prefix="kdumpd-bus-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def bus(folder: Path) -> Iterator[PrivateBus]:
    bus = PrivateBus(folder)
    yield bus
    bus.kill()


@pytest.fixture
def polkit(bus: PrivateBus) -> Iterator["Polkit"]:
    """A polkit that allows nothing, until it is told what to allow."""
    command = [sys.executable, "-m", "dbusmock", "--system", "--template", "polkitd"]
    with subprocess.Popen(
        command, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}, stdout=subprocess.DEVNULL
    ) as process:
        polkit = Polkit(bus)
        while not polkit.is_there:
            assert process.poll() is None
            time.sleep(0.02)
        yield polkit
        process.terminate()


Start = Callable[..., RunningDaemon]


@pytest.fixture
def start(machine: FakeMachine, folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts the daemon on the fake machine; it is stopped after the test."""
    started: list[RunningDaemon] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)

        def begin(before: str = "", **environment: str) -> RunningDaemon:
            own = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/socket"}
            started.append(RunningDaemon(machine, manager, {**own, **environment}, before))
            return started[-1]

        yield begin
        for daemon in started:
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.wait(30)


@pytest.fixture
def reserved(machine: FakeMachine) -> FakeMachine:
    """A machine with a policy, and the memory for it."""
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    machine.reserve()
    return machine


@pytest.fixture
def daemon(reserved: FakeMachine, bus: PrivateBus, start: Start) -> RunningDaemon:
    """The daemon, ready, on a machine with reserved memory: it is armed."""
    daemon = start()
    daemon.wait_for("READY=1")
    return daemon


@pytest.fixture
def client(daemon: RunningDaemon, bus: PrivateBus) -> Client:
    return Client(bus)


def crash(machine: FakeMachine, name: str, text: str) -> Path:
    """A crash that was captured."""
    machine.write(f"var/crash/{name}/dmesg.txt", text)
    machine.write(f"var/crash/{name}/status.json", json.dumps({}))
    return machine.root / f"var/crash/{name}"
