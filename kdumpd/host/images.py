# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump images that are there. Each is a folder that appears whole: kernel, initrd, and what they are."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdumpd.files import read_text
from kdumpd.host import layout

KERNEL, INITRD, ABOUT = "vmlinuz", "initrd.img", "about.json"


@dataclass(frozen=True, kw_only=True)
class AboutImage:
    """What was built, of what, and how large it is in bytes: `packed` on the disk, `unpacked` in the memory of a dump kernel."""

    release: str
    kernel: str
    generator: str
    digest: str
    packed: int
    unpacked: int
    files: int
    modules: tuple[str, ...]
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "AboutImage":
        """
        Raises:
            ValueError, TypeError, KeyError: it is not such a file, or of another kdumpd.
        """
        found: dict[str, Any] = json.loads(text)
        found["modules"] = tuple(found["modules"])
        return cls(**found)


def read_images(root: Path) -> dict[str, AboutImage]:
    """The images by the name of their folder, the newest last."""
    files = sorted((root / layout.IMAGES).glob(f"[!.]*/{ABOUT}"), key=lambda path: (path.stat().st_mtime_ns, path))
    found = {}
    for path in files:
        try:
            found[path.parent.name] = AboutImage.from_json(read_text(path) or "")
        except (ValueError, TypeError, KeyError):
            # Not one that this kdumpd can use: the next apply builds it anew.
            continue
    return found
