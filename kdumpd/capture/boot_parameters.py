# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the dump kernel's command line tells the capture: all that is needed before, or without, capture.json."""

import contextlib
from pathlib import Path

from .console import say
from .settings import FinalAction, Mount, Settings, checked_deadline

MOUNT = "kdumpd.mount"


def read_parameters(root: Path) -> list[tuple[str, str]]:
    """Names and values, in order. None of ours has a space in it, so the kernel's quotes don't matter."""
    words = (root / "proc/cmdline").read_text(errors="replace").split()
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def default_settings(parameters: list[tuple[str, str]]) -> Settings:
    """What holds until capture.json is read, and when it can't be read. The last parameter of a name wins."""
    found, own = dict(parameters), Settings()
    deadline, then, on_failure = own.deadline, own.then, own.on_failure
    with contextlib.suppress(KeyError, ValueError):
        deadline = checked_deadline(int(found["kdumpd.deadline"]))
    with contextlib.suppress(KeyError, ValueError):
        then = FinalAction(found["kdumpd.then"])
    with contextlib.suppress(KeyError, ValueError):
        on_failure = FinalAction(found["kdumpd.on_failure"])
    return Settings(deadline=deadline, then=then, on_failure=on_failure)


def named_mounts(parameters: list[tuple[str, str]]) -> list[Mount]:
    """The file systems that have to be mounted before capture.json can be read."""
    mounts = []
    for name, value in parameters:
        if name != MOUNT:
            continue
        # Options have commas of their own.
        match value.split(",", 3):
            case [point, source, kind, *options] if point.startswith("/") and source and kind:
                mounts.append(Mount(point=point, source=source, type=kind, options="".join(options)))
            case _:
                say(f'ignoring "{name}={value}" on the command line: it is not POINT,SOURCE,TYPE[,OPTIONS]')
    return mounts
