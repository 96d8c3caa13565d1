# SPDX-License-Identifier: LGPL-2.1-or-later
"""The module that crashes a guest, built for its kernel by the compiler of its own suite."""

import functools
import shutil
import subprocess
from pathlib import Path

from tests.vm.cache import cached, key_of, scratch_folder
from tests.vm.image import base_image
from tests.vm.systems import System

SOURCE = Path(__file__).with_name("module")
BUILT = "kcrash.ko"


@functools.cache
def crash_module(system: System) -> bytes:
    """A kernel module that oopses while it is loaded."""
    release = base_image(system).kernel_release
    sources = [path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.is_file()]
    folder = cached(f"module-{system}", key_of(release, *sources), lambda target: _build(target, system, release))
    return (folder / BUILT).read_bytes()


def _build(target: Path, system: System, release: str) -> None:
    with scratch_folder("module") as scratch:
        tree = scratch / "tree"
        system.archive.make_tree(tree, ["gcc", "make", f"linux-headers-{release}"], variant="essential")
        shutil.copytree(SOURCE, tree / "module")
        make = ["make", "-C", f"/usr/src/linux-headers-{release}", "M=/module", "modules"]
        subprocess.run(["chroot", str(tree), *make], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(tree / "module" / BUILT, target)
