# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the boot loader must pass to the kernel, and how each boot loader is told."""

from collections.abc import Iterator

from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.facts import Boot, BootEntry, BootLoader, Facts
from kdumpd.parameters import parameter_name, tokenize, values
from kdumpd.plan.steps import RunTool, WriteFile

CRASHKERNEL = "crashkernel"
# Who started the running kernel put these there, for itself: they are not for the next one (kernel-install(8)).
ADDED_BY_LOADERS = frozenset({"BOOT_IMAGE", "initrd", "systemd.machine_id"})


def carries(command_line: str, wanted: tuple[str, ...]) -> bool:
    """Whether it has all wanted parameters, and no crashkernel= beside ours."""
    words = tokenize(command_line)
    others = [word for word in words if parameter_name(word) == CRASHKERNEL and word not in wanted]
    return not others and all(words.count(word) == 1 for word in wanted)


def in_effect(command_line: str) -> tuple[str, ...]:
    """The crashkernel= parameters that count: the last plain one; ,high and ,low only where there is none (kernel/crash_core.c)."""
    found = values(command_line, CRASHKERNEL)
    plain = [value for value in found if not value.endswith((",high", ",low"))]
    return tuple(f"{CRASHKERNEL}={value}" for value in plain[-1:] or found)


def entries_to_judge(boot: Boot) -> tuple[BootEntry, ...]:
    """The entries that a machine starts by itself; a recovery entry gets no reservation."""
    return tuple(entry for entry in boot.entries or () if not entry.recovery)


def next_boot_is_ready(boot: Boot, wanted: tuple[str, ...]) -> bool:
    """Whether every normal entry carries what is wanted; there must be one."""
    normal = entries_to_judge(boot)
    return bool(normal) and all(carries(entry.command_line, wanted) for entry in normal)


def boot_loader_steps(wanted: tuple[str, ...], facts: Facts, files: tuple[WriteFile, ...]) -> Iterator[WriteFile | RunTool]:
    """What makes the boot loader pass these parameters from the next boot on; `files` are the rendered ones that change.

    Raises:
        HostError: it can't be told to, and why.
    """
    match facts.boot.loader:
        case BootLoader.GRUB:
            yield from _grub(wanted, facts, files)
        case BootLoader.GRUBBY:
            yield from _grubby(wanted, facts)
        case BootLoader.SYSTEMD_BOOT:
            yield from _systemd_boot(wanted, facts)
        case BootLoader.NONE:
            return


def _grub(wanted: tuple[str, ...], facts: Facts, files: tuple[WriteFile, ...]) -> Iterator[RunTool]:
    for source in facts.boot.other_sources:
        if source.later:
            fact = f"{source.path} sets crashkernel= too, and GRUB reads it after kdumpd's /{layout.GRUB_DROP_IN}"
            raise HostError(fact, hint=f"take crashkernel= out of {source.path}: the policy sets it now")
    drop_in = layout.absolute(layout.GRUB_DROP_IN)
    update = ("update-grub",)
    if any(step.path == drop_in for step in files):
        yield RunTool(argv=update, reason=f"{drop_in} changes", expects=wanted)
    elif facts.boot.entries is not None and not next_boot_is_ready(facts.boot, wanted):
        yield RunTool(argv=update, reason=f"an entry of /{layout.GRUB_CFG} does not carry what the policy wants", expects=wanted)


def _grubby(wanted: tuple[str, ...], facts: Facts) -> Iterator[RunTool]:
    if dollar := next((word for word in wanted if "$" in word), None):
        # blscfg expands $NAME in the options of an entry and knows no escape for it.
        fact = f"GRUB with BLS entries can't pass {dollar}: it takes the $ for a variable"
        raise HostError(fact, hint="set pstore.ramoops: off, or boot a kernel that has reserve_mem=, Linux 6.12")
    stale = _no_longer_wanted(wanted, facts)
    if next_boot_is_ready(facts.boot, wanted) and not any(
        word in tokenize(entry.command_line) for entry in entries_to_judge(facts.boot) for word in stale
    ):
        return
    removal = (f"--remove-args={' '.join(stale)}",) if stale else ()
    yield RunTool(
        # It replaces every other crashkernel= of an entry, and tells new kernels by /etc/kernel/cmdline.
        argv=("grubby", "--update-kernel=ALL", *removal, f"--args={' '.join(wanted)}"),
        reason="an entry of /boot/loader/entries does not carry what the policy wants",
        touches=facts.boot.entry_files,
        expects=wanted,
    )


def _systemd_boot(wanted: tuple[str, ...], facts: Facts) -> Iterator[WriteFile | RunTool]:
    boot = facts.boot
    content = kernel_cmdline(wanted, facts, stale=_no_longer_wanted(wanted, facts))
    path = layout.absolute(layout.KERNEL_CMDLINE)
    changes = content != boot.kernel_cmdline
    if changes:
        yield WriteFile(path=path, content=content, before=boot.kernel_cmdline)
    if changes or not next_boot_is_ready(boot, wanted):
        reason = f"{path} changes" if changes else "a boot entry does not carry what the policy wants"
        for kernel in boot.kernels:
            argv = ("kernel-install", "add", kernel.release, kernel.image)
            yield RunTool(argv=argv, reason=reason, touches=boot.entry_files, expects=wanted)


def kernel_cmdline(wanted: tuple[str, ...], facts: Facts, *, stale: tuple[str, ...]) -> str:
    """What /etc/kernel/cmdline must say: what it says now, or without it, what kernel-install takes for it."""
    now = facts.boot.kernel_cmdline
    lines = now.splitlines() if now is not None else [facts.command_line]
    dropped = {CRASHKERNEL} if now is not None else {CRASHKERNEL, *ADDED_BY_LOADERS}
    # systemd 257 skips lines that begin with #, 252 does not know comments.
    comments = [line for line in lines if line.startswith("#")]
    words = tokenize(" ".join(line for line in lines if not line.startswith("#")))
    kept = [word for word in words if parameter_name(word) not in dropped and word not in stale and word not in wanted]
    return "\n".join([*comments, " ".join([*kept, *wanted])]) + "\n"


def _no_longer_wanted(wanted: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
    """What kdumpd had put on the command line for an earlier policy, beside crashkernel=, which is replaced by name."""
    before = tokenize(facts.files[layout.absolute(layout.BOOT_PARAMETERS)].content or "")
    return tuple(word for word in before if parameter_name(word) != CRASHKERNEL and word not in wanted)


def boot_notes(wanted: tuple[str, ...], facts: Facts) -> Iterator[str]:
    """What a person has to know or to do."""
    for source in facts.boot.other_sources if not next_boot_is_ready(facts.boot, wanted) else ():
        yield f"{source.path} sets crashkernel= too: kdumpd's file, which GRUB reads later, takes that out"
    if carries(facts.command_line, wanted):
        return
    if facts.boot.loader is BootLoader.NONE:
        yield f"no boot loader that kdumpd knows was found ({facts.boot.seen})"
        yield f"add this to the kernel's command line yourself, then reboot: {' '.join(wanted)}"
    else:
        yield f"{' '.join(wanted)} takes effect at the next reboot"
