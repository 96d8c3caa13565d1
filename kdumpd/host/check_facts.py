# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only `kdumpd check` wants to know of a machine, beside Facts: it takes longer to find out, and no plan needs it."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kdumpd.host.dump_tools import read_enabled_units
from kdumpd.host.facts import Facts, Store
from kdumpd.host.kernel_config import KernelConfig, read_kernel_config
from kdumpd.host.makedumpfile import Makedumpfile, read_makedumpfile
from kdumpd.host.security import read_secure_boot
from kdumpd.host.signature import read_is_signed
from kdumpd.host.watchdog import Watchdog, read_watchdogs

TRIAL_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class StoreTrial:
    """How an attempt to write to a store went. `problem` None: it went well. `denied`: this user may not try."""

    problem: str | None = None
    denied: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckFacts:
    """`secure_boot` None: this machine has no Secure Boot. `dump_kernel_signed` None: it can't be told.

    `trials` are by the path of the store.
    """

    system_config: KernelConfig | None
    dump_config: KernelConfig | None
    secure_boot: bool | None
    dump_kernel_signed: bool | None
    watchdogs: tuple[Watchdog, ...]
    enabled_units: tuple[str, ...]
    makedumpfile: Makedumpfile | None
    trials: Mapping[str, StoreTrial]


def read_check_facts(root: Path, facts: Facts) -> CheckFacts:
    """A second look at the machine that Facts were read from."""
    system_config = read_kernel_config(root, facts.release, running=True)
    if facts.dump_release == facts.release:
        dump_config = system_config
    else:
        dump_config = read_kernel_config(root, facts.dump_release, running=False) if facts.dump_release else None
    return CheckFacts(
        system_config=system_config,
        dump_config=dump_config,
        secure_boot=read_secure_boot(root),
        dump_kernel_signed=read_is_signed(root, facts.kernel_image) if facts.kernel_image else None,
        watchdogs=read_watchdogs(root),
        enabled_units=read_enabled_units(root),
        makedumpfile=read_makedumpfile(),
        trials={store.path: _try_to_write(root, store) for store in facts.stores if store.exists},
    )


def _try_to_write(root: Path, store: Store) -> StoreTrial:
    """Writes a block to a file without a name, which is gone whatever happens."""
    try:
        with tempfile.TemporaryFile(dir=root / store.path.lstrip("/"), buffering=0) as trial:
            trial.write(bytes(TRIAL_BYTES))
            os.fsync(trial.fileno())
    except OSError as problem:
        # To root nothing is forbidden by its name: a folder that refuses it (chattr +i) refuses the capture too.
        if isinstance(problem, PermissionError) and os.geteuid() != 0:
            return StoreTrial(denied=True)
        return StoreTrial(problem=(problem.strerror or str(problem)).lower())
    return StoreTrial()
