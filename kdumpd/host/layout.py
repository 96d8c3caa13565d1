# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are, relative to the root directory."""

from pathlib import Path

POLICY = Path("etc/kdumpd.yaml")

STATE = Path("var/lib/kdumpd")
IMAGES = STATE / "images"
INITRAMFS_CONF = STATE / "initramfs-tools"
LAST_LOADED = STATE / "last-loaded.json"
RENDERED = STATE / "rendered.json"
REPORTED = STATE / "reported-crashes.json"
CAPTURE_SETTINGS = STATE / "capture.json"

GRUB_DROP_IN = Path("etc/default/grub.d/kdumpd.cfg")
GRUB_CFG = Path("boot/grub/grub.cfg")
KDUMP_TOOLS = Path("etc/default/kdump-tools")
SYSCTL = Path("etc/sysctl.d/60-kdumpd.conf")
CAPTURE_DROP_IN = Path("etc/systemd/system/kdumpd-capture.service.d/50-policy.conf")
MANAGED = (GRUB_DROP_IN, KDUMP_TOOLS, SYSCTL, CAPTURE_DROP_IN, CAPTURE_SETTINGS)

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates"


def absolute(path: Path) -> str:
    """How a path of this file is written for people and for other programs."""
    return f"/{path}"
