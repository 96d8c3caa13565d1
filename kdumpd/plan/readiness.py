# SPDX-License-Identifier: LGPL-2.1-or-later
"""Would this machine survive a crash right now, and if not, what to do? Told from facts, never from hopes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kdumpd.host import layout
from kdumpd.host.facts import BootLoader, Facts, Store
from kdumpd.plan.command_line import crashkernel
from kdumpd.plan.make import STORE_ON_ROOT, boot_loader_carries, elsewhere
from kdumpd.policy.model import Policy
from kdumpd.units import MIB, approximate_size, format_size

# The largest log buffer that distributions configure is 16 MiB (CONFIG_LOG_BUF_SHIFT up to 24 on big machines).
STORE_NEEDS = 32 * MIB


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that stands between this machine and a saved log, and the way out."""

    fact: str
    way_out: str


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The verdict. `armed` None: this user may not see it."""

    armed: bool | None
    troubles: tuple[Trouble, ...]

    def to_json(self) -> dict[str, Any]:
        return {"armed": self.armed, "problems": [asdict(trouble) for trouble in self.troubles]}


def judge(policy: Policy, facts: Facts) -> Readiness:
    """Tells apart what the policy wants, what the command line says and what the kernel really reserved."""
    return Readiness(armed=facts.kexec.loaded, troubles=tuple(_troubles(policy, facts)))


def _troubles(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    yield from _reservation(policy, facts)
    yield from _dump_kernel(facts)
    if facts.files[layout.absolute(layout.CAPTURE_SETTINGS)].content is None:
        yield Trouble(fact=f"/{layout.CAPTURE_SETTINGS} is missing, the dump kernel would use defaults", way_out="kdumpd apply")
    for tool in facts.missing_tools:
        yield Trouble(fact=f'the program "{tool}" is not installed', way_out=f"install the package that has {tool}")
    for store in facts.stores:
        yield from _store(store)


def _dump_kernel(facts: Facts) -> Iterator[Trouble]:
    if facts.kernel_image is None:
        fact = f"the image of the running kernel {facts.release} is neither in /boot nor in /lib/modules"
        yield Trouble(fact=fact, way_out="install that kernel's package again, or reboot into a kernel that is installed")
    elif facts.kexec.reserved and facts.kexec.loaded is False:
        yield Trouble(fact="memory is reserved, but no dump kernel is loaded", way_out="kdumpd arm")
    if facts.kexec.loaded and (facts.last_loaded is None or facts.last_loaded.boot_id != facts.boot_id):
        yield Trouble(fact="the dump kernel was loaded by another program", way_out="kdumpd apply")


def _store(store: Store) -> Iterator[Trouble]:
    if store.mount_point != "/":
        yield Trouble(fact=elsewhere(store), way_out=STORE_ON_ROOT)
    if store.free is not None and store.free < STORE_NEEDS:
        free, need = approximate_size(store.free), format_size(STORE_NEEDS)
        yield Trouble(fact=f"{store.path} has only {free} free, a log may need {need}", way_out="make room, or name another store")


def _reservation(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    wanted = format_size(policy.crashkernel)
    running = crashkernel(facts.command_line)
    reserved = facts.kexec.reserved
    if reserved is None:
        yield Trouble(fact="this kernel does not tell of a crash reservation", way_out="run a kernel with CONFIG_KEXEC")
    elif running == wanted and reserved == 0:
        fact = f"the command line has crashkernel={wanted}, but the kernel could not reserve it"
        yield Trouble(fact=fact, way_out="see why: journalctl -k -b -g crashkernel; then ask for less in the policy")
    elif running == wanted and reserved < policy.crashkernel:
        fact = f"the kernel reserved {approximate_size(reserved)}, not the {wanted} that were asked for"
        yield Trouble(fact=fact, way_out="see why: journalctl -k -b -g crashkernel")
    elif running != wanted:
        has = f"the command line has crashkernel={running}, not {wanted}" if running else "the command line has no crashkernel="
        yield Trouble(fact=has, way_out=_way_to_reserve(policy, facts))


def _way_to_reserve(policy: Policy, facts: Facts) -> str:
    if facts.boot_loader is BootLoader.NONE:
        return f"add crashkernel={format_size(policy.crashkernel)} in your boot loader, then reboot"
    if facts.boot_entries is None:
        return "kdumpd apply, then reboot (whether that was done, only root can see)"
    if boot_loader_carries(policy, facts):
        return "reboot: the boot loader has it already"
    return "kdumpd apply, then reboot"
