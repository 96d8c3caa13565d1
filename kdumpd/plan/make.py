# SPDX-License-Identifier: LGPL-2.1-or-later
"""Decides what would have to change."""

from collections.abc import Iterator

from kdumpd.errors import HostError
from kdumpd.host import layout
from kdumpd.host.facts import BootLoader, DumpSet, Facts, Store
from kdumpd.plan.command_line import crashkernel, dump_command_line
from kdumpd.plan.render import render_files, sysctls
from kdumpd.plan.steps import BuildImage, LoadDumpKernel, MakeFolder, Plan, RunTool, SetSysctl, Step, WriteFile, fingerprint
from kdumpd.policy.model import Policy
from kdumpd.units import format_size

STORE_ON_ROOT = "the dump kernel mounts only /; name a folder on it in capture.stores"


def make_plan(policy: Policy, facts: Facts) -> Plan:
    """The steps from this machine to this policy, files first, the kernel last; none when it matches already.

    Raises:
        HostError: this machine can't be brought to this policy, and why.
    """
    _check_stores(facts)
    files = tuple(_file_steps(policy, facts))
    steps: tuple[Step, ...] = (
        *files,
        *_boot_loader_steps(policy, facts, files),
        *(MakeFolder(path=store.path) for store in facts.stores if not store.exists),
        *_sysctl_steps(policy, facts),
        *arming_steps(facts),
    )
    return Plan(steps=steps, notes=tuple(_notes(policy, facts)))


def arming_steps(facts: Facts) -> tuple[Step, ...]:
    """What it takes to get the dump kernel loaded: nothing while no memory is reserved, or when it is loaded already."""
    wanted = wanted_dump_set(facts)
    if wanted is None:
        return ()
    name = wanted.initrd.rpartition("/")[2]
    build = () if name in facts.images else (BuildImage(release=facts.release, initrd=wanted.initrd),)
    if not facts.kexec.reserved or (facts.kexec.loaded and facts.last_loaded == wanted):
        return build
    return (*build, LoadDumpKernel(kernel=wanted.kernel, initrd=wanted.initrd, command_line=wanted.command_line))


def wanted_dump_set(facts: Facts) -> DumpSet | None:
    """What should be loaded in this boot, or None when that can't be told: no kernel image, or not root."""
    if facts.kernel_image is None or facts.image_digest is None:
        return None
    return DumpSet(
        kernel=facts.kernel_image,
        initrd=layout.absolute(layout.IMAGES / f"initrd-{facts.release}-{facts.image_digest}.img"),
        command_line=dump_command_line(facts.command_line),
        boot_id=facts.boot_id,
    )


def _check_stores(facts: Facts) -> None:
    for store in facts.stores:
        if store.mount_point != "/":
            raise HostError(elsewhere(store), hint=STORE_ON_ROOT)


def elsewhere(store: Store) -> str:
    """The fact about a store that the dump kernel would not reach."""
    return f'the store "{store.path}" is on the file system that is mounted at {store.mount_point}'


def _file_steps(policy: Policy, facts: Facts) -> Iterator[WriteFile]:
    for path, content in render_files(policy, facts).items():
        found = facts.files[path]
        if found.unreadable:
            raise HostError(f"cannot read {path}, so cannot tell what would change", hint="run this as root")
        if found.content != content:
            edited = found.content is not None and facts.rendered.get(path) != fingerprint(found.content)
            yield WriteFile(path=path, content=content, before=found.content, edited=edited)


def _boot_loader_steps(policy: Policy, facts: Facts, files: tuple[WriteFile, ...]) -> Iterator[RunTool]:
    if facts.boot_loader is not BootLoader.GRUB:
        return
    drop_in = layout.absolute(layout.GRUB_DROP_IN)
    if any(step.path == drop_in for step in files):
        yield RunTool(argv=("update-grub",), reason=f"{drop_in} changes")
    elif facts.boot_entries is not None and not boot_loader_carries(policy, facts):
        yield RunTool(argv=("update-grub",), reason=f"no entry of /{layout.GRUB_CFG} carries our crashkernel=")


def boot_loader_carries(policy: Policy, facts: Facts) -> bool:
    """Whether at least one normal entry gives the next boot our crashkernel=."""
    normal = [entry for entry in facts.boot_entries or () if not entry.recovery]
    return any(crashkernel(entry.command_line) == format_size(policy.crashkernel) for entry in normal)


def _sysctl_steps(policy: Policy, facts: Facts) -> Iterator[SetSysctl]:
    for name, value in sysctls(policy).items():
        now = facts.sysctls.get(name)
        if now is not None and now != value:
            yield SetSysctl(name=name, value=value, before=now)


def _notes(policy: Policy, facts: Facts) -> Iterator[str]:
    wanted = f"crashkernel={format_size(policy.crashkernel)}"
    if crashkernel(facts.command_line) != format_size(policy.crashkernel):
        if facts.boot_loader is BootLoader.NONE:
            yield f"no boot loader that kdumpd knows was found: add {wanted} to the kernel's command line yourself, then reboot"
        else:
            yield f"{wanted} takes effect at the next reboot"
