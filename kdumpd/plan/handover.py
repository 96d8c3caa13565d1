# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the dump kernel is told: capture.json, and on its command line what must be known before that can be read."""

import re
from collections.abc import Iterator

from kdumpd.capture.settings import CrashLoop, Mount, Settings, StoreSettings, VmcoreSettings
from kdumpd.errors import HostError
from kdumpd.host.facts import Facts, Store
from kdumpd.host.mounted import Mounted
from kdumpd.plan.doors import Door, way
from kdumpd.policy.model import Policy, VmcorePolicy

# What stands on a command line, and in a shell of a few lines, for itself.
SAFE = re.compile(r"[A-Za-z0-9_./:@+=,-]+")


def capture_settings(policy: Policy, facts: Facts) -> Settings:
    """What is in capture.json."""
    capture, loop = policy.capture, policy.capture.crash_loop
    return Settings(
        dmesg=capture.dmesg,
        pstore=policy.pstore.harvest,
        pstore_modules=pstore_modules(has_efi=facts.pstore.has_efi) if policy.pstore.harvest else (),
        vmcore=_vmcore(capture.vmcore) if capture.vmcore else None,
        stores=tuple(StoreSettings(path=store.path, mount=_mount(store.mount) if store.mount else None) for store in facts.stores),
        keep_count=capture.keep.count,
        keep_size=capture.keep.size,
        keep_free=capture.keep.free,
        crash_loop=CrashLoop(crashes=loop.count, within=loop.within) if loop else None,
        deadline=capture.deadline,
        then=capture.then,
        on_failure=capture.on_failure,
    )


def capture_parameters(policy: Policy, facts: Facts) -> tuple[str, ...]:
    """What /init and a capture that has not found its settings yet go by.

    Raises:
        HostError: the way to /var/lib/kdumpd can't be written on a command line.
    """
    return tuple(_parameters(policy, facts))


def pstore_modules(*, has_efi: bool) -> tuple[str, ...]:
    """Backends of pstore that nothing loads by itself in a dump kernel without udev. That of ACPI is built in."""
    return ("efi_pstore",) if has_efi else ()


def _parameters(policy: Policy, facts: Facts) -> Iterator[str]:
    capture = policy.capture
    yield f"kdumpd.deadline={capture.deadline}"
    yield f"kdumpd.then={capture.then}"
    yield f"kdumpd.on_failure={capture.on_failure}"
    if way(facts, loader=policy.loader).door is Door.SYSTEMD:
        yield f"kdumpd.door={Door.SYSTEMD}"
    for mount in facts.state:
        # The others are mounted by systemd.
        if not mount.obstacle:
            yield f"kdumpd.mount={_safe(mount, *([mount.options] if mount.options else []))}"
    # Where the log goes when there is no Python to read capture.json.
    if plain := next((store for store in facts.stores if store.mount is None), None):
        yield f"kdumpd.store={plain.path}"
    store = facts.rescue_store
    if store and store.mount and SAFE.fullmatch(where := _rescue(store, store.mount)):
        yield f"kdumpd.rescue={where}"


def _rescue(store: Store, mount: Mounted) -> str:
    return f"{mount.source},{mount.type},{store.folder}"


def _safe(mount: Mounted, *more: str) -> str:
    value = ",".join((mount.point, mount.source, mount.type, *more))
    if not SAFE.fullmatch(value):
        raise HostError(
            f"the mount \"{value}\" can't be written on the dump kernel's command line",
            hint=f"mount {mount.point} by a name of letters, digits and . _ + @ : / -",
        )
    return value


def _vmcore(vmcore: VmcorePolicy) -> VmcoreSettings:
    return VmcoreSettings(levels=vmcore.level, compress=vmcore.compress, format=vmcore.format)


def _mount(mount: Mounted) -> Mount:
    return Mount(point=mount.point, source=mount.source, type=mount.type, options=mount.options, by_systemd=bool(mount.obstacle))
