# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory it takes to open an encrypted volume: its header tells (LUKS2 On-Disk Format Specification, chapters 2, 3)."""

import json
import struct
from pathlib import Path
from typing import Any

from kdumpd.units import KIB

MAGIC = b"LUKS\xba\xbe"
# Magic, version, and the size of this binary header with the JSON area that follows it.
HEADER = struct.Struct(">6sHQ")
BINARY_HEADER = 4096
# The largest that the specification knows.
LARGEST_HEADER = 4 << 20


def unlock_memory(volume: Path) -> int:
    """Bytes that deriving a key takes, the most that any key of the volume asks for.

    0: next to nothing (PBKDF2, or LUKS1, which knows nothing else), or the volume can't be read by this user.
    """
    try:
        with volume.open("rb") as file:
            magic, version, size = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC or version != 2 or not BINARY_HEADER < size <= LARGEST_HEADER:  # noqa: PLR2004 - LUKS2
                return 0
            file.seek(BINARY_HEADER)
            area = file.read(size - BINARY_HEADER)
        keys = json.loads(area.partition(b"\0")[0])["keyslots"].values()
        return max((_memory(key["kdf"]) for key in keys), default=0)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0


def _memory(kdf: dict[str, Any]) -> int:
    """Argon2's cost is in KiB; PBKDF2 has none."""
    return int(kdf.get("memory", 0)) * KIB
