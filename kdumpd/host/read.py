# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at a machine through its root directory. Needs no privilege; what is hidden comes out as None."""

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from kdumpd.decode import read_json
from kdumpd.errors import BusyError, HostError
from kdumpd.files import exists, open_plain, read_own, read_text
from kdumpd.host import layout
from kdumpd.host.boot import kernel_image, read_boot
from kdumpd.host.facts import DumpSet, Facts, Generator, Kexec, ManagedFile, find_store_modules
from kdumpd.host.hotplug import read_hardware
from kdumpd.host.image_inputs import PROGRAMS, find_generator, image_digest
from kdumpd.host.images import read_images
from kdumpd.host.kdump_tools import is_as_its_package_brought_it, read_kdump_tools
from kdumpd.host.kernel_image import read_kernel_image
from kdumpd.host.memory_map import read_memory_map
from kdumpd.host.mounted import read_mounts_of_state, root_obstacle
from kdumpd.host.original import read_made_folders, read_original
from kdumpd.host.platform import read_platform
from kdumpd.host.pstore import read_pstore
from kdumpd.host.security import read_security
from kdumpd.host.sizing import read_sizing
from kdumpd.host.storage import read_storage
from kdumpd.host.stores import read_store
from kdumpd.host.trust import distrust_on_the_way
from kdumpd.run import find_program
from kdumpd.transaction import read_previous

# A load takes a second or two, of a large initrd on a slow machine some more.
BUSY_PATIENCE, BUSY_PAUSE = 20.0, 0.02
NEEDED_TOOLS = ("kexec", "makedumpfile")
NEEDED_GENERATOR = " or ".join(PROGRAMS.values())


def read_facts(
    root: Path,
    *,
    stores: Iterable[str],
    values: Iterable[str],
    dump_kernel: str | None,
    asks_ramoops: bool,
    release: str | None = None,
) -> Facts:
    """One look at the machine, at these stores, kernel values and this dump kernel (absolute paths) among other things.

    `release`: as if this kernel ran, not the one that does.

    Raises:
        HostError: /proc is not there.
    """
    command_line = read_text(root / "proc/cmdline")
    if command_line is None:
        raise HostError(f"cannot read {root / 'proc/cmdline'}", hint="kdumpd needs /proc")
    release = release or (read_text(root / "proc/sys/kernel/osrelease") or os.uname().release).strip()
    kernel = kernel_image(root, release) if dump_kernel is None else dump_kernel
    image = read_kernel_image(root, kernel) if kernel else None
    dump_release = release if dump_kernel is None else (image.release if image else None)
    memory_map = read_memory_map(root)
    stores = tuple(stores)
    found_stores = tuple(read_store(root, release, store) for store in stores)
    platform = read_platform(root)
    storage = read_storage(root, release)
    obstacle = root_obstacle(root, storage, command_line)
    generator = find_generator()
    pstore = read_pstore(root, release, asks_ramoops=asks_ramoops)
    digest = None
    if dump_release and kernel and image and generator:
        digest = image_digest(
            root,
            release=dump_release,
            kernel=kernel,
            generator=generator,
            storage=storage,
            direct=not obstacle,
            store_modules=find_store_modules(found_stores, storage),
            watchdogs=platform.watchdogs,
        )
    return Facts(
        release=release,
        boot_id=read_boot_id(root),
        command_line=command_line.strip(),
        platform=platform,
        kexec=read_kexec(root),
        security=read_security(root),
        boot=read_boot(root),
        sizing=read_sizing(root, kernel=image, memory_map=memory_map, stores=stores),
        memory_map=memory_map,
        hardware=read_hardware(root),
        pstore=pstore,
        kdump_tools=read_kdump_tools(root),
        kernel_image=kernel if dump_kernel is None or image else None,
        dump_release=dump_release,
        has_modules=bool(dump_release) and has_modules(root, str(dump_release)),
        storage=storage,
        root_obstacle=obstacle,
        state=read_mounts_of_state(root, release),
        generator=generator,
        image_digest=digest,
        images=tuple(read_images(root)),
        last_loaded=next(iter(read_dump_sets(root)), None),
        stores=found_stores,
        values=_values(root, values),
        files={layout.absolute(path): _managed_file(root, path) for path in layout.MANAGED},
        rendered=read_json(root / layout.RENDERED, dict[str, str]) or {},
        templates=_templates(root),
        template_problem=_template_problem(root),
        previous=read_previous(root),
        original=read_original(root),
        saved_copies=frozenset(f"/{copy.relative_to(root)}" for path in layout.MANAGED for copy in _saved_copies(root / path)),
        made_folders=read_made_folders(root),
        missing_tools=_missing_tools(generator),
    )


def read_kexec(root: Path) -> Kexec:
    """What the kernel says of its crash reservation, now.

    Raises:
        BusyError: somebody loads a dump kernel, and does not come to an end.
    """
    # Linux 6.19 moves both files into /sys/kernel/kexec/ and will remove the old ones.
    size = _first_text(root, "sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size")
    loaded = _first_text(root, "sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded")
    return Kexec(reserved=int(size) if size else None, loaded=loaded.strip() == "1" if loaded else None)


def _first_text(root: Path, *names: str) -> str | None:
    return next((text for name in names if (text := _read_when_free(root / name)) is not None), None)


def _read_when_free(path: Path) -> str | None:
    """While somebody loads, crash_size answers EBUSY (crash_get_memory_size() in kernel/kexec_core.c)."""
    end = time.monotonic() + BUSY_PATIENCE
    while True:
        try:
            return read_text(path)
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                raise
            if time.monotonic() >= end:
                fact = f"somebody has been loading a dump kernel for {BUSY_PATIENCE:.0f} s, the kernel says nothing until then"
                raise BusyError(fact, hint="see who: ps -C kexec -f") from problem
            time.sleep(BUSY_PAUSE)


def _saved_copies(path: Path) -> Iterable[Path]:
    return path.parent.glob(f"{path.name}.saved-*")


def _missing_tools(generator: Generator | None) -> tuple[str, ...]:
    missing = tuple(tool for tool in NEEDED_TOOLS if find_program(tool) is None)
    return missing if generator else (*missing, NEEDED_GENERATOR)


def has_modules(root: Path, release: str) -> bool:
    """Whether the modules of this kernel are installed."""
    return exists(root / "lib/modules" / release / "modules.dep")


def read_boot_id(root: Path) -> str:
    """A name for this boot."""
    return (read_text(root / "proc/sys/kernel/random/boot_id") or "").strip()


def read_dump_sets(root: Path) -> tuple[DumpSet, ...]:
    """What was loaded last, and what was loaded before that was another image; as far as there was."""
    found = (read_json(root / path, DumpSet) for path in (layout.LAST_LOADED, layout.LOADED_BEFORE))
    # After the first load both records are of the same one.
    return tuple(dict.fromkeys(dump_set for dump_set in found if dump_set))


def _templates(root: Path) -> dict[str, str]:
    """kdumpd's own templates, each replaced by an administrator's of the same name."""
    folders = (layout.TEMPLATES, root / layout.ADMIN_TEMPLATES)
    files = [
        path for folder in folders if exists(folder) for path in sorted(folder.glob("*.j2")) if exists(path) and path.is_file()
    ]
    return {path.name: text for path in files if (text := read_text(path)) is not None}


def _template_problem(root: Path) -> tuple[str, str] | None:
    """Why an administrator's template can't be believed, and what mends that: jinja runs it as root."""
    folder = root / layout.ADMIN_TEMPLATES
    for path in sorted(folder.glob("*.j2")) if exists(folder) else ():
        try:
            found, is_file = distrust_on_the_way(path, root), path.is_file()
        except (OSError, RuntimeError) as problem:
            return f"the template {path} can't be read: {problem}", f"rm {path}"
        if not is_file:
            return f"the template {path} is no regular file", f"rm {path}"
        if found:
            where, reason = found
            mode = reason.mode and f" ({reason.mode})"
            return f"the template {path} is not used: {where} {reason.fact}{mode}", f"{reason.remedy} {where}"
    return None


def _values(root: Path, paths: Iterable[str]) -> dict[str, str]:
    found = {path: read_text(root / path.lstrip("/")) for path in paths}
    return {path: text.strip() for path, text in found.items() if text is not None}


def _managed_file(root: Path, path: Path) -> ManagedFile:
    try:
        content = read_own(root / path) if layout.STATE in path.parents else _content(root / path)
    except OSError:
        return ManagedFile(content=None, unreadable=True)
    if content is None:
        return ManagedFile(content=None)
    # Somebody else's bytes must come back as they were when they are put back.
    text = content.decode(errors="surrogateescape")
    return ManagedFile(content=text, pristine=is_as_its_package_brought_it(root, path))


def _content(path: Path) -> bytes | None:
    try:
        with open_plain(path) as file:
            return file.read()
    except FileNotFoundError:
        return None
