# SPDX-License-Identifier: LGPL-2.1-or-later
"""With which options a kernel was built: its .config, wherever a distribution keeps it."""

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdumpd.errors import HostError
from kdumpd.host import layout

GZIP = b"\x1f\x8b"
# "# Linux/x86 6.1.192 Kernel Configuration"; before Linux 2.6.37 "# Linux kernel version: 2.6.32".
HEADER = re.compile(r"^# Linux(?:/(?P<arch>\w+) | kernel version: )(?P<major>\d+)\.(?P<minor>\d+)", re.MULTILINE)
SET = re.compile(r"^CONFIG_(?P<name>\w+)=(?P<value>.*)$", re.MULTILINE)
OFF = re.compile(r"^# CONFIG_(?P<name>\w+) is not set$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class KernelConfig:
    """`values` are without CONFIG_; what is not set is not in there. `version` and `arch` are None where the file does not tell."""

    source: str
    version: tuple[int, int] | None
    arch: str | None
    values: Mapping[str, str]

    def has(self, option: str) -> bool:
        """Whether it is built in or a module."""
        return self.values.get(option) in ("y", "m")

    @property
    def is_x86(self) -> bool:
        return self.has("X86")

    @property
    def is_32_bit_x86(self) -> bool:
        return self.is_x86 and not self.has("X86_64")


def read_kernel_config(root: Path, release: str, *, running: bool) -> KernelConfig | None:
    """The configuration of an installed kernel, None when nobody kept it. /proc/config.gz is that of the running one only."""
    places = [
        Path(f"boot/config-{release}"),
        Path("lib/modules") / release / "config",
        Path("usr/lib/modules") / release / "config",
        Path("lib/modules") / release / "build/.config",
    ]
    if running:
        places.insert(0, Path("proc/config.gz"))
    for place in places:
        try:
            return parse_kernel_config((root / place).read_bytes(), layout.absolute(place))
        except (OSError, HostError):
            continue
    return None


def parse_kernel_config(content: bytes, source: str) -> KernelConfig:
    """
    Raises:
        HostError: this is no kernel configuration.
    """
    try:
        text = (gzip.decompress(content) if content.startswith(GZIP) else content).decode(errors="replace")
    except (OSError, EOFError, zlib.error) as problem:
        raise HostError(f"cannot unpack {source}: {problem}") from problem
    values = {match["name"]: match["value"].strip('"') for match in SET.finditer(text)}
    if not values and not OFF.search(text):
        hint = "give the .config of a kernel, like /boot/config-$(uname -r)"
        raise HostError(f"{source} is no kernel configuration: it has no line that begins with CONFIG_", hint=hint)
    header = HEADER.search(text)
    return KernelConfig(
        source=source,
        version=(int(header["major"]), int(header["minor"])) if header else None,
        arch=header["arch"] if header else None,
        values=values,
    )
