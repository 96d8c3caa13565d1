# SPDX-License-Identifier: LGPL-2.1-or-later
"""What kdumpd tells its hooks in the generators: variables of the shell, which both of them read."""

import shlex

from kdumpd import __version__
from kdumpd.host.storage import Storage
from kdumpd.image.needs import pstore_modules, unneeded

# The hooks leave this file in the initrd: by it the check knows that they ran.
MARK = "etc/kdumpd-image"


def hook_settings(storage: Storage | None, *, has_efi: bool) -> str:
    """Assignments that a shell can source."""
    values = {
        "kdumpd_version": __version__,
        "kdumpd_modules": " ".join(storage.modules if storage else ()),
        "kdumpd_load": " ".join(pstore_modules(has_efi=has_efi)),
        "kdumpd_unneeded": " ".join(unneeded(storage)),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
