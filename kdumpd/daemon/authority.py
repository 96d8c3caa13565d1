# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who a caller is, and what it may do: root everything, others what polkit says."""

from collections.abc import Callable
from typing import Any

from gi.repository import GLib

from kdumpd.daemon.call import Call
from kdumpd.errors import NotAuthorizedError

BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
POLKIT = "org.freedesktop.PolicyKit1"
POLKIT_PATH = "/org/freedesktop/PolicyKit1/Authority"
ALLOW_USER_INTERACTION = 1
AS_ROOT = "do it as root"


def identify(call: Call, then: Callable[[int], None]) -> None:
    """Calls `then` with the user id of the caller; refuses the call when the bus does not know it."""

    def identified(answer: tuple[Any, ...] | str) -> None:
        if isinstance(answer, str):
            call.refuse(NotAuthorizedError(f"the bus does not say who you are: {answer}", hint=AS_ROOT))
        else:
            then(answer[0])

    who = GLib.Variant("(s)", (call.sender,))
    call.ask(name=BUS, path=BUS_PATH, interface=BUS, method="GetConnectionUnixUser", arguments=who, done=identified)


def authorize(call: Call, action: str, then: Callable[[], None]) -> None:
    """Calls `then` when the caller may do `action`, refuses the call otherwise."""

    def judged(answer: tuple[Any, ...] | str) -> None:
        if isinstance(answer, str):
            call.refuse(NotAuthorizedError(f"only root may do this while polkit does not answer: {answer}", hint=AS_ROOT))
            return
        ((is_authorized, is_challenge, _details),) = answer
        if is_authorized:
            # Not for a caller that was told meanwhile that it took too long.
            if not call.is_answered:
                then()
        elif is_challenge:
            hint = f"let it ask (busctl --allow-interactive-authorization=yes), or {AS_ROOT}"
            call.refuse(NotAuthorizedError(f"polkit wants a password for {action}, and could not ask for it", hint=hint))
        else:
            call.refuse(NotAuthorizedError(f"polkit does not allow {action}", hint=AS_ROOT))

    def identified(uid: int) -> None:
        # Root may do everything: polkit says so too, and it need not be there for that.
        if uid == 0:
            then()
            return
        subject = ("system-bus-name", {"name": GLib.Variant("s", call.sender)})
        flags = ALLOW_USER_INTERACTION if call.may_ask_person else 0
        arguments = GLib.Variant("((sa{sv})sa{ss}us)", (subject, action, {}, flags, ""))
        interface = f"{POLKIT}.Authority"
        call.ask(name=POLKIT, path=POLKIT_PATH, interface=interface, method="CheckAuthorization", arguments=arguments, done=judged)

    identify(call, identified)
