# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory it takes to open an encrypted volume: its header tells (LUKS2 On-Disk Format Specification, chapters 2, 3)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdumpd.decode import parse_json
from kdumpd.units import KIB

MAGIC = b"LUKS\xba\xbe"
# Magic, version, and the size of this binary header with the JSON area that follows it.
HEADER = struct.Struct(">6sHQ")
BINARY_HEADER = 4096
# The largest that the specification knows.
LARGEST_HEADER = 4 << 20


@dataclass(frozen=True, kw_only=True)
class UnlockMemory:
    """Bytes that deriving a key takes: `least` whichever it is, `most` if all are tried until one fits.

    0: next to nothing (PBKDF2, or LUKS1, which knows nothing else), or the volume can't be read by this user.
    """

    least: int
    most: int


NEXT_TO_NOTHING = UnlockMemory(least=0, most=0)


def one_after_the_other(volumes: Iterable[Path]) -> UnlockMemory:
    """What it takes to open all of them; nothing of it is needed any more for the next."""
    found = [unlock_memory(volume) for volume in volumes]
    return UnlockMemory(
        least=max((memory.least for memory in found), default=0), most=max((memory.most for memory in found), default=0)
    )


def unlock_memory(volume: Path) -> UnlockMemory:
    """What it takes to open one, by its header."""
    try:
        with volume.open("rb") as file:
            magic, version, size = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC or version != 2 or not BINARY_HEADER < size <= LARGEST_HEADER:  # noqa: PLR2004 - LUKS2
                return NEXT_TO_NOTHING
            file.seek(BINARY_HEADER)
            area = file.read(size - BINARY_HEADER)
        keys = parse_json(area.partition(b"\0")[0], dict)["keyslots"].values()
        costs = [_memory(key["kdf"]) for key in keys]
        return UnlockMemory(least=min(costs, default=0), most=max(costs, default=0))
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return NEXT_TO_NOTHING


def _memory(kdf: dict[str, Any]) -> int:
    """Argon2's cost is in KiB; PBKDF2 has none."""
    return int(kdf.get("memory", 0)) * KIB
