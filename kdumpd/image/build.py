# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds a dump image beside those that are there. It appears under its name when it is checked and on the disk, or not at all."""

import shutil
import time
from pathlib import Path

from kdumpd.capture.durable import rename, sync, temporary_name, write_file
from kdumpd.errors import ToolError
from kdumpd.host import layout
from kdumpd.host.facts import Facts, Generator
from kdumpd.host.images import ABOUT, INITRD, KERNEL, AboutImage
from kdumpd.host.kernel_image import read_kernel_image
from kdumpd.image import dracut, initramfs_tools
from kdumpd.image.contents import Contents, check_contents, read_contents
from kdumpd.image.needs import image_needs
from kdumpd.plan.steps import BuildImage

MAKERS = {Generator.INITRAMFS_TOOLS: initramfs_tools.make_initrd, Generator.DRACUT: dracut.make_initrd}
WORK = "work"


def build_image(root: Path, step: BuildImage, facts: Facts) -> None:
    """Makes the folder with kernel, initrd and about.json. The caller holds the lock.

    Raises:
        ToolError: it could not be built, or is no good. Every older image is still there.
    """
    if facts.generator is None:
        raise ToolError("neither mkinitramfs nor dracut is installed", hint="install initramfs-tools or dracut")
    target = root / step.folder.lstrip("/")
    unfinished = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(target.parent)
        unfinished.mkdir()
        _fill(root, unfinished, step, facts, facts.generator)
        _put_in_place(unfinished, target)
    except OSError as problem:
        hint = f"make room for it in /{layout.STATE}; an image that was there before is still there"
        raise ToolError(f"the dump image could not be built, {_reason(problem)}", hint=hint) from problem
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_old_images(root: Path, keep: frozenset[str]) -> None:
    """Removes all that is in the folder of images, what a killed build left there too, but the images named in `keep`."""
    folder = root / layout.IMAGES
    for found in folder.iterdir() if folder.is_dir() else ():
        if found.name not in keep:
            _remove(found)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _reason(problem: OSError) -> str:
    if isinstance(problem, shutil.Error):
        # copytree() gathers them, each as source, target and text.
        return str(problem.args[0][0][2])
    return f"{problem.filename}: {problem.strerror}"


def _fill(root: Path, folder: Path, step: BuildImage, facts: Facts, generator: Generator) -> None:
    started = time.monotonic()
    # A copy: when the package of that kernel is removed, the image still works. Its signature is inside the file.
    shutil.copyfile(root / step.kernel.lstrip("/"), folder / KERNEL)
    _check_whole(step.kernel, folder)
    initrd, work = folder / INITRD, folder / WORK
    # What a generator that is killed leaves there goes away with the folder.
    work.mkdir()
    make_initrd = MAKERS[generator]
    needs = image_needs(facts)
    make_initrd(root, release=step.release, output=initrd, work=work, needs=needs)
    if not initrd.is_file() or initrd.stat().st_size == 0:
        raise ToolError(
            f"{generator} ended well, but made no initrd for kernel {step.release}", hint=f"is there room in /{layout.STATE}?"
        )
    contents = read_contents(initrd, generator, work)
    check_contents(root, contents, release=step.release, storage=facts.storage, room=_room(facts))
    shutil.rmtree(work)
    # It may hold keys that unlock the root.
    initrd.chmod(0o600)
    for file in (folder / KERNEL, initrd):
        sync(file)
    kernel_size = (folder / KERNEL).stat().st_size
    about = _about(step, generator, contents, kernel_size, seconds=time.monotonic() - started)
    write_file(folder / ABOUT, about.to_json().encode(), 0o644)


def _check_whole(source: str, folder: Path) -> None:
    image = read_kernel_image(folder, KERNEL)
    if image and image.file_size < image.whole:
        raise ToolError(
            f"the kernel image {source} is cut off: it has {image.file_size} bytes, expected at least {image.whole}",
            hint="install that kernel's package again",
        )


def _room(facts: Facts) -> int | None:
    """What the reservation leaves for an initrd, packed and unpacked, when the kernel has begun to run."""
    kernel = facts.sizing.kernel
    return facts.kexec.reserved - kernel.room if facts.kexec.reserved and kernel else None


def _about(step: BuildImage, generator: Generator, contents: Contents, kernel_size: int, *, seconds: float) -> AboutImage:
    return AboutImage(
        release=step.release,
        kernel=step.kernel,
        generator=generator,
        digest=step.folder.rpartition("-")[2],
        packed=contents.packed,
        unpacked=contents.unpacked,
        files=contents.files,
        modules=tuple(sorted(contents.modules)),
        seconds=round(seconds, 1),
        kernel_size=kernel_size,
    )


def _put_in_place(unfinished: Path, target: Path) -> None:
    # What is there under this name was damaged, or is to be built again: it is not what is loaded, that is in memory.
    _remove(target)
    sync(unfinished)
    rename(unfinished, target)


def _remove_unfinished(images: Path) -> None:
    """A build that was killed has left its folder; the space may be needed now."""
    for left in images.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
