# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts a program that reads hostile bytes so that it can do no harm: it reads files, prints, and that is all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdumpd.run import SYSTEM_PATH

SYSTEMD = "run/systemd/system"
# crash(8) keeps the output of its commands in files that it has removed at once.
SCRATCH_BYTES = 1 << 30
# Mapped files count: crash(8) takes some 2 GiB for the symbols of a kernel.
ADDRESS_SPACE_BYTES = 8 << 30
# No home, so no .crashrc or .gdbinit; nothing of the caller's environment, so no debuginfod.
ENVIRONMENT = ("env", "-i", f"PATH={SYSTEM_PATH}", "LC_ALL=C.UTF-8", "TERM=dumb", "HOME=/nonexistent", "PYTHONDONTWRITEBYTECODE=1")
# The dump is root's alone, and must stay so: somebody else, who may read everything. Root without capabilities would be less, as
# what belongs to root can be killed by it. Settings of systemd 247 and before, for one that is not known is an error.
PROPERTIES = (
    "AmbientCapabilities=CAP_DAC_READ_SEARCH",
    "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
    "DynamicUser=yes",
    # What it prints after we have had enough ends it.
    "IgnoreSIGPIPE=no",
    "LimitCORE=0",
    f"LimitFSIZE={SCRATCH_BYTES}",
    "LockPersonality=yes",
    "MemoryMax=50%",
    "MemorySwapMax=0",
    "NoNewPrivileges=yes",
    "OOMScoreAdjust=1000",
    "PrivateDevices=yes",
    "PrivateNetwork=yes",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=tmpfs",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "ProtectSystem=strict",
    "RestrictAddressFamilies=AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "SystemCallFilter=@system-service",
    # drgn and gdb start a thread for each CPU.
    "TasksMax=1024",
    "UMask=0077",
    "WorkingDirectory=/tmp",
)


# The same without systemd: "nobody", as all distributions number it.
NOBODY = 65534
SETPRIV = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
    *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sandboxed:
    """What to run; and, where killing that is not enough, what ends the program."""

    argv: tuple[str, ...]
    stop: tuple[str, ...] = ()


def sandbox(root: Path, argv: Sequence[str], *, name: str, reads: Iterable[Path], seconds: float) -> Sandboxed:
    """A service of systemd's, named `name`. `reads` are files that it needs, wherever they are.

    Without systemd (a container, a rescue system) it may read everything too, has no network and a limit to memory, but a folder
    that anybody can write to, it can.
    """
    if (root / SYSTEMD).is_dir():
        return _service(argv, name, reads, seconds)
    limits = (f"--as={ADDRESS_SPACE_BYTES}", f"--fsize={SCRATCH_BYTES}", "--core=0")
    return Sandboxed(argv=("unshare", "--net", "--ipc", "prlimit", *limits, *SETPRIV, *ENVIRONMENT, *argv))


def _service(argv: Sequence[str], name: str, reads: Iterable[Path], seconds: float) -> Sandboxed:
    visible = " ".join(_quoted(path) for path in reads)
    options = [
        *(f"--property={setting}" for setting in PROPERTIES),
        f"--property=RuntimeMaxSec={seconds:.0f}",
        # The program itself may be in /home or /tmp as well.
        f"--property=BindReadOnlyPaths={visible}",
    ]
    # systemd replaces variables in what it starts.
    words = [word.replace("$", "$$") for word in (*ENVIRONMENT, *argv)]
    return Sandboxed(
        argv=("systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={name}", *options, "--", *words),
        stop=("systemctl", "stop", f"{name}.service"),
    )


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
