# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may forbid this machine to load a dump kernel."""

import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text
from kdumpd.host.efi import Variable, read_variable

ON = b"\x01"
UNLIMITED = -1


@dataclass(frozen=True, kw_only=True)
class Security:
    """`lockdown` is none, integrity or confidentiality; None: this machine does not tell, or does not have it.

    `loads_left` counts how many dump kernels may still be loaded until the next boot; -1 means any number.
    """

    lockdown: str | None
    kexec_load_disabled: bool
    loads_left: int

    @property
    def is_locked_down(self) -> bool:
        return self.lockdown not in (None, "none")


def read_security(root: Path) -> Security:
    """What the kernel says, now."""
    limit = read_text(root / "proc/sys/kernel/kexec_load_limit_panic")
    return Security(
        lockdown=_lockdown(root),
        kexec_load_disabled=(read_text(root / "proc/sys/kernel/kexec_load_disabled") or "").strip() == "1",
        loads_left=int(limit) if limit else UNLIMITED,
    )


def read_secure_boot(root: Path) -> bool | None:
    """Whether the firmware checked what it started; None: it has no Secure Boot.

    In setup mode it checks nothing, whatever SecureBoot says (UEFI 2.10, 32.3).
    """
    enabled, setup = (read_variable(root, variable) for variable in (Variable.SECURE_BOOT, Variable.SETUP_MODE))
    return None if enabled is None else enabled == ON and setup != ON


def _lockdown(root: Path) -> str | None:
    """The word in brackets of "none [integrity] confidentiality"; securityfs may not be mounted."""
    found = re.search(r"\[(\w+)\]", read_text(root / "sys/kernel/security/lockdown") or "")
    return found[1] if found else None
