# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump initrd by Debian's generator, which knows best what it takes to mount this machine's root."""

import shutil
from pathlib import Path

from kdumpd.files import copy_tree
from kdumpd.host import layout
from kdumpd.image.needs import Needs
from kdumpd.image.settings import hook_settings
from kdumpd.run import run

# 100 s on an emulated CPU; a slow disk and a large module tree get their time, a hang does not get all day.
BUILD_TIMEOUT = 900.0
# conf.d is read after initramfs.conf, in name order.
SETTINGS_FILE = "conf.d/zz-kdumpd"
SETTINGS = """\
# Only what this machine needs to mount its root; no waiting for a swap device to resume from; busybox, because the first door
# is made of it.
MODULES=dep
RESUME=none
BUSYBOX=y
"""
HOOK_SETTINGS_FILE = "kdumpd"


def make_initrd(root: Path, *, release: str, output: Path, work: Path, needs: Needs) -> None:
    """Makes an initrd for a kernel by the administrator's configuration, ours on top; scratch files are in `work`.

    Raises:
        ToolError: mkinitramfs failed.
        OSError: no space.
    """
    conf = root / layout.INITRAMFS_CONF
    copy_tree(root / "etc/initramfs-tools", conf)
    # mkinitramfs runs the hooks of this folder after those of all packages (so it is in 0.142, Debian 12), and for our
    # image only: the system's own is made from /etc.
    shutil.copytree(root / layout.INITRAMFS_HOOKS, conf, dirs_exist_ok=True)
    for name, content in ((SETTINGS_FILE, SETTINGS), (HOOK_SETTINGS_FILE, hook_settings(needs))):
        (conf / name).parent.mkdir(exist_ok=True)
        (conf / name).write_text(content)
    run(["mkinitramfs", "-d", conf, "-o", output, release], timeout=BUILD_TIMEOUT, environment={"TMPDIR": str(work)})
