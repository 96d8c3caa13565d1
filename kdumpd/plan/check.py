# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold for a dump to work, thing by thing. Pure: told from two looks at the machine."""

from collections.abc import Iterator

from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.check_facts import CheckFacts
from kdumpd.host.dump_tools import KDUMP_TOOLS
from kdumpd.host.facts import Facts, Store
from kdumpd.host.watchdog import Watchdog
from kdumpd.plan.check_loading import loading_findings
from kdumpd.plan.findings import Finding, Verdict, fail, ok, warn
from kdumpd.plan.kernel_options import Role, needs, option_findings
from kdumpd.plan.kernel_values import kernel_values, unknown_faults
from kdumpd.plan.make import image_folder, wanted_dump_set
from kdumpd.plan.makedumpfile_support import unsupported
from kdumpd.plan.readiness import Subject, Trouble, troubles_by_subject
from kdumpd.policy.model import Compression, Loader, Policy
from kdumpd.units import approximate_size, format_duration

# From the panic to the log on the disk the reference guest takes 5 s; its own kernel needs half of it. A server that has to
# wait for its disks is slower.
LOG_IS_SAFE_AFTER = 30
AS_ROOT = "run this as root"


def check(policy: Policy, facts: Facts, more: CheckFacts) -> tuple[Finding, ...]:
    """Everything, in the order in which a dump would come to need it."""
    return tuple(_findings(policy, facts, more))


def _findings(policy: Policy, facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    yield from _kernel_options(policy, facts, more)
    troubles = troubles_by_subject(policy, facts)
    for subject, well in _well(facts).items():
        found = troubles[subject]
        harmless = subject == Subject.FILES or bool(facts.kexec.loaded)
        yield from (_finding(subject, trouble, harmless=harmless) for trouble in found)
        if not found and well:
            yield ok(subject, well)
    yield from _image(policy, facts)
    yield from loading_findings(facts, more)
    for store in facts.stores:
        # Where the log can't go to one store, the next may take it.
        known = [_finding("store", trouble, harmless=True) for trouble in troubles[store.path]]
        yield from known or _store(store, more)
    yield from _values(policy, facts)
    yield from _makedumpfile(policy, facts, more)
    yield from _watchdogs(policy, more)
    yield from _other_tools(policy, facts, more)


def _finding(subject: str, trouble: Trouble, *, harmless: bool) -> Finding:
    tell = warn if harmless and not trouble.serious else fail
    return tell(subject, trouble.fact, trouble.way_out)


def _kernel_options(policy: Policy, facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    for role, config, release in (
        (Role.SYSTEM, more.system_config, facts.release),
        (Role.DUMP, more.dump_config, facts.dump_release),
    ):
        if config is not None:
            yield from option_findings(config, role, needs(policy))
        elif release is not None:
            fact = f"the configuration of {release} is neither in /boot nor in /lib/modules"
            yield warn(role, fact, "get it from whoever built that kernel: kdumpd check --kernel-config FILE")


def _well(facts: Facts) -> dict[str, str | None]:
    """What to say of each subject that has no trouble."""
    return {
        Subject.RESERVATION: f"{approximate_size(facts.kexec.reserved or 0)} reserved",
        Subject.ARMED: "a dump kernel is loaded" if facts.kexec.loaded else None,
        Subject.FILES: "as the last apply left them",
        Subject.PROGRAMS: "all are installed",
    }


def _image(policy: Policy, facts: Facts) -> Iterator[Finding]:
    """With kdump-tools the image is not kdumpd's; without a kernel there is none, which `armed` tells."""
    if policy.loader is Loader.KDUMP_TOOLS or facts.dump_release is None or facts.kernel_image is None:
        return
    subject = "dump image"
    try:
        wanted, folder = wanted_dump_set(policy, facts), image_folder(facts)
    except HostError as problem:
        yield fail("dump kernel's command line", problem.args[0], problem.hint or "")
        return
    if wanted is None or folder is None:
        yield warn(subject, "this user can't see whether it is up to date", AS_ROOT)
    elif folder.name not in facts.images:
        yield warn(subject, f"there is none for {facts.dump_release} as it is installed now", "kdumpd apply")
    elif facts.kexec.loaded and facts.last_loaded != wanted:
        yield warn(subject, "what is loaded is older than what would be loaded now", "kdumpd arm")
    else:
        yield ok(subject, layout.absolute(folder))


def _store(store: Store, more: CheckFacts) -> Iterator[Finding]:
    trial = more.trials.get(store.path)
    if trial is None:
        yield warn("store", f"{store.path} does not exist", "kdumpd apply")
        return
    if trial.problem is not None:
        yield fail("store", f"nothing can be written to {store.path}: {trial.problem}", "see why: findmnt -T " + store.path)
        return
    if trial.denied:
        yield warn("store", f"this user may not try to write to {store.path}", AS_ROOT)
    elif store.free is not None:
        yield ok("store", f"{store.path} can be written to, {approximate_size(store.free)} free")


def _values(policy: Policy, facts: Facts) -> Iterator[Finding]:
    wanted = kernel_values(policy)
    other = [(path, value) for path, value in wanted.items() if facts.values.get(path, value) != value]
    for path, value in other:
        yield warn("kernel values", f"{path} is {facts.values[path]}, the policy says {value}", "kdumpd apply")
    for note in unknown_faults(policy, facts):
        yield warn("kernel values", note, "take it out of panic.on")
    if not other:
        yield ok("kernel values", "as the policy says")


def _makedumpfile(policy: Policy, facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    """When it is not installed, that was told with the programs."""
    tool, vmcore = more.makedumpfile, policy.capture.vmcore
    if tool is None:
        return
    version = ".".join(map(str, tool.version))
    if vmcore is None:
        yield ok("makedumpfile", f"{version}; only the log is saved, which any version can")
        return
    change = unsupported(tool, facts.release)
    if change is not None:
        fact = f"{version} is too old for a vmcore of Linux {facts.release}: it {change.otherwise}. The log is saved all the same"
        newer = ".".join(map(str, change.makedumpfile))
        yield warn("makedumpfile", fact, f"install makedumpfile {newer} or newer, or set capture.vmcore: off")
    if vmcore.compress in tool.disabled:
        others = [compression for compression in Compression if compression not in tool.disabled]
        # Asked for it, it says so, writes it uncompressed, and ends with 0; so the capture does not ask.
        instead = Compression.ZLIB if Compression.LZO in tool.disabled else Compression.LZO
        fact = f"{version} was built without {vmcore.compress}, so the capture would take {instead}"
        yield warn("makedumpfile", fact, f"set capture.vmcore.compress to one of {', '.join(others)}")
    elif change is None:
        yield ok("makedumpfile", version)


def _watchdogs(policy: Policy, more: CheckFacts) -> Iterator[Finding]:
    needed = LOG_IS_SAFE_AFTER if policy.capture.vmcore is None else policy.capture.deadline
    running = [watchdog for watchdog in more.watchdogs if watchdog.active and watchdog.survives_a_crash]
    hasty = [watchdog for watchdog in running if watchdog.timeout is not None and watchdog.timeout < needed]
    for watchdog in hasty:
        fact = (
            f"{_name(watchdog)} resets this machine {watchdog.timeout} s after a crash, a dump may take {format_duration(needed)}"
        )
        yield warn("watchdog", fact, f"give it more time: RuntimeWatchdogSec={needed}s in /etc/systemd/system.conf")
    if not hasty:
        names = ", ".join(_name(watchdog) for watchdog in running)
        yield ok("watchdog", f"{names} leaves a dump enough time" if names else "none is running")


def _name(watchdog: Watchdog) -> str:
    return watchdog.identity or watchdog.name


def _other_tools(policy: Policy, facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    others = [unit for unit in more.enabled_units if not (unit == KDUMP_TOOLS and _kdump_tools_stands_down(policy, facts))]
    for unit in others:
        stop = "kdumpd apply" if unit == KDUMP_TOOLS else f"systemctl disable --now {unit}; kdumpd arm"
        yield warn("other dump tools", f"{unit} is enabled and loads its own dump kernel over kdumpd's", stop)
    if not others:
        yield ok("other dump tools", "none is in the way")


def _kdump_tools_stands_down(policy: Policy, facts: Facts) -> bool:
    settings = facts.files[layout.absolute(layout.KDUMP_TOOLS)].content or ""
    return policy.loader is Loader.KDUMP_TOOLS or "USE_KDUMP=0" in settings.splitlines()


def worst(findings: tuple[Finding, ...]) -> Verdict:
    """Of all verdicts the one that counts."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdict in verdicts), Verdict.OK)
