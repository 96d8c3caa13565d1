# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dump images of kernels that are installed but do not run: built when their package comes, removed when it goes."""

from collections.abc import Callable
from pathlib import Path

from kdumpd.apply.look import look, policy_in_force
from kdumpd.errors import HostError
from kdumpd.files import exists, lock
from kdumpd.host import layout
from kdumpd.host.images import read_images
from kdumpd.host.read import read_dump_sets
from kdumpd.image.build import build_image, remove_old_images
from kdumpd.plan.make import image_folder
from kdumpd.plan.steps import BuildImage
from kdumpd.policy.model import Loader, Policy


def add_kernel(root: Path, policy_file: Path, release: str, report: Callable[[str], None]) -> None:
    """Builds the dump image for a kernel, if it will be the dump kernel when it runs.

    Raises:
        HostError: that kernel is not installed.
        ToolError: the image could not be built.
    """
    policy = _policy(root, policy_file)
    if policy is None or policy.loader is Loader.KDUMP_TOOLS or policy.dump_kernel.kernel is not None:
        return
    with lock(root):
        facts = look(policy, root, release=release)
        if facts.kernel_image is None or not facts.has_modules:
            raise HostError(f'the kernel "{release}" is not in /boot, or its modules are not in /lib/modules')
        folder = image_folder(facts)
        if folder is None:
            raise HostError(f"what the dump image for {release} is made from can't be read", hint="run this as root")
        if folder.name in facts.images:
            return
        report(f"building the dump image for {release}")
        build_image(root, BuildImage(release=release, kernel=facts.kernel_image, folder=layout.absolute(folder)), facts)


def remove_kernel(root: Path, release: str, report: Callable[[str], None]) -> None:
    """Removes the dump images of a kernel that is gone, but not those that this machine is armed with."""
    with lock(root):
        images = read_images(root)
        loaded = {Path(good.kernel).parent.name for good in read_dump_sets(root)}
        doomed = {name for name, about in images.items() if about.release == release} - loaded
        if doomed:
            report(f"removing the dump image for {release}")
            remove_old_images(root, keep=frozenset(set(images) - doomed))


def _policy(root: Path, policy_file: Path) -> Policy | None:
    """None while nothing was ever applied here: a machine that is being installed, or one that is not kdumpd's to change."""
    return policy_in_force(policy_file, root).policy if exists(root / layout.IN_FORCE) else None
