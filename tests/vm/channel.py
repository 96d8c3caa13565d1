# SPDX-License-Identifier: LGPL-2.1-or-later
"""JSON lines over a Unix socket: what QMP (QEMU's control) and the QEMU guest agent both speak."""

import json
import secrets
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

Message = dict[str, Any]


class ChannelError(Exception):
    """The other side refused, went away, or did not answer in time."""


class Channel:
    """One connection. Events that arrive while an answer is awaited are kept for `wait_event`."""

    def __init__(self, path: Path, *, deadline: float = 30) -> None:
        end = time.monotonic() + deadline
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise ChannelError(f"{path.name}: nobody listens after {deadline:.0f} s") from None
                time.sleep(0.05)
        self._buffer = b""
        self._events: deque[Message] = deque()

    def close(self) -> None:
        self._socket.close()

    def command(self, name: str, arguments: Message | None = None, *, deadline: float = 60) -> Any:
        """Sends one command and returns what the other side answers."""
        self.send(name, arguments)
        end = time.monotonic() + deadline
        while True:
            message = self._receive(end, name)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise ChannelError(f"{name}: {message['error'].get('desc', message['error'])}")
            self._events.append(message)

    def send(self, name: str, arguments: Message | None = None) -> None:
        """Sends one command whose answer will not come, or does not matter."""
        request: Message = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def wait_event(self, names: set[str], *, deadline: float) -> Message | None:
        """The next event of these names, or None when the deadline (seconds) has passed."""
        end = time.monotonic() + deadline
        while True:
            while self._events:
                message = self._events.popleft()
                if message.get("event") in names:
                    return message
            try:
                self._events.append(self._receive(end, "an event"))
            except TimeoutError:
                return None

    def drop_events(self) -> None:
        """Forgets what has happened so far, so that `wait_event` only sees what comes next."""
        self.command("query-status")
        self._events.clear()

    def synchronise(self, *, deadline: float) -> bool:
        """Whether the guest agent answers now. Throws away half an answer that an earlier boot left in the channel."""
        token = secrets.randbelow(1 << 31)
        end = time.monotonic() + deadline
        try:
            # The agent's parser is reset by 0xff, which is never part of valid JSON (QEMU docs, guest-sync-delimited).
            self._socket.sendall(b"\xff")
            self.send("guest-sync", {"id": token})
            while self._receive(end, "guest-sync").get("return") != token:
                pass
        except (TimeoutError, ChannelError):
            return False
        return True

    def _receive(self, end: float, what: str) -> Message:
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer to {what}")
            self._socket.settimeout(left)
            data = self._socket.recv(1 << 16)
            if not data:
                raise ChannelError(f"connection closed while waiting for {what}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(line.lstrip(b"\xff"))
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}
