# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading what may be missing or damaged, and the locks that only root can take."""

import contextlib
import errno
import fcntl
import io
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from kdumpd.capture.durable import sync
from kdumpd.errors import BusyError, in_words

LOCK = "run/kdumpd/lock"
LOCK_PATIENCE = 60.0
# One that another user could open would be one that another user can take: flock() asks for no right to write.
LOCK_MODE = 0o600
# Of a file of kdumpd's own. The largest are lists of crashes, with some 100 bytes for each.
MAX_OWN_BYTES = 8 << 20
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_text(path: Path) -> str | None:
    """The text of a file of this system, or None when it can't be read, whatever the reason.

    Raises:
        OSError: EBUSY, which is an answer of the kernel.
    """
    try:
        with io.TextIOWrapper(open_plain(path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as problem:
        if problem.errno == errno.EBUSY:
            raise
        return None
    except ValueError:
        # A path with a NUL, out of a damaged file.
        return None


def open_plain(path: Path, flags: int = 0) -> BinaryIO:
    """Opens a plain file for reading, and waits for nobody.

    Raises:
        OSError: it can't be opened, or is something else.
    """
    # An open() of a FIFO waits for whoever is to write into it, unless O_NONBLOCK is given.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return open(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def open_own(path: Path) -> BinaryIO:
    """Opens a file of kdumpd's own for reading: a plain one, which nobody but root can have written.

    Raises:
        OSError: it can't be opened, or is something else.
    """
    file = open_plain(path, os.O_NOFOLLOW)
    if strange := _strangeness(os.fstat(file.fileno())):
        file.close()
        raise OSError(errno.EINVAL, strange, str(path))
    return file


def read_own(path: Path) -> bytes | None:
    """What is in a file of kdumpd's own; None when it is not there, can't be read, or can't be what kdumpd has written.

    Raises:
        PermissionError: this user may not look.
    """
    try:
        with open_own(path) as file:
            content = file.read(MAX_OWN_BYTES + 1)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return content if len(content) <= MAX_OWN_BYTES else None


def read_own_text(path: Path) -> str | None:
    """The same as text; None also when this user may not look."""
    try:
        content = read_own(path)
    except PermissionError:
        return None
    return None if content is None else content.decode(errors="replace")


def is_own(path: Path, kind: int = stat.S_IFREG) -> bool:
    """Whether there is a plain file, or a folder (S_IFDIR), that nobody but root can have put there."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and not _strangeness(found)


def _strangeness(found: os.stat_result) -> str:
    """Why kdumpd does not believe what is in there. Whoever is not root believes himself, too."""
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to user {found.st_uid}, not to root"
    return "others than root may write to it" if found.st_mode & WRITABLE_BY_OTHERS else ""


def set_aside(path: Path) -> Path:
    """Gives what is damaged another name, under which it is in nobody's way and somebody can look at it.

    Raises:
        OSError: it can't be renamed.
    """
    names = (path.with_name(f"{path.name}.damaged{f'-{number}' if number else ''}") for number in itertools.count())
    target = next(name for name in names if not os.path.lexists(name))
    path.rename(target)
    sync(target.parent)
    return target


def exists(path: Path) -> bool:
    """Whether this user sees something at this path. Path.exists() raises where a folder above may not be searched."""
    try:
        return path.exists()
    except OSError:
        return False


@contextlib.contextmanager
def lock(root: Path, *, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Holds the one lock for apply and for all loaders: the kernel answers two loaders at once with EBUSY.

    Raises:
        BusyError: somebody else held it for all of `patience` seconds.
    """
    path = root / LOCK
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with hold(path, patience=patience, opened=_open_lock):
        yield


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextlib.contextmanager
def hold(path: Path, *, patience: float, opened: Callable[[Path], int | None] = _open_folder) -> Iterator[None]:
    """Holds the lock that a folder is, one that only root can open. The kernel forgets that of a process that was killed.

    Raises:
        BusyError: another process held it for all of `patience` seconds.
    """
    end = time.monotonic() + patience
    while (handle := _try_lock(path, opened)) is None:
        if time.monotonic() >= end:
            raise BusyError(
                f"another kdumpd has been changing this machine for {patience:.0f} s",
                hint="wait for it: systemctl status kdumpd",
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock_or_go_on(root: Path, tell: Callable[[str], None], *, patience: float) -> Iterator[None]:
    """The same for what must happen without the lock, too, if it can't be had: to load what is known to be good."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock(root, patience=patience))
        except (BusyError, OSError) as problem:
            tell(f"going on without the lock: {in_words(problem).args[0]}")
        yield


def _try_lock(path: Path, opened: Callable[[Path], int | None]) -> int | None:
    """The descriptor that holds the lock; None: another one does."""
    handle = opened(path)
    if handle is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, os.fstat(handle)):
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _open_lock(path: Path) -> int | None:
    """None: what was there could be opened by others, so one of them may hold it for ever. It is replaced."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, LOCK_MODE)
    except OSError as problem:
        if problem.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        set_aside(path)
        return None
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == LOCK_MODE:
        return handle
    os.close(handle)
    if _is_at(path, found):
        path.unlink()
    return None


def _is_at(path: Path, found: os.stat_result) -> bool:
    """Whether this is still the file of that name."""
    try:
        return os.path.samestat(path.lstat(), found)
    except FileNotFoundError:
        return False


def copy_tree(source: Path, target: Path) -> None:
    """Makes `target` an exact copy of the folder `source`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def free_bytes(path: Path) -> int | None:
    """The space that root may still use on the file system of `path`, or None when that can't be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bfree * found.f_frsize
