# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harvest that a boot begins with, and what it tells of the end of the boot before."""

import time
from pathlib import Path

from kdumpd.capture.folders import stamp
from kdumpd.capture.keep import remove_old_crashes
from kdumpd.capture.settings import Settings
from kdumpd.crashes.archive import capture_settings
from kdumpd.crashes.harvest import Harvested, Tell, find_records, harvest
from kdumpd.crashes.last_end import reconcile
from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.damage import set_damage_aside


def harvest_at_boot(root: Path, tell: Tell, *, begins: bool) -> list[Harvested]:
    """Harvests /sys/fs/pstore, unless the policy says otherwise, and judges how the last boot ended.

    `begins`: this is what the boot begins with. The daemon harvests once more, when it has loaded ramoops, and stores on a
    network are mounted.

    Raises:
        HostError: not all could be saved. What is not in the store is where it was.
    """
    if begins:
        set_damage_aside(root, tell)
    settings = capture_settings(root)
    try:
        found = _harvest(root, settings, tell) if settings.pstore else []
    except (HostError, OSError):
        reconcile(root, settings.store_paths, begins=begins, unsaved=True)
        raise
    reconcile(root, settings.store_paths, begins=begins)
    return found


def _harvest(root: Path, settings: Settings, tell: Tell) -> list[Harvested]:
    try:
        store = first_store(root, settings)
    except HostError:
        if find_records(root / layout.PSTORE)[0]:
            raise
        return []
    found = harvest(root / layout.PSTORE, store, stores(root, settings), tell)
    if new := [crash.folder for crash in found if not crash.has_dump]:
        # As after a capture: a machine that only ever leaves records must not fill its disk with them either.
        # What is harvested may be older than what the dump kernel has saved of the same boot.
        remove_old_crashes(
            new[-1],
            count=settings.keep_count,
            size=settings.keep_size,
            free=settings.keep_free,
            latest=stamp(time.time()),
            tell=tell,
        )
    return found


def stores(root: Path, settings: Settings) -> list[Path]:
    """Where crashes are."""
    return [root / path.lstrip("/") for path in settings.store_paths]


def first_store(root: Path, settings: Settings) -> Path:
    """The first that is there: one on a network is mounted late in a boot.

    Raises:
        HostError: none is.
    """
    for store in settings.stores:
        if store.mount is None or (root / store.mount.point.lstrip("/")).is_mount():
            return root / store.path.lstrip("/")
    paths = ", ".join(store.path for store in settings.stores)
    raise HostError(
        f"no store is mounted ({paths}), so what pstore has stays there",
        hint="later: kdumpd harvest; what systemd-pstore has taken: kdumpd harvest --from /var/lib/systemd/pstore",
    )
