# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folders that take minutes to make, kept between runs: the emulator, images, machines."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GIB = 1 << 30
SIZE_LIMIT = int(os.environ.get("KDUMPD_TEST_CACHE_GIB", "30")) * GIB
# An overlay needs the image below it, and a test run everything that it has opened: what was used lately stays.
IN_USE = 3 * 3600.0
KEY_LENGTH = 12
SCRATCH = "scratch-"


def cache_folder() -> Path:
    """The folder of all that is kept: $KDUMPD_TEST_CACHE, else ~/.cache/kdumpd-tests."""
    folder = os.environ.get("KDUMPD_TEST_CACHE")
    return Path(folder) if folder else Path.home() / ".cache/kdumpd-tests"


def key_of(*ingredients: str | bytes) -> str:
    """A short hash of what something is made from."""
    digest = hashlib.sha256()
    for ingredient in ingredients:
        data = ingredient.encode() if isinstance(ingredient, str) else ingredient
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:KEY_LENGTH]


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made only when the cache has none of this name and key.

    `make` gets an empty folder; the result appears under its name when it is whole, or not at all.
    """
    folder = cache_folder() / f"{name}-{key}"
    with making(name):
        if not folder.exists():
            with scratch_folder(name) as scratch:
                half = scratch / "half"
                half.mkdir()
                make(half)
                half.rename(folder)
            _make_room()
    os.utime(folder)
    return folder


@contextlib.contextmanager
def making(name: str) -> Iterator[None]:
    """One process makes it, the others wait for it."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder on the same file system as the cache, removed at the end."""
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{SCRATCH}{name}-") as folder:
        yield Path(folder)


def _make_room() -> None:
    """Removes what was not used for longest until the cache is within its limit, and what killed runs have left."""
    unused = [path for path in cache_folder().iterdir() if path.is_dir() and time.time() - path.stat().st_mtime > IN_USE]
    for path in unused:
        if path.name.startswith(SCRATCH):
            shutil.rmtree(path)
    finished = list(cache_folder().glob(f"*-{'[0-9a-f]' * KEY_LENGTH}"))
    sizes = {path: _disk_usage(path) for path in finished}
    total = sum(sizes.values())
    for path in sorted(set(finished) & set(unused), key=lambda path: path.stat().st_mtime):
        if total > SIZE_LIMIT:
            shutil.rmtree(path)
            total -= sizes[path]


def _disk_usage(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_symlink())
