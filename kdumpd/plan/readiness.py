# SPDX-License-Identifier: LGPL-2.1-or-later
"""Would this machine survive a crash right now, and if not, what to do? Told from facts, never from hopes."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from kdumpd.host import layout
from kdumpd.host.crypttab import CRYPTTAB
from kdumpd.host.facts import BootLoader, Facts, Store
from kdumpd.host.luks import NEXT_TO_NOTHING
from kdumpd.parameters import tokenize
from kdumpd.plan.boot import carries, entries_to_judge, in_effect, next_boot_is_ready
from kdumpd.plan.ours import is_loaded_for, misses_hotplug, was_edited
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.plan.stores import crash_needs, obstacles, takes_a_log
from kdumpd.policy.model import Loader, Policy
from kdumpd.units import approximate_size, format_size

# The dump kernel needs this one; the others make a dump kernel.
DUMP_TOOL = "makedumpfile"
SEE_WHY = "see why: journalctl -k -b -g crashkernel"


class Subject(StrEnum):
    """What a trouble is about. A store's is its path."""

    RESERVATION = "reservation"
    ARMED = "armed"
    FILES = "files"
    PROGRAMS = "programs"


class Level(StrEnum):
    """The verdict in a word, for programs."""

    READY = "ready"
    WITH_PROBLEMS = "with-problems"
    DEGRADED = "degraded"
    NOT_ARMED = "not-armed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that stands between this machine and a saved log, and the way out. `serious`: kdumpd would save nothing."""

    fact: str
    way_out: str
    serious: bool = False


Troubles = dict[str, tuple[Trouble, ...]]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The verdict. `loaded`: whether a dump kernel is; None when this kernel does not tell. `degraded`: it is the last good one,
    not the wanted one.

    The first trouble is the one that keeps the machine from being armed, when it is not.
    """

    loaded: bool | None
    troubles: tuple[Trouble, ...]
    degraded: bool = False

    @property
    def armed(self) -> bool | None:
        """Whether a crash right now would be saved; what is loaded may not be able to."""
        return self.loaded and not any(trouble.serious for trouble in self.troubles)

    @property
    def level(self) -> Level:
        if self.loaded is None:
            return Level.UNKNOWN
        if not self.armed:
            return Level.NOT_ARMED
        if self.degraded:
            return Level.DEGRADED
        return Level.WITH_PROBLEMS if self.troubles else Level.READY

    @property
    def first_trouble(self) -> Trouble:
        """What to tell where there is room for one."""
        if self.loaded and (serious := [trouble for trouble in self.troubles if trouble.serious]):
            return serious[0]
        unknown = Trouble(fact="this user can't see why", way_out="run this as root")
        return self.troubles[0] if self.troubles else unknown

    def to_json(self) -> dict[str, Any]:
        return {"state": self.level, "armed": self.armed, "problems": [asdict(trouble) for trouble in self.troubles]}


def judge(policy: Policy, facts: Facts) -> Readiness:
    """Tells apart what the policy wants, what the command line says and what the kernel really reserved."""
    found = troubles_by_subject(policy, facts).values()
    troubles = tuple(trouble for troubles in found for trouble in troubles)
    return Readiness(loaded=facts.kexec.loaded, troubles=troubles, degraded=bool(_why_degraded(policy, facts)))


def troubles_by_subject(policy: Policy, facts: Facts) -> Mapping[str, tuple[Trouble, ...]]:
    """Every subject, also those without a trouble."""
    reservation: Troubles = {Subject.RESERVATION: tuple(reservation_troubles(policy, facts))}
    armed: Troubles = {Subject.ARMED: (*_degraded(policy, facts), *_dump_kernel(policy, facts))}
    # With memory, only the dump kernel is missing; without, there is nowhere to load it.
    first = armed | reservation if facts.kexec.reserved else reservation | armed
    files: dict[str, tuple[Trouble, ...]] = {
        Subject.FILES: (*_drift(facts), *_settings(facts)),
        Subject.PROGRAMS: tuple(_programs(policy, facts)),
    }
    return {**first, **files, **_stores(policy, facts)}


def _why_degraded(policy: Policy, facts: Facts) -> str:
    last = facts.last_loaded
    ours = policy.loader is Loader.KDUMPD and is_loaded_for(policy, facts)
    # A tool may have said it in several lines.
    return " ".join(last.degraded.split()) if last and ours else ""


def _degraded(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    if reason := _why_degraded(policy, facts):
        fact = "the dump kernel that the policy asks for could not be loaded, the last good one is in its place"
        yield Trouble(fact=f"{fact}: {reason}", way_out="mend that, then: kdumpd arm")


def _settings(facts: Facts) -> Iterator[Trouble]:
    if facts.files[layout.absolute(layout.CAPTURE_SETTINGS)].content is None:
        yield Trouble(fact=f"/{layout.CAPTURE_SETTINGS} is missing, the dump kernel would use defaults", way_out="kdumpd apply")


def _programs(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    for tool in facts.missing_tools:
        way_out = f"install the package that has {tool}"
        # The log is saved without it too.
        serious = tool == DUMP_TOOL and not policy.capture.dmesg
        yield Trouble(fact=f'the program "{tool}" is not installed', way_out=way_out, serious=serious)


def _stores(policy: Policy, facts: Facts) -> Troubles:
    none_left = not any(takes_a_log(store) for store in facts.stores)
    return {store.path: tuple(_store(store, policy, facts, serious=none_left)) for store in facts.stores}


def reservation_troubles(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    """What the policy wants, what the command line says and what the kernel reserved, as far as they are not the same."""
    wanted = wanted_crashkernel(policy, facts)
    parameters = wanted.parameters()
    reserved = facts.kexec.reserved
    if reserved is None:
        yield Trouble(fact="this kernel does not tell of a crash reservation", way_out="run a kernel with CONFIG_KEXEC")
        return
    if sorted(in_effect(facts.command_line)) != sorted(parameters):
        yield _not_on_command_line(parameters, facts)
        return
    asked = wanted.reserved_for(facts.sizing.ram)
    if reserved == 0:
        fact = f"the command line has {' '.join(parameters)}, but the kernel could not reserve it"
        yield Trouble(fact=fact, way_out=f"{SEE_WHY}; then ask for less in the policy")
    elif asked is not None and reserved < asked:
        fact = f"the kernel reserved {approximate_size(reserved)}, not the {format_size(asked)} that were asked for"
        yield Trouble(fact=fact, way_out=SEE_WHY)


def _not_on_command_line(parameters: tuple[str, ...], facts: Facts) -> Trouble:
    running = " ".join(in_effect(facts.command_line))
    has = f"the command line has {running}, not {' '.join(parameters)}" if running else "the command line has no crashkernel="
    return Trouble(fact=has, way_out=_way_to_reserve(parameters, facts))


def _way_to_reserve(parameters: tuple[str, ...], facts: Facts) -> str:
    if facts.boot.loader is BootLoader.NONE:
        return f"add {' '.join(parameters)} in your boot loader, then reboot"
    if facts.boot.entries is None:
        return "kdumpd apply, then reboot (whether that was done, only root can see)"
    if next_boot_is_ready(facts.boot, parameters):
        return "reboot: the boot loader has it already"
    return "kdumpd apply, then reboot"


def _dump_kernel(policy: Policy, facts: Facts) -> Iterator[Trouble]:
    if facts.kernel_image is None and policy.dump_kernel.kernel is None:
        fact = f"the image of the running kernel {facts.release} is neither in /boot nor in /lib/modules"
        yield Trouble(fact=fact, way_out="install that kernel's package again, or reboot into a kernel that is installed")
    elif facts.kernel_image is None or facts.dump_release is None:
        fact = f"the dump kernel {policy.dump_kernel.kernel} is not there, or does not say which kernel it is"
        yield Trouble(fact=fact, way_out="name another one in dump_kernel.kernel, or write running")
    elif facts.kexec.reserved and facts.kexec.loaded is False:
        yield Trouble(fact="memory is reserved, but no dump kernel is loaded", way_out="kdumpd arm")
    yield from _passphrase(facts)
    yield from _unlocking(facts)
    if facts.kexec.loaded and not is_loaded_for(policy, facts):
        yield Trouble(fact="the dump kernel was loaded by another program", way_out="kdumpd apply", serious=True)
    elif facts.kexec.loaded and policy.loader is Loader.KDUMPD and _is_known_to_miss_hotplug(facts):
        fact = "memory or CPUs were added or removed since the dump kernel was loaded"
        yield Trouble(fact=fact, way_out="kdumpd arm")


def _passphrase(facts: Facts) -> Iterator[Trouble]:
    if facts.storage is None or not facts.storage.asks:
        return
    volumes = " and ".join(facts.storage.asks)
    fact = f"/ is on {volumes}, which is opened by a passphrase, and in the dump kernel nobody types one"
    way_out = f"give it a key file in /{CRYPTTAB}, or a TPM (clevis){_or_rescue(facts)}"
    yield Trouble(fact=fact, way_out=way_out, serious=facts.rescue_store is None)


def _unlocking(facts: Facts) -> Iterator[Trouble]:
    """Argon2 asks for up to 1 GiB by default (cryptsetup 2.4 and newer); an allocation that fails leaves the root closed."""
    needed, reserved = facts.storage.unlock_memory if facts.storage else NEXT_TO_NOTHING, facts.kexec.reserved
    # The dump kernel itself takes some of it: more than nothing, and that is enough to say no.
    if not reserved or needed.most < reserved:
        return
    has = f"and {approximate_size(reserved)} are reserved"
    if hopeless := needed.least >= reserved:
        fact = f"to open the volume that / is on takes {approximate_size(needed.least)} (Argon2), {has}"
    else:
        # Which key is for the dump kernel, only trying tells. The first that there is no memory for ends it (libcryptsetup,
        # LUKS2_keyslot_open_priority(): only -EPERM and -ENOENT go on to the next).
        fact = f"a key of the volume that / is on takes {approximate_size(needed.most)} (Argon2), {has}"
    way_out = f"cryptsetup luksConvertKey --pbkdf pbkdf2 for each of its keys, or crashkernel: auto{_or_rescue(facts)}"
    yield Trouble(fact=fact, way_out=way_out, serious=hopeless and facts.rescue_store is None)


def _or_rescue(facts: Facts) -> str:
    return "" if facts.rescue_store else "; or name a second store, on a disk of its own: it gets the log when / can't be mounted"


def _is_known_to_miss_hotplug(facts: Facts) -> bool:
    # An older kdumpd did not record it: load again to be sure, but say nothing that may be wrong.
    return (
        facts.last_loaded is not None
        and bool(facts.last_loaded.memory)
        and misses_hotplug(facts.last_loaded, facts.boot_id, facts.hardware)
    )


def _drift(facts: Facts) -> Iterator[Trouble]:
    """Where the machine is not any more as the last apply left it."""
    for path in facts.files:
        if path in facts.rendered and was_edited(path, facts):
            way_out = f"see it: kdumpd plan; then put what you need into /{layout.POLICY}, and: kdumpd apply --overwrite"
            yield Trouble(fact=f"{path} was changed by somebody else than kdumpd", way_out=way_out)
        elif path in facts.rendered and facts.files[path].content is None and not facts.files[path].unreadable:
            yield Trouble(fact=f"{path} was removed by somebody else than kdumpd", way_out="kdumpd apply")
    yield from _boot_drift(facts)


def _boot_drift(facts: Facts) -> Iterator[Trouble]:
    applied = tokenize(facts.files[layout.absolute(layout.BOOT_PARAMETERS)].content or "")
    if not applied:
        return
    normal = entries_to_judge(facts.boot)
    without = [entry for entry in normal if not carries(entry.command_line, applied)]
    if without:
        fact = f"{len(without)} of {len(normal)} boot entries do not have {' '.join(applied)}, which kdumpd put there"
        yield Trouble(fact=fact, way_out="kdumpd apply")
        return
    running = tokenize(facts.command_line)
    # What concerns crashkernel= itself is told with the reservation.
    if missing := " ".join(word for word in applied if word not in running and not word.startswith("crashkernel=")):
        yield Trouble(fact=f"the running kernel was booted without {missing}", way_out="reboot")


def _store(store: Store, policy: Policy, facts: Facts, *, serious: bool = False) -> Iterator[Trouble]:
    for fact, way_out in obstacles(store):
        yield Trouble(fact=fact, way_out=way_out, serious=serious)
    if store.read_only:
        # The dump kernel mounts it writable, if that is possible at all.
        point = store.mount.point if store.mount else "/"
        yield Trouble(
            fact=f"{store.path} can't be written to now: {point} is mounted read-only", way_out=f"mount -o remount,rw {point}"
        )
    if store.free is not None and store.free < (needs := crash_needs(policy, facts)):
        free, need = approximate_size(store.free), approximate_size(needs)
        what = "a log and the memory" if policy.capture.vmcore else "a log"
        fact = f"{store.path} has only {free} free, {what} may need {need}"
        yield Trouble(fact=fact, way_out="make room, or name another store", serious=serious)
