# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stores, one after the other, until one has taken what matters most."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from . import patience
from .console import say
from .doors import Door
from .folders import bytes_in, discard, new_crash_folder, stamp
from .mounts import make_writable, mount
from .program import SaveError
from .settings import Settings, StoreSettings
from .story import Story, reason

# To mount a store, to mount it for writing, to make a folder.
OPEN_TIMEOUT = 75.0
DISCARD_TIMEOUT = 10.0
# The stores that are left share this part of the time that is left; the rest is for the story and the end.
SHARE = 0.8


class Stores:
    """Opens stores for the crash that `story` tells of. `save` saves into a folder, within so many seconds; `left` tells how many
    there are for all of them.
    """

    def __init__(
        self, story: Story, root: Path, door: Door, *, save: Callable[[Path, float], bool], left: Callable[[], float]
    ) -> None:
        self._story = story
        self._root = root
        self._door = door
        self._save = save
        self._left = left
        self._continued = story.folder
        self._continued_in = story.status.store

    def take(self, settings: Settings, when: float, *, saved: bool) -> Path | None:
        """The crash folder that took it; if none did, the one that has the most of it; None without any.

        `saved`: the door before this one has saved it, so it goes on there, if it can.
        """
        refused: list[tuple[StoreSettings, Path]] = []
        full: list[StoreSettings] = []
        is_last_door = self._is_last_door(settings)
        stores = settings.all_stores if is_last_door else settings.stores
        ordered = sorted(stores, key=lambda store: saved and store.path != self._continued_in)
        for number, store in enumerate(ordered):
            share = self._left() * SHARE / (len(ordered) - number)
            folder = self._open(store, when, min(OPEN_TIMEOUT, share))
            if folder and ((saved and folder == self._continued) or self._save(folder, share)):
                self._settle(store, folder, refused)
                return folder
            if folder:
                refused.append((store, folder))
            if self._story.out_of_space():
                full.append(store)
        if not saved and is_last_door and self._save_after_making_room(full, refused, when):
            return self._story.folder
        if not saved:
            say("no store took the log")
        if not refused:
            return None
        store, folder = self._fullest(refused)
        self._settle(store, folder, refused)
        return folder

    def _save_after_making_room(self, full: list[StoreSettings], refused: list[tuple[StoreSettings, Path]], when: float) -> bool:
        """Remove the memory of older crashes, one after the other, until a store takes it; return whether one did.

        The last store comes first: the policy prefers the others, so what is in them stays for longer.
        """
        folders = dict(refused)
        for store in reversed(full):
            while self._remove_vmcore(store, when):
                share = self._left() * SHARE
                folder = folders.get(store) or self._open(store, when, min(OPEN_TIMEOUT, share))
                if folder:
                    folders[store] = folder
                    self._story.goes_on_in(store.path, folder)
                    if self._save(folder, share):
                        self._settle(store, folder, list(folders.items()))
                        return True
                if not self._story.out_of_space():
                    break
        return False

    def _remove_vmcore(self, store: StoreSettings, when: float) -> bool:
        from .keep import remove_oldest_vmcore  # noqa: PLC0415 - few captures need it

        place = self._root / store.path.lstrip("/")
        try:
            return patience.call(
                lambda: remove_oldest_vmcore(place, stamp(when)),
                timeout=DISCARD_TIMEOUT,
                what="removing the memory of older crashes",
            )
        except Exception as problem:  # noqa: BLE001 - the next store may still take the log
            say(f"cannot make room in {store.path}: {reason(problem)}")
            return False

    def _is_last_door(self, settings: Settings) -> bool:
        """Whether no door after this one reaches a store that this one does not."""
        return self._door is Door.SYSTEMD or not any(store.mount and store.mount.by_systemd for store in settings.stores)

    def _open(self, store: StoreSettings, when: float, timeout: float) -> Path | None:
        began = time.monotonic()
        try:
            folder = patience.call(lambda: self._folder(store, when), timeout=timeout, what="the store")
        except Exception as problem:  # noqa: BLE001 - not even a defect of ours may keep the next store from being tried
            self._story.failed("dmesg", f"{store.path}: {reason(problem)}", began)
            return None
        self._story.goes_on_in(store.path, folder)
        return folder

    def _folder(self, store: StoreSettings, when: float) -> Path:
        """The folder of the door before this one, or else a new one."""
        if store.mount:
            mount(self._root, store.mount, self._door)
        make_writable(self._root, store.path)
        if self._continued and store.path == self._continued_in and self._continued.is_dir():
            return self._continued
        return new_crash_folder(self._root / store.path.lstrip("/"), when)

    def _fullest(self, refused: list[tuple[StoreSettings, Path]]) -> tuple[StoreSettings, Path]:
        """Where the most of a log is, that no program could save whole; the first, where there is nothing anywhere."""
        try:
            return patience.call(
                lambda: max(refused, key=lambda pair: bytes_in(pair[1])),
                timeout=DISCARD_TIMEOUT,
                what="looking for a part of the log",
            )
        except SaveError:
            return refused[0]

    def _settle(self, store: StoreSettings, folder: Path, refused: list[tuple[StoreSettings, Path]]) -> None:
        """Goes on in one folder, and removes those that were made for this crash and hold nothing of it."""
        self._story.goes_on_in(store.path, folder)
        made = [self._continued, *(other for _, other in refused)]
        others = {other for other in made if other and other != folder}
        with contextlib.suppress(SaveError):
            patience.call(lambda: discard(others), timeout=DISCARD_TIMEOUT, what="removing empty folders")
