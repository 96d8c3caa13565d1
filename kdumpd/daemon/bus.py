# SPDX-License-Identifier: LGPL-2.1-or-later
"""The D-Bus side: a connection that comes back, the object that is served there, its signals. The only file that knows pydbus.

pydbus registers the object, packs properties, emits signals and owns the name. Its own way to answer a call is replaced: it
answers before it returns, so that a slow answer would hold up the loop, knows no error names, and leaks every call.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pydbus.bus  # noqa: F401 - gives every Gio.DBusConnection its property `pydbus`
from gi.repository import Gio, GLib
from pydbus.generic import signal
from pydbus.registration import ObjectRegistration, ObjectWrapper

from kdumpd.daemon.call import Call, Calls
from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.loop import Mailbox

NAME = "org.kdumpd1"
PATH = "/org/kdumpd1"
XML = Path(__file__).parent / "org.kdumpd1.xml"
PROPERTIES = {"Get": "(v)", "GetAll": "(a{sv})"}
# A connection of our own, not the one of Gio.bus_get(), which ends the process when the bus goes away.
CONNECTION_FLAGS = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
CONNECT_PATIENCE = 10
FIRST_PAUSE, LONGEST_PAUSE = 1, 30


class Backend(Protocol):
    """What answers. Both methods are called in the loop, and do not wait."""

    def refresh(self, done: Callable[[Mapping[str, Any] | Exception], None]) -> None:
        """Calls `done` with the properties as they are now."""

    def call(self, method: str, arguments: tuple[Any, ...], call: Call) -> None:
        """Sees to it that the call is answered."""


class Bus:
    """Serves `backend` as org.kdumpd1 for as long as there is a bus, and again when it is back."""

    def __init__(self, backend: Backend, mailbox: Mailbox, on_settled: Callable[[], None]) -> None:
        self._backend = backend
        self._calls = Calls(mailbox)
        self._on_settled = on_settled
        self._interfaces = Gio.DBusNodeInfo.new_for_xml(XML.read_text()).interfaces
        self._exported = _Exported()
        self._connection: Any = None
        self._registration: Any = None
        self._pause = FIRST_PAUSE
        self.is_up = False

    def connect(self) -> bool:
        """Begins to connect. `on_settled` is called when the name is ours, and whenever an attempt has failed."""
        patience = Gio.Cancellable()
        timer = GLib.timeout_add_seconds(CONNECT_PATIENCE, patience.cancel)
        done = partial(self._connected, patience, timer)
        address = Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM, None)
        Gio.DBusConnection.new_for_address(address, CONNECTION_FLAGS, None, patience, done)
        return False

    def job_done(self, number: int, method: str, ok: bool, message: str, hint: str) -> None:
        self._emit(self._exported.JobDone, number, method, ok, message, hint)

    def crash_found(self, crash: Mapping[str, str]) -> None:
        self._emit(self._exported.CrashFound, crash)

    def properties_changed(self, changed: Mapping[str, Any]) -> None:
        self._emit(self._exported.PropertiesChanged, NAME, changed, [])

    def flush(self) -> None:
        """What was answered and told gets out before the process ends."""
        if self.is_up:
            self._emit(self._connection.flush_sync, None)

    def _emit(self, emit: Callable[..., Any], *values: Any) -> None:
        if not self.is_up:
            return
        try:
            emit(*values)
        except GLib.Error as problem:
            log(Priority.INFO, f"not told on D-Bus: {problem.message}")

    def _connected(self, patience: Any, timer: int, _source: Any, result: Any) -> None:
        if not patience.is_cancelled():
            GLib.source_remove(timer)
        try:
            self._connection = Gio.DBusConnection.new_for_address_finish(result)
            self._serve()
        except (GLib.Error, RuntimeError) as problem:
            if self._pause == FIRST_PAUSE:
                log(Priority.WARNING, f"nobody can reach kdumpd on D-Bus, trying on: {getattr(problem, 'message', problem)}")
            self._connect_again()
        self._on_settled()

    def _serve(self) -> None:
        self._connection.connect("closed", self._closed)
        wrapper = _Wrapper(self._exported, self._interfaces, self._backend, self._calls)
        self._registration = ObjectRegistration(self._connection.pydbus, PATH, self._interfaces, wrapper, own_wrapper=True)
        # Waits without limit for a bus that has answered a moment ago; if it hangs now, systemd's watchdog helps.
        self._connection.pydbus.request_name(NAME, allow_replacement=False)
        self._pause = FIRST_PAUSE
        self.is_up = True

    def _closed(self, connection: Any, *_: Any) -> None:
        if connection is self._connection:
            log(Priority.WARNING, "the D-Bus system bus went away")
            self._connect_again()

    def _connect_again(self) -> None:
        """Leaves nothing of a connection that is of no use any more, and tries again after a while."""
        self.is_up = False
        if self._registration is not None:
            self._registration.unregister()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._registration = None
        GLib.timeout_add_seconds(self._pause, self.connect)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class _Exported:
    """What pydbus looks at: the signals that it connects to, the properties that it gets."""

    JobDone = signal()
    CrashFound = signal()
    PropertiesChanged = signal()

    def __init__(self) -> None:
        self.properties: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return self.properties[name]


class _Wrapper(ObjectWrapper):  # type: ignore[misc] # pydbus has no types
    """Answers when the backend has the answer."""

    def __init__(self, exported: _Exported, interfaces: list[Any], backend: Backend, calls: Calls) -> None:
        super().__init__(exported, interfaces)
        self._backend = backend
        self._calls = calls

    def call_method(self, *about: Any) -> None:
        """GLib calls this. It has looked before whether there is such a method or property, and whether the arguments fit."""
        _connection, _sender, _path, interface, method, given, invocation = about
        is_own = interface == NAME
        signature = f"({''.join(self.outargs[f'{interface}.{method}'])})" if is_own else PROPERTIES[method]
        call = self._calls.take(invocation, signature)
        if is_own:
            call.guard(self._backend.call, method, given.unpack(), call)
        else:
            answer = partial(self._answer_property, call, getattr(self, method), given.unpack())
            call.guard(self._backend.refresh, partial(call.guard, answer))

    def _answer_property(
        self, call: Call, get: Callable[..., Any], arguments: tuple[str, ...], found: Mapping[str, Any] | Exception
    ) -> None:
        if isinstance(found, Exception):
            raise found
        self.object.properties = found
        call.answer(get(*arguments))
