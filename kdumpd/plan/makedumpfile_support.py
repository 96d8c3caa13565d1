# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which makedumpfile a kernel needs for a vmcore. Its --dump-dmesg works with older ones too.

makedumpfile itself says "The kernel version is not supported" of each kernel that is newer than its LATEST_VERSION
(makedumpfile.h), also where all is well: 1.7.2 does so for 6.1. Here is only what is known to go wrong.
"""

import re
from dataclasses import dataclass

from kdumpd.host.makedumpfile import Makedumpfile


@dataclass(frozen=True)
class Change:
    """A change in the kernel, the first makedumpfile that knows of it, and what an older one does."""

    kernel: tuple[int, int]
    makedumpfile: tuple[int, int, int]
    otherwise: str


# The newest kernel first: what goes wrong there goes wrong in the older ways too.
CHANGES = (
    # Kernel d50569612c29 (compound_head is compound_info, in vmcoreinfo too); makedumpfile f50c015f150f, after 1.7.9.
    Change((7, 1), (1, 8, 0), "takes parts of larger pages for pages of their own, and may leave out memory that was asked for"),
    # Kernel 4ffca5a96678 (one page type per page); github.com/makedumpfile/makedumpfile issue 16, fixed in 1.7.7;
    # sonic-net/sonic-buildimage issue 25890 has a dump of 7.6 GB by it.
    Change((6, 12), (1, 7, 7), "takes free memory for memory in use, so that a vmcore is many times as large"),
    # PG_slab became a page type; makedumpfile bad2a7c4fa75 (isSlab(), "Linux 6.10 and later"), first in 1.7.6.
    Change((6, 10), (1, 7, 6), "leaves out memory of the kernel's own, so that crash can't open the vmcore"),
)


def unsupported(tool: Makedumpfile, release: str) -> Change | None:
    """What this makedumpfile does not know of the kernel with this release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        return None
    kernel = int(found[1]), int(found[2])
    return next((change for change in CHANGES if kernel >= change.kernel and tool.version < change.makedumpfile), None)
