# SPDX-License-Identifier: LGPL-2.1-or-later
"""What kdumpd tells its hooks in the generators: variables of the shell, which both of them read."""

import shlex

from kdumpd import __version__
from kdumpd.host import layout
from kdumpd.image.needs import Needs

# The hooks leave this file in the initrd: by it the check knows that they ran.
MARK = "etc/kdumpd-image"


def hook_settings(needs: Needs) -> str:
    """Assignments that a shell can source. The initrd itself has them too."""
    values = {
        "kdumpd_version": __version__,
        "kdumpd_files": layout.absolute(layout.INITRD_FILES),
        "kdumpd_direct": "yes" if needs.direct else "no",
        "kdumpd_file_system": needs.file_system,
        "kdumpd_modules": " ".join(needs.modules),
        "kdumpd_store_modules": " ".join(needs.store_modules),
        "kdumpd_unneeded": " ".join(needs.unneeded),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
