# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `makedumpfile -v` says of itself."""

import re
from typing import NamedTuple

VERSION = re.compile(r"makedumpfile: version (\d+)\.(\d+)\.(\d+)")
# "zstd<tab>disabled", one line for each compression that was a choice when it was built.
DISABLED = re.compile(r"^(\w+)\s+disabled$", re.MULTILINE)


class Makedumpfile(NamedTuple):
    """`disabled` are the compressions that this build does not have."""

    version: tuple[int, int, int]
    disabled: frozenset[str]


def parse_version(said: str) -> Makedumpfile | None:
    """None when it does not tell."""
    found = VERSION.search(said)
    if found is None:
        return None
    major, minor, patch = (int(number) for number in found.groups())
    return Makedumpfile(version=(major, minor, patch), disabled=frozenset(DISABLED.findall(said)))
