# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels that are installed and removed while another one runs."""

import os
import subprocess
from pathlib import Path

import pytest

from kdumpd.apply.kernels import add_kernel, remove_kernel
from kdumpd.errors import HostError, ToolError
from kdumpd.host import layout
from kdumpd.host.images import read_images
from tests.unit.fakes import RELEASE, FakeMachine, Stubs, armed, bzimage

NEW = "6.1.0-57-cloud-amd64"
HOOKS = Path(__file__).parents[2] / "packaging/kernel"


@pytest.fixture
def machine_with_two(machine: FakeMachine) -> FakeMachine:
    """Armed with the kernel that runs; a newer one was installed."""
    armed(machine)
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    machine.write_bytes(f"boot/vmlinuz-{NEW}", bzimage(NEW))
    machine.write(f"lib/modules/{NEW}/modules.dep", "")
    return machine


def add(machine: FakeMachine, release: str = NEW) -> list[str]:
    said: list[str] = []
    add_kernel(machine.root, machine.root / layout.POLICY, release, said.append)
    return said


def releases(machine: FakeMachine) -> list[str]:
    return sorted(about.release for about in read_images(machine.root).values())


def test_the_image_of_a_new_kernel_is_built_at_once_and_only_once(machine_with_two: FakeMachine) -> None:
    assert add(machine_with_two) == [f"building the dump image for {NEW}"]
    assert releases(machine_with_two) == [RELEASE, NEW]
    assert add(machine_with_two) == []


def test_it_is_the_one_that_is_loaded_when_that_kernel_runs(machine_with_two: FakeMachine, stubs: Stubs) -> None:
    add(machine_with_two)
    machine_with_two.write("proc/sys/kernel/osrelease", f"{NEW}\n")
    machine_with_two.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    machine_with_two.write("sys/kernel/kexec_crash_loaded", "0\n")
    built = [call for call in stubs.calls if call.startswith("mkinitramfs")]

    armed(machine_with_two)

    assert [call for call in stubs.calls if call.startswith("mkinitramfs")] == built
    assert f"images/{NEW}-" in stubs.calls[-1]


def test_loading_again_leaves_the_images_of_other_installed_kernels(machine_with_two: FakeMachine) -> None:
    add(machine_with_two)
    for number in range(3):
        machine_with_two.write("etc/initramfs-tools/modules", f"{number}\n")
        armed(machine_with_two)

    assert releases(machine_with_two) == [RELEASE, RELEASE, NEW]


def test_the_images_of_a_removed_kernel_go_too(machine_with_two: FakeMachine) -> None:
    add(machine_with_two)
    said: list[str] = []
    remove_kernel(machine_with_two.root, NEW, said.append)

    assert said == [f"removing the dump image for {NEW}"]
    assert releases(machine_with_two) == [RELEASE]


def test_the_image_that_the_machine_is_armed_with_stays_when_its_kernel_is_removed(machine_with_two: FakeMachine) -> None:
    remove_kernel(machine_with_two.root, RELEASE, lambda _: None)

    assert releases(machine_with_two) == [RELEASE]


def test_a_machine_that_was_never_set_up_is_left_alone(machine: FakeMachine) -> None:
    assert add(machine, RELEASE) == []
    assert not (machine.root / layout.IMAGES).exists()


@pytest.mark.parametrize("policy", ["loader: kdump-tools\n", f"dump_kernel:\n  kernel: /boot/vmlinuz-{RELEASE}\n"])
def test_a_kernel_that_will_not_be_the_dump_kernel_gets_no_image(machine_with_two: FakeMachine, policy: str) -> None:
    machine_with_two.write("etc/kdumpd.yaml", policy)

    assert add(machine_with_two) == []


def test_a_kernel_that_is_not_there_is_named(machine_with_two: FakeMachine) -> None:
    with pytest.raises(HostError, match=r'the kernel "6\.1\.0-99" is not in /boot'):
        add(machine_with_two, "6.1.0-99")


def test_an_image_that_can_not_be_built_is_told(machine_with_two: FakeMachine, stubs: Stubs) -> None:
    stubs.add("mkinitramfs", "exit 1")

    with pytest.raises(ToolError, match="`mkinitramfs"):
        add(machine_with_two)


@pytest.mark.parametrize("hook", ["postinst.d/kdumpd", "postrm.d/kdumpd", "install.d/60-kdumpd.install"])
def test_a_hook_never_fails_a_package_manager(hook: str, stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("kdumpd", "echo no space >&2; exit 1")
    # The hook looks for the installed program first.
    script = (HOOKS / hook).read_text().replace("/usr/sbin/kdumpd", str(tmp_path / "bin/kdumpd"))
    arguments = ["add", NEW] if "install.d" in hook and "postinst" not in hook else [NEW]
    done = subprocess.run(["sh", "-c", script, hook, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ))

    assert done.returncode == 0
    assert "no space" in done.stderr
    assert "kdumpd: no harm done" in done.stderr
    assert stubs.calls == [f"kdumpd kernel {'remove' if 'postrm' in hook else 'add'} {NEW}"]
