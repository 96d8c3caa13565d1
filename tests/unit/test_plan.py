# SPDX-License-Identifier: LGPL-2.1-or-later
import dataclasses

import pytest

from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import HostError
from kdumpd.plan.make import make_plan, wanted_dump_set
from kdumpd.plan.steps import BuildImage, LoadDumpKernel, MakeFolder, RunTool, SetKernelValue, WriteFile
from kdumpd.policy.model import CapturePolicy, DumpKernelPolicy, Policy
from tests.unit.fakes import GRUB_CFG, POLICY, RELEASE, FakeMachine, armed, bzimage, forget_hardware


def test_a_fresh_machine_gets_its_files_then_the_boot_loader_then_the_image(machine: FakeMachine) -> None:
    plan = make_plan(POLICY, machine.facts())

    kinds = [type(step) for step in plan.steps]
    assert kinds == [*[WriteFile] * 7, RunTool, MakeFolder, *[SetKernelValue] * 4, BuildImage]
    assert plan.notes == ("crashkernel=192M takes effect at the next reboot",)


def test_the_dump_kernel_is_loaded_once_memory_is_reserved(machine: FakeMachine) -> None:
    machine.reserve()

    step = make_plan(POLICY, machine.facts()).steps[-1]
    assert isinstance(step, LoadDumpKernel)
    assert step.kernel.startswith(f"/var/lib/kdumpd/images/{RELEASE}-")
    assert step.command_line.startswith("root=UUID=1 console=ttyS0,115200 kdumpd.capture ")


def test_a_plan_prints_diffs_and_commands(machine: FakeMachine) -> None:
    text = str(make_plan(POLICY, machine.facts()))

    assert "* create /etc/sysctl.d/60-kdumpd.conf\n--- /dev/null\n+++ /etc/sysctl.d/60-kdumpd.conf\n" in text
    assert "\n+-kernel.panic_on_oops = 1\n" in text
    assert "* run update-grub: /etc/default/grub.d/kdumpd.cfg changes\n" in text
    assert "* set kernel.panic = 30 (now 0)\n" in text


def test_planning_changes_nothing(machine: FakeMachine) -> None:
    before = {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")}
    make_plan(POLICY, machine.facts())

    assert {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")} == before


def test_a_boot_loader_that_lost_our_parameter_is_updated_again(machine: FakeMachine) -> None:
    policy = POLICY
    for step in make_plan(policy, machine.facts()).steps:
        if isinstance(step, WriteFile):
            machine.write(step.path[1:], step.content)

    tools = [step for step in make_plan(policy, machine.facts()).steps if isinstance(step, RunTool)]
    assert [tool.reason for tool in tools] == ["an entry of /boot/grub/grub.cfg does not carry what the policy wants"]
    machine.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", "quiet crashkernel=192M"))
    assert not any(isinstance(step, RunTool) for step in make_plan(policy, machine.facts()).steps)


def test_without_a_boot_loader_the_administrator_is_told_what_to_add(machine: FakeMachine) -> None:
    (machine.root / "etc/default/grub").unlink()
    plan = make_plan(Policy(crashkernel=parse_crashkernel("256M")), machine.facts())

    assert not any(isinstance(step, RunTool) for step in plan.steps)
    assert plan.notes == (
        "no boot loader that kdumpd knows was found "
        "(no systemd-boot in LoaderInfo, no grubby with /boot/loader/entries, no update-grub)",
        "add this to the kernel's command line yourself, then reboot: crashkernel=256M",
    )


@pytest.mark.parametrize(("file_system", "source"), [("nfs4", "server:/export"), ("tmpfs", "tmpfs"), ("vfat", "/dev/vdb1")])
def test_a_store_on_a_file_system_that_no_dump_kernel_can_use_is_refused(
    machine: FakeMachine, file_system: str, source: str
) -> None:
    machine.mount("/var", "0:50", source, file_system)
    with pytest.raises(HostError) as caught:
        make_plan(POLICY, machine.facts())

    assert str(caught.value) == (
        f'the store "/var/crash" is on {source}, a file system of the type {file_system}, which no dump kernel can use\n'
        "hint: name a folder on a local disk in capture.stores"
    )


def test_a_store_on_a_disk_of_its_own_is_taken(machine: FakeMachine) -> None:
    machine.add_disk("vdb", "254:16")
    machine.mount("/var", "254:16", "/dev/vdb")

    assert MakeFolder(path="/var/crash") in make_plan(POLICY, machine.facts()).steps


def test_no_folder_is_made_where_a_file_system_is_to_be_mounted_or_nothing_can_be_written(machine: FakeMachine) -> None:
    machine.write("etc/fstab", "UUID=1234 /srv/dump ext4 noauto 0 2\n")
    machine.add_disk("vdb", "254:16")
    machine.mount("/mnt", "254:16", "/dev/vdb", options="ro")
    policy = dataclasses.replace(POLICY, capture=CapturePolicy(stores=("/srv/dump/crash", "/mnt/crash")))

    assert not any(isinstance(step, MakeFolder) for step in make_plan(policy, machine.facts(policy)).steps)


def test_what_a_person_changed_is_marked(machine: FakeMachine) -> None:
    machine.write("etc/default/grub.d/kdumpd.cfg", "# mine\n")
    edited = [step.path for step in make_plan(POLICY, machine.facts()).steps if isinstance(step, WriteFile) and step.edited]

    assert edited == ["/etc/default/grub.d/kdumpd.cfg"]


OTHER = Policy(crashkernel=POLICY.crashkernel, dump_kernel=DumpKernelPolicy(kernel="/boot/vmlinuz-dump"))


def test_another_dump_kernel_gets_an_initrd_with_its_own_modules(machine: FakeMachine) -> None:
    machine.reserve()
    machine.write_bytes("boot/vmlinuz-dump", bzimage("6.12.0-1-amd64"))
    machine.write("lib/modules/6.12.0-1-amd64/modules.dep", "")

    *_, build, load = make_plan(OTHER, machine.facts(OTHER)).steps
    assert isinstance(build, BuildImage)
    assert build.release == "6.12.0-1-amd64"
    assert isinstance(load, LoadDumpKernel)
    assert build.kernel == "/boot/vmlinuz-dump"
    assert (load.kernel, load.initrd) == (f"{build.folder}/vmlinuz", f"{build.folder}/initrd.img")


@pytest.mark.parametrize(
    ("image", "fact"),
    [
        (None, "the dump kernel /boot/vmlinuz-dump is not there"),
        (b"no kernel", "/boot/vmlinuz-dump does not say which kernel it is: it is no bzImage"),
        (bzimage("6.12.0-1-amd64"), "the modules of /boot/vmlinuz-dump are not in /lib/modules/6.12.0-1-amd64"),
    ],
)
def test_another_dump_kernel_that_can_not_work_is_refused(machine: FakeMachine, image: bytes | None, fact: str) -> None:
    if image is not None:
        machine.write_bytes("boot/vmlinuz-dump", image)
    with pytest.raises(HostError) as caught:
        make_plan(OTHER, machine.facts(OTHER))

    assert str(caught.value) == (
        f"{fact}\nhint: name a kernel in dump_kernel.kernel that is installed with its modules, or write running"
    )


HOTPLUG = {
    "memory": ("proc/zoneinfo", "Node 0, zone DMA\n        present  158\nNode 0, zone DMA32\n        present  81920\n"),
    "cpu": ("sys/devices/system/cpu/online", "0-1\n"),
}


@pytest.mark.parametrize("kind", HOTPLUG)
def test_memory_or_cpus_that_changed_need_another_load_and_no_more_than_one(machine: FakeMachine, kind: str) -> None:
    armed(machine)
    machine.write(*HOTPLUG[kind])
    assert [type(step) for step in make_plan(POLICY, machine.facts()).steps] == [LoadDumpKernel]

    armed(machine)
    assert make_plan(POLICY, machine.facts()).is_empty


@pytest.mark.parametrize("kind", HOTPLUG)
def test_what_the_kernel_tells_the_dump_kernel_itself_needs_no_load(machine: FakeMachine, kind: str) -> None:
    armed(machine)
    machine.write(*HOTPLUG[kind])
    machine.write(f"sys/devices/system/{kind}/crash_hotplug", "1\n")

    assert make_plan(POLICY, machine.facts()).is_empty


def test_a_kernel_that_follows_memory_only_does_not_follow_cpus(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("sys/devices/system/memory/crash_hotplug", "1\n")
    machine.write(*HOTPLUG["cpu"])

    assert [type(step) for step in make_plan(POLICY, machine.facts()).steps] == [LoadDumpKernel]


def test_what_an_older_kdumpd_loaded_is_known_and_loaded_once_more(machine: FakeMachine) -> None:
    armed(machine)
    forget_hardware(machine)
    facts = machine.facts()

    assert facts.last_loaded == wanted_dump_set(POLICY, facts)
    assert [type(step) for step in make_plan(POLICY, facts).steps] == [LoadDumpKernel]
