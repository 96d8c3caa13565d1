# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are, relative to the root directory."""

from pathlib import Path

ROOT = Path("/")

POLICY = Path("etc/kdumpd.yaml")

STATE = Path("var/lib/kdumpd")
IMAGES = STATE / "images"
INITRAMFS_CONF = STATE / "initramfs-tools"
DRACUT_CONF = STATE / "dracut.conf.d"
# As installed. mkinitramfs runs it only where it is copied into the folder above; dracut finds its module by the folder.
INITRAMFS_HOOKS = Path("usr/lib/kdumpd/initramfs-tools")
# What the hooks of both put into the initrd.
INITRD_FILES = Path("usr/lib/kdumpd/initrd")
# The policy that was applied last, without drop-ins and comments; and the one that a rollback took back.
IN_FORCE = STATE / "policy-in-force.yaml"
ROLLED_BACK = STATE / "policy-rolled-back.yaml"
# One parameter in a line: what kdumpd has put on the kernel's command line, whatever the boot loader.
BOOT_PARAMETERS = STATE / "boot-parameters"
LAST_LOADED = STATE / "last-loaded.json"
LOADED_BEFORE = STATE / "loaded-before.json"
RENDERED = STATE / "rendered.json"
# The machine before kdumpd; and the folders that kdumpd has made, one in a line.
ORIGINAL = STATE / "original.json"
MADE_FOLDERS = STATE / "made-folders"
TEST = STATE / "test.json"
LAST_TEST = STATE / "last-test.json"
REPORTED = STATE / "reported-crashes.json"
CAPTURE_SETTINGS = STATE / "capture.json"
# Which boot this is and what was saved before it; which one came to its end in good order; and how the one before this ended.
THIS_BOOT = STATE / "this-boot.json"
CLEAN_END = STATE / "clean-end"
LAST_END = STATE / "last-end.json"

PSTORE = Path("sys/fs/pstore")

# Gone with the boot.
RUN = Path("run/kdumpd")
# What the journal was told last.
TOLD = RUN / "told"
TOLD_LAST_END = RUN / "told-last-end"
METRICS = RUN / "kdumpd.prom"
# Where Debian's prometheus-node-exporter looks, unless it is told otherwise (the package brings the folder).
NODE_EXPORTER_METRICS = Path("var/lib/prometheus/node-exporter/kdumpd.prom")

GRUB_DROP_IN = Path("etc/default/grub.d/kdumpd.cfg")
GRUB_CFG = Path("boot/grub/grub.cfg")
KDUMP_TOOLS = Path("etc/default/kdump-tools")
KERNEL_CMDLINE = Path("etc/kernel/cmdline")
SYSCTL = Path("etc/sysctl.d/60-kdumpd.conf")
TMPFILES = Path("etc/tmpfiles.d/kdumpd.conf")
RAMOOPS_OPTIONS = Path("etc/modprobe.d/kdumpd-ramoops.conf")
# The name of the rule that kdump-tools brings in /lib: a file of that name in /etc replaces it.
UDEV_RULE = Path("etc/udev/rules.d/50-kdump-tools.rules")
CAPTURE_DROP_IN = Path("etc/systemd/system/kdumpd-capture.service.d/50-policy.conf")
# All of them.
STATE_FILES = (
    IN_FORCE,
    ROLLED_BACK,
    BOOT_PARAMETERS,
    LAST_LOADED,
    LOADED_BEFORE,
    RENDERED,
    ORIGINAL,
    MADE_FOLDERS,
    TEST,
    LAST_TEST,
    REPORTED,
    CAPTURE_SETTINGS,
    THIS_BOOT,
    CLEAN_END,
    LAST_END,
)
# kdumpd's own memory of what it did, which nobody has a reason to edit.
RECORDS = (BOOT_PARAMETERS, IN_FORCE, ROLLED_BACK, RENDERED, ORIGINAL)
MANAGED = (
    GRUB_DROP_IN,
    KDUMP_TOOLS,
    UDEV_RULE,
    SYSCTL,
    TMPFILES,
    RAMOOPS_OPTIONS,
    CAPTURE_DROP_IN,
    CAPTURE_SETTINGS,
    *RECORDS,
)

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates"
# A template here is used instead of kdumpd's own of the same name.
ADMIN_TEMPLATES = Path("etc/kdumpd/templates")
# Programs of the administrator that are run after a crash.
NOTIFIERS = Path("etc/kdumpd/notify.d")


def absolute(path: Path) -> str:
    """How a path of this file is written for people and for other programs."""
    return f"/{path}"
