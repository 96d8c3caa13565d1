# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reader of capture.json, fed with anything."""

import json
from collections.abc import Iterator

from kdumpd.capture.settings import LAST_STORE, LONGEST_DEADLINE, Mount, Settings, StoreSettings, VmcoreSettings
from tests.fuzz.json_damage import spoilt

MOUNT = Mount(point="/srv", source="UUID=0b5e", type="xfs", options="noatime")
GOOD = Settings(
    pstore_modules=("efi_pstore",),
    vmcore=VmcoreSettings(levels=(1, 31)),
    stores=(StoreSettings(path="/srv/crash", mount=MOUNT), LAST_STORE),
).to_json()


def check(data: bytes) -> None:
    """Settings that a capture can work with, or a ValueError, after which it works with the defaults."""
    usable(data.decode("utf-8", "replace"))
    usable(json.dumps(spoilt(json.loads(GOOD), data[:32])))


def usable(text: str) -> None:
    """Fails where the settings in the text would save nothing, or never end."""
    try:
        found = Settings.from_json(text)
    except ValueError:
        return
    assert Settings.from_json(found.to_json()) == found
    assert found.dmesg or found.vmcore
    assert all(store.path.startswith("/") and store.path.isprintable() for store in found.all_stores)
    assert LAST_STORE.path in found.store_paths
    assert 0 < found.deadline <= LONGEST_DEADLINE


def seeds() -> Iterator[bytes]:
    for settings in (GOOD, Settings().to_json()):
        yield settings.encode()
