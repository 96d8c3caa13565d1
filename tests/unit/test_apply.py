# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import subprocess
from pathlib import Path

import pytest

from kdumpd.apply.apply import apply_plan, load_last_good
from kdumpd.capture.settings import FinalAction, Settings
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import ApplyError, BusyError, NotArmedError, ToolError
from kdumpd.files import lock
from kdumpd.plan.make import make_plan
from kdumpd.plan.steps import WriteFile
from kdumpd.policy.model import CapturePolicy, Policy
from tests.unit.fakes import POLICY, FakeMachine, Stubs


def apply(machine: FakeMachine, policy: Policy | None = None) -> list[str]:
    policy = policy or POLICY
    facts = machine.facts(policy)
    told: list[str] = []
    apply_plan(make_plan(policy, facts), facts, machine.root, told.append)
    return told


def etc(machine: FakeMachine) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (machine.root / "etc").rglob("*") if path.is_file()}


def test_after_an_apply_there_is_nothing_left_to_do(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    machine.write("boot/grub/grub.cfg", "linux /vmlinuz root=UUID=1 crashkernel=192M\n")
    calls = stubs.calls

    before = {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")}

    assert make_plan(POLICY, machine.facts()).is_empty
    assert apply(machine) == []
    assert stubs.calls == calls
    assert {path: path.lstat().st_mtime_ns for path in machine.root.rglob("*")} == before


def test_an_apply_tells_every_step_and_does_it(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    told = apply(machine)

    assert told[0] == "create /etc/default/grub.d/kdumpd.cfg"
    assert machine.read("boot/grub/grub.cfg").count("crashkernel=192M\n") == 1
    assert machine.read("proc/sys/kernel/panic") == "30\n"
    assert (machine.root / "var/crash").is_dir()
    assert Settings.from_json(machine.read("var/lib/kdumpd/capture.json")) == Settings()
    assert [call.split()[0] for call in stubs.calls] == ["update-grub", "mkinitramfs", "lsinitramfs", "kexec"]
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_the_shell_reads_the_kdump_tools_file_as_it_was_meant(machine: FakeMachine) -> None:
    apply(machine, Policy(capture=CapturePolicy(stores=("/srv/crash",))))
    script = f'. {machine.root}/etc/default/kdump-tools; printf "%s\\n" "$USE_KDUMP" "$KDUMP_COREDIR" "$KDUMP_CMDLINE_APPEND"'
    use, store, append = subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True).stdout.splitlines()

    assert (use, store) == ("0", "/srv/crash")
    assert append.startswith("kdumpd.capture systemd.unit=kdumpd-capture.target reset_devices ")


def test_a_boot_loader_that_fails_puts_every_file_back(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("update-grub", "echo cannot find a device >&2; exit 1")
    before = etc(machine)

    with pytest.raises(ApplyError) as caught:
        apply(machine)

    assert str(caught.value) == (
        "the boot loader could not be updated; every file was put back\n"
        "`update-grub` failed with exit code 1\n    cannot find a device"
    )
    assert etc(machine) == before
    assert make_plan(POLICY, machine.facts()).steps


def test_a_changed_policy_replaces_our_own_files(machine: FakeMachine) -> None:
    apply(machine)
    apply(machine, Policy(crashkernel=parse_crashkernel("256M")))

    assert "crashkernel=256M" in machine.read("etc/default/grub.d/kdumpd.cfg")


def test_a_file_that_a_person_edited_stops_the_apply_before_anything_is_written(machine: FakeMachine, stubs: Stubs) -> None:
    machine.write("etc/default/kdump-tools", "USE_KDUMP=1\n")
    before = etc(machine)

    with pytest.raises(ApplyError) as caught:
        apply(machine)

    text = str(caught.value)
    assert text.startswith("/etc/default/kdump-tools was changed by somebody else than kdumpd, nothing was applied")
    assert "\n-USE_KDUMP=1\n" in text
    assert text.endswith(
        "hint: put what you need into /etc/kdumpd.yaml; to give the file to kdumpd and keep a copy: kdumpd apply --overwrite"
    )
    assert etc(machine) == before
    assert stubs.calls == []


def test_overwrite_takes_an_edited_file_over_and_keeps_a_copy_of_it(machine: FakeMachine) -> None:
    machine.write("etc/default/kdump-tools", "USE_KDUMP=1\n")
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None, overwrite=True)

    (copy,) = (machine.root / "etc/default").glob("kdump-tools.saved-*")
    assert copy.read_text() == "USE_KDUMP=1\n"
    assert "USE_KDUMP=0\n" in machine.read("etc/default/kdump-tools")
    assert not any(isinstance(step, WriteFile) for step in make_plan(POLICY, machine.facts()).steps)


def test_kexec_tries_the_file_syscall_first_and_the_other_one_then(machine: FakeMachine, stubs: Stubs) -> None:
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("kexec", f'case "$*" in -s*) exit 1;; *) echo 1 > {loaded};; esac')
    machine.reserve()
    apply(machine)

    assert [call.split()[1] for call in stubs.calls if call.startswith("kexec")] == ["-s", "-c"]


def test_a_kexec_that_lies_is_found_out(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kexec")
    machine.reserve()

    with pytest.raises(NotArmedError, match="the kernel says that nothing is loaded"):
        apply(machine)


def test_when_the_new_dump_kernel_fails_the_last_good_one_is_loaded_again(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    last_loaded = machine.read("var/lib/kdumpd/last-loaded.json")
    old = json.loads(last_loaded)["initrd"]
    machine.write("etc/initramfs-tools/modules", "new\n")
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    # As in the kernel: a load that fails has freed the old image already.
    stubs.add("kexec", f'case "$*" in *{old}*) echo 1 > {loaded};; *) echo 0 > {loaded}; echo key rejected >&2; exit 1;; esac')

    with pytest.raises(ToolError) as caught:
        apply(machine)

    assert str(caught.value).startswith("the new dump kernel could not be loaded, the last good one is in its place\n")
    assert "kexec -s: key rejected" in str(caught.value)
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"
    reason = "kexec -s: key rejected\nkexec -c: key rejected"
    assert json.loads(machine.read("var/lib/kdumpd/last-loaded.json")) == {**json.loads(last_loaded), "degraded": reason}


def test_the_last_good_one_of_an_earlier_boot_counts_as_loaded_in_this_one(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    old = json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    machine.write("etc/initramfs-tools/modules", "new\n")
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("kexec", f'case "$*" in *{old["initrd"]}*) echo 1 > {loaded};; *) echo 0 > {loaded}; exit 1;; esac')

    with pytest.raises(ToolError):
        apply(machine)

    assert json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))["boot_id"] == "boot-2"


def test_the_last_good_one_is_told_of_the_hardware_of_now(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    old = json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))
    machine.write("sys/devices/system/cpu/present", "0-7\n")
    machine.write("etc/initramfs-tools/modules", "new\n")
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("kexec", f'case "$*" in *{old["initrd"]}*) echo 1 > {loaded};; *) echo 0 > {loaded}; exit 1;; esac')

    with pytest.raises(ToolError):
        apply(machine)

    assert json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))["cpus"] == "present 0-7, online 0-3"


def test_a_dump_kernel_that_fails_is_not_its_own_last_good_one(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    stubs.add("kexec", "exit 1")
    calls = len(stubs.calls)

    with pytest.raises(NotArmedError, match=r"^the dump kernel could not be loaded, and no older one is there that can\n"):
        apply(machine)

    assert [call.split()[:2] for call in stubs.calls[calls:] if call.startswith("kexec")] == [["kexec", "-s"], ["kexec", "-c"]]


def test_a_new_image_that_can_not_be_built_does_not_keep_the_last_good_one_from_being_loaded(
    machine: FakeMachine, stubs: Stubs
) -> None:
    machine.reserve()
    apply(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    machine.write("etc/initramfs-tools/modules", "new\n")
    stubs.add("mkinitramfs", "echo no space left >&2; exit 1")

    with pytest.raises(ToolError, match="no space left"):
        apply(machine)

    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_the_image_before_the_last_is_removed(machine: FakeMachine) -> None:
    machine.reserve()
    for number in range(3):
        machine.write("etc/initramfs-tools/modules", f"{number}\n")
        apply(machine)

    images = list((machine.root / "var/lib/kdumpd/images").iterdir())
    assert len(images) == 2
    assert all({path.name for path in image.iterdir()} == {"vmlinuz", "initrd.img", "about.json"} for image in images)


def test_an_image_that_is_loaded_once_more_does_not_push_out_the_one_before_it(machine: FakeMachine) -> None:
    machine.reserve()
    for number in range(2):
        machine.write("etc/initramfs-tools/modules", f"{number}\n")
        apply(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    apply(machine)

    assert len(list((machine.root / "var/lib/kdumpd/images").iterdir())) == 2


def test_the_last_good_dump_kernel_is_loaded_without_a_policy(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")

    load_last_good(machine.root, lambda text: None)

    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"
    assert json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))["boot_id"] == "boot-2"


def test_the_last_good_dump_kernel_is_loaded_again_for_other_hardware_and_left_alone_without(
    machine: FakeMachine, stubs: Stubs
) -> None:
    machine.reserve()
    apply(machine)
    calls = len(stubs.calls)
    load_last_good(machine.root, lambda text: None)
    assert len(stubs.calls) == calls

    machine.write("sys/devices/system/cpu/present", "0-7\n")
    for _ in range(2):
        load_last_good(machine.root, lambda text: None)
    assert len(stubs.calls) == calls + 1


def test_a_machine_that_was_never_armed_has_no_last_good_dump_kernel(machine: FakeMachine) -> None:
    machine.reserve()

    with pytest.raises(NotArmedError, match="no dump kernel was ever loaded on this machine"):
        load_last_good(machine.root, lambda text: None)


def test_two_at_once_are_told_apart(tmp_path: Path) -> None:
    with (
        lock(tmp_path),
        pytest.raises(BusyError, match="another kdumpd has been changing this machine"),
        lock(tmp_path, patience=0.2),
    ):
        pass


def test_the_deadline_of_the_policy_is_the_first_of_the_three_nets_of_the_capture(machine: FakeMachine) -> None:
    apply(machine, Policy(capture=CapturePolicy(deadline=600, on_failure=FinalAction.POWEROFF)))
    drop_in = machine.read("etc/systemd/system/kdumpd-capture.service.d/50-policy.conf").splitlines()

    assert Settings.from_json(machine.read("var/lib/kdumpd/capture.json")).deadline == 600
    assert drop_in[3:] == [
        "[Unit]",
        "FailureAction=poweroff-immediate",
        "JobTimeoutSec=690",
        "JobTimeoutAction=poweroff-immediate",
        "",
        "[Service]",
        "TimeoutStartSec=630",
    ]


def test_an_apply_that_is_interrupted_while_grub_is_updated_leaves_grub_as_it_was(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(machine)
    before = machine.read("boot/grub/grub.cfg")

    def interrupted(root: Path, tool: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kdumpd.apply.apply.check_result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply(machine, Policy(crashkernel=parse_crashkernel("256M")))

    assert machine.read("boot/grub/grub.cfg") == before
