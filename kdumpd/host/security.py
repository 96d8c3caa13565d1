# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may forbid this machine to load a dump kernel."""

import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text
from kdumpd.host.efi import read_variable

EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
ON = b"\x01"
UNLIMITED = -1


@dataclass(frozen=True, kw_only=True)
class Security:
    """None: this machine does not tell, or does not have it.

    `lockdown` is none, integrity or confidentiality. `loads_left` counts how many dump kernels may still be loaded until the
    next boot; -1 means any number.
    """

    secure_boot: bool | None
    lockdown: str | None
    kexec_load_disabled: bool
    loads_left: int

    @property
    def is_locked_down(self) -> bool:
        return self.lockdown not in (None, "none")


def read_security(root: Path) -> Security:
    """What the firmware and the kernel say, now."""
    limit = read_text(root / "proc/sys/kernel/kexec_load_limit_panic")
    return Security(
        secure_boot=_secure_boot(root),
        lockdown=_lockdown(root),
        kexec_load_disabled=(read_text(root / "proc/sys/kernel/kexec_load_disabled") or "").strip() == "1",
        loads_left=int(limit) if limit else UNLIMITED,
    )


def _secure_boot(root: Path) -> bool | None:
    """In setup mode the firmware checks nothing, whatever SecureBoot says (UEFI 2.10, 32.3)."""
    enabled, setup = (read_variable(root, f"{name}-{EFI_GLOBAL}") for name in ("SecureBoot", "SetupMode"))
    return None if enabled is None else enabled == ON and setup != ON


def _lockdown(root: Path) -> str | None:
    """The word in brackets of "none [integrity] confidentiality"; securityfs may not be mounted."""
    found = re.search(r"\[(\w+)\]", read_text(root / "sys/kernel/security/lockdown") or "")
    return found[1] if found else None
