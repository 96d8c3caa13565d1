# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump initrd by dracut."""

import shutil
from pathlib import Path

from kdumpd.host import layout
from kdumpd.image.needs import Needs, Part
from kdumpd.image.settings import hook_settings
from kdumpd.run import run

BUILD_TIMEOUT = 900.0
# Read after those of the administrator, in name order.
SETTINGS_FILE = "zz-kdumpd.conf"
# Nothing resumes, is shut down by way of the initrd, or is looked at on a terminal.
NEVER = ("resume", "shutdown", "terminfo", "memstrack", "rngd", "kernel-modules-extra", "overlay-root", "overlayfs")
MODULES_OF_PART = {
    Part.GRAPHICS: ("plymouth", "drm"),
    Part.NETWORK: ("network", "network-legacy", "network-manager", "ifcfg"),
    Part.KEYBOARD: ("i18n",),
    Part.LVM: ("lvm",),
    Part.LUKS: ("crypt",),
    Part.MD: ("mdraid",),
    Part.MULTIPATH: ("multipath",),
    Part.DEVICE_MAPPER: ("dm",),
    Part.BTRFS: ("btrfs",),
}


def make_initrd(root: Path, *, release: str, output: Path, work: Path, needs: Needs) -> None:
    """Makes an initrd for a kernel by the administrator's configuration, ours on top; scratch files are in `work`.

    Raises:
        ToolError: dracut failed.
        OSError: no space.
    """
    conf = root / layout.DRACUT_CONF
    shutil.rmtree(conf, ignore_errors=True)
    conf.mkdir(parents=True)
    for file in sorted((root / "etc/dracut.conf.d").glob("*.conf")):
        shutil.copyfile(file, conf / file.name)
    (conf / SETTINGS_FILE).write_text(hook_settings(needs))
    omit = " ".join([*NEVER, *(module for part in needs.unneeded for module in MODULES_OF_PART.get(part, ()))])
    # fmt: off
    run([
        "dracut", "--force", "--quiet", "--confdir", conf, "--tmpdir", work, "--kver", release,
        # By what is mounted now, and nothing that could only be of use elsewhere.
        "--hostonly", "--hostonly-mode", "strict", "--no-hostonly-i18n",
        # The kernel that crashed has given the processor its firmware.
        "--no-early-microcode",
        "--nofscks",
        "--omit", omit,
        # Ours, in /usr/lib/dracut/modules.d, which no other image has.
        "--add", "kdumpd",
        output,
    ], timeout=BUILD_TIMEOUT)
    # fmt: on
