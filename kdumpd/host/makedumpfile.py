# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which makedumpfile this is."""

import re
from dataclasses import dataclass

from kdumpd.errors import ToolError
from kdumpd.run import run

VERSION_TIMEOUT = 10.0
VERSION = re.compile(r"makedumpfile: version (\d+)\.(\d+)\.(\d+)")
# "zstd<tab>disabled", one line for each compression that was a choice when it was built.
DISABLED = re.compile(r"^(\w+)\s+disabled$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Makedumpfile:
    """`disabled` are the compressions that this build does not have."""

    version: tuple[int, int, int]
    disabled: frozenset[str]


def read_makedumpfile() -> Makedumpfile | None:
    """None when it is not installed or does not tell."""
    try:
        said = run(["makedumpfile", "-v"], timeout=VERSION_TIMEOUT).stdout
    except ToolError:
        return None
    found = VERSION.search(said)
    if found is None:
        return None
    major, minor, patch = (int(number) for number in found.groups())
    return Makedumpfile(version=(major, minor, patch), disabled=frozenset(DISABLED.findall(said)))
