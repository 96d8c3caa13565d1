# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes after the log. Loaded when that is safe: reading modules from a disk takes time too."""

from functools import partial
from pathlib import Path

from . import patience
from .console import say
from .crash_loop import crash_loop
from .keep import remove_old_crashes
from .mounts import mount_points
from .program import SaveError
from .pstore import copy_pstore
from .settings import Settings, StoreSettings, VmcoreSettings
from .story import Story
from .vmcore import save_vmcore

PSTORE_TIMEOUT = 30.0
LIST_TIMEOUT = 10.0
# Of the time left, this part, but no more than so many seconds, is for telling and ending: a makedumpfile that is stopped in
# time leaves a story, one that the deadline stops leaves less.
END_PART, END_SECONDS = 0.25, 10.0


def save_pstore(story: Story, root: Path, folder: Path, settings: Settings, left: float) -> None:
    """Whatever the machine itself has kept of the crash."""
    timeout = min(PSTORE_TIMEOUT, left)
    if story.step("pstore", lambda: copy_pstore(root / "sys/fs/pstore", folder, modules=settings.pstore_modules, timeout=timeout)):
        say(f"pstore: {story.in_words()}")


def save_memory(story: Story, vmcore: Path, folder: Path, settings: VmcoreSettings, *, keep_free: int, left: float) -> bool:
    """The memory of the dead kernel."""
    say("saving the memory, this may take minutes")
    timeout = left - min(left * END_PART, END_SECONDS)
    ok = story.step(
        "vmcore",
        lambda: save_vmcore(vmcore, folder, settings, keep_free=keep_free, timeout=timeout, say=say),
        on_disk=True,
    )
    if ok:
        say(f"the memory is saved: {story.in_words()}")
    return ok


def look_for_loop(story: Story, root: Path, folder: Path, when: float, settings: Settings) -> None:
    """Puts on record that this machine crashes again and again, if it does."""
    if settings.crash_loop is None:
        return
    try:
        stores = [root / store.path.lstrip("/") for store in settings.all_stores if _is_there(root, store)]
        look = partial(crash_loop, folder, when, stores, settings.crash_loop)
        story.status.crash_loop = patience.call(look, timeout=LIST_TIMEOUT, what="looking for other crashes")
    except (SaveError, OSError) as problem:
        say(f"cannot tell whether this is a crash loop: {problem}")
    if story.status.crash_loop:
        say(story.status.crash_loop)


def make_room(folder: Path, settings: Settings) -> None:
    """Removes what is older, as the policy says."""
    remove_old_crashes(folder, count=settings.keep_count, size=settings.keep_size, free=settings.keep_free)


def _is_there(root: Path, store: StoreSettings) -> bool:
    return store.mount is None or store.mount.point in mount_points(root)
