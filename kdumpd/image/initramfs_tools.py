# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump initrd by Debian's generator, which knows best what it takes to mount this machine's root."""

import json
from pathlib import Path

from kdumpd.capture.durable import rename, sync, temporary_name, write_file
from kdumpd.errors import ToolError
from kdumpd.files import copy_tree
from kdumpd.host import layout
from kdumpd.run import run

# 100 s on an emulated CPU; a slow disk and a large module tree get their time, a hang does not get all day.
BUILD_TIMEOUT = 900.0
LIST_TIMEOUT = 120.0
# conf.d is read after initramfs.conf, in name order.
SETTINGS_FILE = "conf.d/zz-kdumpd"
SETTINGS = """\
# Only what this machine needs to mount its root; no waiting for a swap device to resume from.
MODULES=dep
RESUME=none
"""


def build_initrd(root: Path, release: str, initrd: str) -> None:
    """Builds the initrd for a kernel beside the old ones; it appears under its name whole or not at all.

    Raises:
        ToolError: mkinitramfs failed, or made nothing. Every older image is still there.
        OSError: no space.
    """
    target = root / initrd.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    conf = root / layout.INITRAMFS_CONF
    copy_tree(root / "etc/initramfs-tools", conf)
    settings = conf / SETTINGS_FILE
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(SETTINGS)
    unfinished = temporary_name(target)
    try:
        run(["mkinitramfs", "-d", conf, "-o", unfinished, release], timeout=BUILD_TIMEOUT)
        if not unfinished.is_file() or unfinished.stat().st_size == 0:
            raise ToolError(
                f"mkinitramfs ended well but {unfinished} is empty", hint=f"try it: mkinitramfs -v -o /tmp/initrd {release}"
            )
        _record_size(unfinished, target)
        # It may hold keys that unlock the root.
        unfinished.chmod(0o600)
        sync(unfinished)
        rename(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _record_size(image: Path, target: Path) -> None:
    """Keeps the size that the initrd has in memory beside it: a dump kernel has to hold it."""
    listed = run(["lsinitramfs", "-l", image], timeout=LIST_TIMEOUT).stdout
    unpacked = sum(int(line.split()[4]) for line in listed.splitlines() if line.startswith("-"))
    write_file(target.with_suffix(".json"), (json.dumps({"unpacked": unpacked}) + "\n").encode(), 0o644)


def remove_old_images(root: Path, keep: frozenset[str]) -> None:
    """Removes every dump initrd but those in `keep` (absolute paths)."""
    for image in (root / layout.IMAGES).glob("initrd-*.img"):
        if f"/{image.relative_to(root)}" not in keep:
            image.unlink(missing_ok=True)
            image.with_suffix(".json").unlink(missing_ok=True)
