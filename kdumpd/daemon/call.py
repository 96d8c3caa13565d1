# SPDX-License-Identifier: LGPL-2.1-or-later
"""Method calls of clients on D-Bus, which may be answered later, and are answered in any case."""

import time
import traceback
from collections.abc import Callable
from typing import Any

from gi.repository import Gio, GLib

from kdumpd.daemon.journal import Priority, log
from kdumpd.daemon.loop import Alarm, Mailbox
from kdumpd.errors import KdumpdError

# Clients give up after 25 s by default (libdbus, GDBus, sd-bus); one that lets a person be asked has to wait longer.
ANSWER_PATIENCE, PERSON_PATIENCE = 20.0, 120.0


class Call:
    """One of them. The first answer counts."""

    def __init__(self, invocation: Any, signature: str, on_end: "Callable[[Call], None]") -> None:
        self.invocation = invocation
        self.is_answered = False
        self._signature = signature
        self._on_end = on_end
        flags = invocation.get_message().get_flags()
        self.may_ask_person = bool(flags & Gio.DBusMessageFlags.ALLOW_INTERACTIVE_AUTHORIZATION)
        self.patience = PERSON_PATIENCE if self.may_ask_person else ANSWER_PATIENCE
        self.deadline = time.monotonic() + self.patience

    @property
    def sender(self) -> str:
        """The unique name of the client on the bus."""
        return str(self.invocation.get_sender())

    def answer(self, *values: Any) -> None:
        if not self.is_answered:
            self.invocation.return_value(GLib.Variant(self._signature, values))
            self._end()

    def refuse(self, error: Exception) -> None:
        """Answers with an error, by its D-Bus name; one that is not of our family is a defect."""
        if self.is_answered:
            return
        if isinstance(error, KdumpdError):
            self.invocation.return_dbus_error(error.dbus_name, str(error))
        else:
            text = f"internal error: {error}\nhint: journalctl -u kdumpd"
            self.invocation.return_dbus_error("org.kdumpd1.Error.Internal", text)
        self._end()

    def guard(self, act: Callable[..., None], *arguments: Any) -> None:
        """Does what is to lead to an answer; if it fails, that is the answer."""
        try:
            act(*arguments)
        except KdumpdError as problem:
            self.refuse(problem)
        except Exception as problem:  # noqa: BLE001 - a defect must not leave the caller hanging
            log(Priority.ERROR, traceback.format_exc())
            self.refuse(problem)

    def ask(
        self,
        *,
        name: str,
        path: str,
        interface: str,
        method: str,
        arguments: Any,
        done: Callable[[tuple[Any, ...] | str], None],
    ) -> None:
        """Calls a method of somebody else on the same bus; `done` gets what it returned, or the error in words."""

        def finished(connection: Any, result: Any) -> None:
            try:
                answer: tuple[Any, ...] | str = connection.call_finish(result).unpack()
            except GLib.Error as problem:
                answer = problem.message
            self.guard(done, answer)

        self.invocation.get_connection().call(
            name, path, interface, method, arguments, None, Gio.DBusCallFlags.NONE, int(self.patience * 1000), None, finished
        )

    def _end(self) -> None:
        self.is_answered = True
        self._on_end(self)


class Calls:
    """All that wait for an answer. Those that have waited too long get an error."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._waiting: set[Call] = set()
        self._alarm = Alarm(self._refuse_late)

    def take(self, invocation: Any, signature: str) -> Call:
        call = Call(invocation, signature, self._ended)
        if not self._waiting:
            self._alarm.set(ANSWER_PATIENCE)
        self._waiting.add(call)
        return call

    def _ended(self, call: Call) -> None:
        self._waiting.discard(call)
        # Not now: until the callback that brought the call has returned, GLib holds it, too.
        self._mailbox.post(_release, call.invocation)

    def _refuse_late(self) -> None:
        now = time.monotonic()
        for call in [call for call in self._waiting if call.deadline <= now]:
            call.refuse(KdumpdError(f"there was no answer within {call.patience:.0f} s", hint="journalctl -u kdumpd"))
        if self._waiting:
            self._alarm.set(min(call.deadline for call in self._waiting) - now)


def _release(invocation: Any) -> None:
    """Gives back the reference that the method callback of GLib owns and PyGObject before 3.57 does not know of (pygobject#519).

    Without this each call stays in memory with its message, 2 kB and more. PyGObject 3.49 and 3.50 do it by themselves, and from
    3.57 on there is none; so the count decides: 1 is the reference of the Python object.
    """
    if invocation.__grefcount__ > 1:
        invocation._unref()
