# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy: what an administrator can say, with a default for everything."""

from dataclasses import dataclass, field
from enum import StrEnum

from kdumpd.capture.settings import FinalAction
from kdumpd.units import MIB


class Fault(StrEnum):
    """A kind of fault that the kernel can survive, wounded, or turn into a panic."""

    OOPS = "oops"
    IO_NMI = "io_nmi"
    UNRECOVERED_NMI = "unrecovered_nmi"


@dataclass(frozen=True, kw_only=True)
class PanicPolicy:
    """`reboot_after` (seconds) counts only when no dump kernel is loaded; 0 means never."""

    reboot_after: int = 30
    on: tuple[Fault, ...] = (Fault.OOPS, Fault.IO_NMI, Fault.UNRECOVERED_NMI)


@dataclass(frozen=True, kw_only=True)
class CapturePolicy:
    """Stores are absolute paths, tried in order; `deadline` is in seconds."""

    stores: tuple[str, ...] = ("/var/crash",)
    deadline: int = 300
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The whole of /etc/kdumpd.yaml. `crashkernel` is in bytes."""

    crashkernel: int = 192 * MIB
    panic: PanicPolicy = field(default_factory=PanicPolicy)
    capture: CapturePolicy = field(default_factory=CapturePolicy)
