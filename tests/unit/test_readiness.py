# SPDX-License-Identifier: LGPL-2.1-or-later
import dataclasses
import os
from typing import Any

import pytest

from kdumpd.apply.apply import apply_plan
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import HostError
from kdumpd.host.facts import BootLoader, Facts
from kdumpd.host.luks import UnlockMemory
from kdumpd.host.mounted import Mounted
from kdumpd.host.storage import Layer, LayerKind, Storage
from kdumpd.plan.make import arming_steps, make_plan
from kdumpd.plan.readiness import Level, Readiness, Trouble, judge
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.plan.steps import LoadDumpKernel
from kdumpd.plan.stores import crash_needs
from kdumpd.policy.model import CapturePolicy, Policy, VmcorePolicy
from kdumpd.units import GIB, KIB, MIB
from tests.unit.fakes import GRUB_CFG, POLICY, FakeMachine, armed, forget_hardware

LUKS = Layer(kind=LayerKind.LUKS, name="vault", uuid="CRYPT-LUKS2-x-vault")
ON_LUKS = Storage(device="/dev/mapper/vault", file_system="ext4", layers=(LUKS,), modules=(), local=True)
LVM = Layer(kind=LayerKind.LVM, name="vg-dump", uuid="LVM-x")


def hidden(facts: Facts) -> Facts:
    """As somebody sees it who may not read grub.cfg."""
    return dataclasses.replace(facts, boot=dataclasses.replace(facts.boot, entries=None))


def troubles(facts: Facts, policy: Policy | None = None) -> list[Trouble]:
    return list(judge(policy or POLICY, facts).troubles)


def test_an_armed_machine_has_no_troubles(machine: FakeMachine) -> None:
    readiness = judge(POLICY, armed(machine))

    assert readiness.armed
    assert readiness.troubles == ()


def test_before_the_first_apply_the_way_out_is_apply_and_reboot(machine: FakeMachine) -> None:
    assert troubles(machine.facts())[0] == Trouble(fact="the command line has no crashkernel=", way_out="kdumpd apply, then reboot")


def test_after_the_apply_the_way_out_is_the_reboot(machine: FakeMachine) -> None:
    machine.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", "quiet crashkernel=192M"))

    assert troubles(machine.facts())[0].way_out == "reboot: the boot loader has it already"


def test_another_crashkernel_on_the_command_line_is_named(machine: FakeMachine) -> None:
    facts = hidden(armed(machine))

    assert troubles(facts, Policy(crashkernel=parse_crashkernel("256M"))) == [
        Trouble(
            fact="the command line has crashkernel=192M, not crashkernel=256M",
            way_out="kdumpd apply, then reboot (whether that was done, only root can see)",
        )
    ]


def test_a_reservation_that_the_kernel_refused_is_told_from_one_that_was_never_asked_for(machine: FakeMachine) -> None:
    machine.reserve(size=0)

    assert troubles(machine.facts())[0].fact == "the command line has crashkernel=192M, but the kernel could not reserve it"


def test_a_smaller_reservation_is_named(machine: FakeMachine) -> None:
    machine.reserve(size=128 * MIB)

    assert "the kernel reserved 128M, not the 192M that were asked for" in [trouble.fact for trouble in troubles(machine.facts())]


def test_reserved_but_not_loaded_is_not_armed(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    readiness = judge(POLICY, machine.facts())

    assert not readiness.armed
    assert readiness.troubles == (Trouble(fact="memory is reserved, but no dump kernel is loaded", way_out="kdumpd arm"),)


def test_the_first_trouble_of_a_machine_that_is_not_armed_is_the_reason(machine: FakeMachine) -> None:
    machine.reserve(size=128 * MIB, parameter="crashkernel=128M")

    assert judge(POLICY, machine.facts()).first_trouble.fact == "memory is reserved, but no dump kernel is loaded"


def degraded(facts: Facts) -> Facts:
    """As after a load that the kernel refused, and one of the last good dump kernel."""
    assert facts.last_loaded
    why = "`kexec -s` failed with exit code 255\n    kexec_file_load failed: Key was rejected by service"
    return dataclasses.replace(facts, last_loaded=dataclasses.replace(facts.last_loaded, degraded=why))


def test_the_last_good_dump_kernel_in_place_of_the_wanted_one_is_told_with_the_reason(machine: FakeMachine) -> None:
    readiness = judge(POLICY, degraded(armed(machine)))

    assert readiness.level is Level.DEGRADED
    assert readiness.troubles == (
        Trouble(
            fact="the dump kernel that the policy asks for could not be loaded, the last good one is in its place:"
            " `kexec -s` failed with exit code 255 kexec_file_load failed: Key was rejected by service",
            way_out="mend that, then: kdumpd arm",
        ),
    )


def test_the_next_arming_tries_the_wanted_dump_kernel_again(machine: FakeMachine) -> None:
    facts = armed(machine)

    assert arming_steps(POLICY, facts) == ()
    assert [type(step) for step in arming_steps(POLICY, degraded(facts))] == [LoadDumpKernel]


def test_what_failed_in_another_boot_is_no_news(machine: FakeMachine) -> None:
    facts = dataclasses.replace(degraded(armed(machine)), boot_id="boot-2")

    assert not judge(POLICY, facts).degraded


@pytest.mark.parametrize(
    ("loaded", "troubles", "level"),
    [
        (True, (), Level.READY),
        (True, (Trouble(fact="a", way_out="b"),), Level.WITH_PROBLEMS),
        (True, (Trouble(fact="a", way_out="b"), Trouble(fact="c", way_out="d", serious=True)), Level.NOT_ARMED),
        (False, (Trouble(fact="a", way_out="b"),), Level.NOT_ARMED),
        (None, (Trouble(fact="a", way_out="b"),), Level.UNKNOWN),
    ],
)
def test_the_verdict_in_a_word(loaded: bool | None, troubles: tuple[Trouble, ...], level: Level) -> None:
    assert Readiness(loaded=loaded, troubles=troubles).level is level


def test_a_dump_kernel_of_somebody_else_is_named(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")

    assert [trouble.fact for trouble in troubles(machine.facts())] == ["the dump kernel was loaded by another program"]


def test_memory_or_cpus_that_changed_after_the_load_are_named_until_the_next(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("sys/devices/system/cpu/present", "0-7\n")
    readiness = judge(POLICY, machine.facts())

    assert readiness.armed
    fact = "memory or CPUs were added or removed since the dump kernel was loaded"
    assert readiness.troubles == (Trouble(fact=fact, way_out="kdumpd arm"),)
    assert troubles(armed(machine)) == []


def test_memory_or_cpus_that_the_kernel_told_the_dump_kernel_of_are_no_trouble(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("sys/devices/system/cpu/present", "0-7\n")
    machine.write("sys/devices/system/cpu/crash_hotplug", "1\n")

    assert troubles(machine.facts()) == []


def test_nothing_is_said_of_hardware_that_an_older_kdumpd_did_not_record(machine: FakeMachine) -> None:
    armed(machine)
    forget_hardware(machine)

    assert troubles(machine.facts()) == []


def test_a_kernel_whose_package_was_removed_is_named(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), kernel_image=None)

    assert [trouble.fact for trouble in troubles(facts)] == [
        "the image of the running kernel 6.1.0-56-cloud-amd64 is neither in /boot nor in /lib/modules"
    ]


def test_programs_are_found_by_a_user_without_sbin_in_path(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.run.SYSTEM_PATH", os.environ["PATH"])
    monkeypatch.setenv("PATH", "/nowhere")

    assert machine.facts().missing_tools == ()
    assert machine.facts().boot.loader is BootLoader.GRUB


def test_a_missing_program_is_named(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), missing_tools=("makedumpfile",))

    assert troubles(facts) == [
        Trouble(fact='the program "makedumpfile" is not installed', way_out="install the package that has makedumpfile")
    ]


def test_without_makedumpfile_nothing_is_saved_where_the_log_is_not_asked_for(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), missing_tools=("makedumpfile",))
    only_memory = dataclasses.replace(POLICY, capture=CapturePolicy(dmesg=False, vmcore=VmcorePolicy()))

    assert judge(POLICY, facts).armed
    assert not judge(only_memory, facts).armed


def mounted(**changes: Any) -> Mounted:
    storage = Storage(device="/dev/vdb", file_system="ext4", layers=(), modules=(), local=True)
    return dataclasses.replace(Mounted(point="/var", source="UUID=1234", type="ext4", storage=storage), **changes)


@pytest.mark.parametrize(
    ("mount", "fact", "way_out"),
    [
        (
            mounted(type="nfs4", source="server:/x"),
            'the store "/var/crash" is on server:/x, a file system of the type nfs4, which no dump kernel can use',
            "name a folder on a local disk in capture.stores",
        ),
        (
            mounted(now=False, type="auto", storage=None),
            "/var is not mounted, and so nobody can tell what a dump would find there",
            "mount /var",
        ),
        (
            mounted(storage=Storage(device="/dev/sdb", file_system="ext4", layers=(), modules=(), local=False)),
            "/var is not on a disk of this machine, and the dump kernel has no network",
            "name a folder on a local disk in capture.stores",
        ),
        (
            mounted(storage=Storage(device="/dev/sdb", file_system="ext4", layers=(LVM,), modules=(), local=True), has_unit=False),
            "only systemd can mount /var in the dump kernel (/var is on LVM), and it does not know how",
            "write /var into /etc/fstab",
        ),
        (
            mounted(storage=dataclasses.replace(ON_LUKS, asks=("vault",))),
            "/var is on vault, which is opened by a passphrase, and in the dump kernel nobody types one",
            "give it a key file in /etc/crypttab, or name another store",
        ),
    ],
)
def test_a_store_that_the_dump_kernel_would_not_reach_is_named(
    machine: FakeMachine, mount: Mounted, fact: str, way_out: str
) -> None:
    facts = armed(machine)
    there = dataclasses.replace(facts.stores[0], mount=mount)
    elsewhere = dataclasses.replace(facts, stores=(there,))

    assert troubles(elsewhere) == [Trouble(fact=fact, way_out=way_out, serious=True)]
    # Where another store is left, the log goes there.
    assert not any(trouble.serious for trouble in troubles(dataclasses.replace(facts, stores=(there, facts.stores[0]))))


def test_a_root_that_somebody_has_to_open_is_no_root_for_a_dump_kernel(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), storage=ON_LUKS)
    asks = dataclasses.replace(facts, storage=dataclasses.replace(ON_LUKS, asks=("vault",)))
    fact = "/ is on vault, which is opened by a passphrase, and in the dump kernel nobody types one"
    key = "give it a key file in /etc/crypttab, or a TPM (clevis)"

    assert troubles(facts) == []
    assert troubles(asks) == [
        Trouble(
            fact=fact,
            way_out=f"{key}; or name a second store, on a disk of its own: it gets the log when / can't be mounted",
            serious=True,
        )
    ]
    rescue = dataclasses.replace(facts.stores[0], path="/srv/crash", mount=mounted(point="/srv"))
    assert troubles(dataclasses.replace(asks, stores=(*facts.stores, rescue))) == [Trouble(fact=fact, way_out=key)]


def on_luks(*, least: int, most: int) -> Storage:
    return dataclasses.replace(ON_LUKS, unlock_memory=UnlockMemory(least=least, most=most))


def test_a_root_whose_key_takes_more_memory_than_is_reserved_stays_closed(machine: FakeMachine) -> None:
    facts = dataclasses.replace(armed(machine), storage=on_luks(least=GIB, most=GIB))

    assert troubles(facts) == [
        Trouble(
            fact="to open the volume that / is on takes 1G (Argon2), and 192M are reserved",
            way_out="cryptsetup luksConvertKey --pbkdf pbkdf2 for each of its keys, or crashkernel: auto"
            "; or name a second store, on a disk of its own: it gets the log when / can't be mounted",
            serious=True,
        )
    ]
    assert troubles(dataclasses.replace(facts, storage=on_luks(least=0, most=32 * MIB))) == []


def test_a_root_with_one_key_too_many_may_still_be_opened_by_another(machine: FakeMachine) -> None:
    readiness = judge(POLICY, dataclasses.replace(armed(machine), storage=on_luks(least=0, most=GIB)))

    assert readiness.armed
    assert readiness.first_trouble.fact == "a key of the volume that / is on takes 1G (Argon2), and 192M are reserved"


def test_a_dump_kernel_that_could_save_nothing_arms_nobody(machine: FakeMachine) -> None:
    readiness = judge(POLICY, dataclasses.replace(armed(machine), storage=on_luks(least=GIB, most=GIB), missing_tools=("kexec",)))

    assert (readiness.loaded, readiness.armed) == (True, False)
    assert readiness.first_trouble.fact == "to open the volume that / is on takes 1G (Argon2), and 192M are reserved"


def test_a_store_that_is_on_lvm_and_in_fstab_is_no_trouble(machine: FakeMachine) -> None:
    facts = armed(machine)
    on_lvm = mounted(storage=Storage(device="/dev/sdb", file_system="ext4", layers=(LVM,), modules=(), local=True))

    assert troubles(dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], mount=on_lvm),))) == []


def test_a_store_that_is_mounted_read_only_is_named_but_the_dump_kernel_may_do_better(machine: FakeMachine) -> None:
    facts = armed(machine)
    read_only = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], read_only=True),))

    assert troubles(read_only) == [
        Trouble(fact="/var/crash can't be written to now: / is mounted read-only", way_out="mount -o remount,rw /")
    ]


def test_of_several_crashkernel_parameters_the_last_counts(machine: FakeMachine) -> None:
    machine.reserve(parameter="crashkernel=384M-:128M crashkernel=192M")

    assert "crashkernel" not in " ".join(trouble.fact for trouble in troubles(machine.facts()))


def test_a_full_store_is_named(machine: FakeMachine) -> None:
    facts = armed(machine)
    full = dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], free=3 * MIB),))

    assert [trouble.fact for trouble in troubles(full)] == ["/var/crash has only 3M free, a log may need 32M"]


MEMINFO = "MemTotal: 8192 kB\nMemFree: 1024 kB\nBuffers: 512 kB\nCached: 2048 kB\nAnonPages: 4096 kB\nHugePages_Total: 0\n"


@pytest.mark.parametrize(
    ("vmcore", "need"),
    [
        (None, 32 * MIB),
        (VmcorePolicy(level=(0,)), 32 * MIB + 8192 * KIB),
        (VmcorePolicy(level=(1,)), 32 * MIB + 8192 * KIB),
        (VmcorePolicy(level=(16,)), 32 * MIB + 7168 * KIB),
        (VmcorePolicy(level=(31,)), 32 * MIB + 512 * KIB),
        # The last one is tried when there is no room for the others.
        (VmcorePolicy(level=(1, 31)), 32 * MIB + 512 * KIB),
    ],
)
def test_a_crash_needs_room_for_the_log_and_for_the_memory_that_the_policy_saves(
    machine: FakeMachine, vmcore: VmcorePolicy | None, need: int
) -> None:
    machine.write("proc/meminfo", MEMINFO)

    assert crash_needs(Policy(capture=CapturePolicy(vmcore=vmcore)), machine.facts()) == need


def test_a_store_without_room_for_the_memory_is_named(machine: FakeMachine) -> None:
    facts = armed(machine)
    machine.write("proc/meminfo", "MemTotal: 4194304 kB\n")
    small = dataclasses.replace(
        facts, sizing=machine.facts().sizing, stores=(dataclasses.replace(facts.stores[0], free=2048 * MIB),)
    )

    policy = dataclasses.replace(POLICY, capture=CapturePolicy(vmcore=VmcorePolicy()))
    assert [trouble.fact for trouble in troubles(small, policy)] == [
        "/var/crash has only 2G free, a log and the memory may need 4G"
    ]
    # The log would be saved.
    assert not any(trouble.serious for trouble in judge(policy, small).troubles)


def test_new_sysfs_paths_are_read_as_the_old_ones(machine: FakeMachine) -> None:
    for name in ("crash_size", "crash_loaded"):
        (machine.root / f"sys/kernel/kexec_{name}").unlink()
    machine.write("sys/kernel/kexec/crash_size", "4096\n")
    machine.write("sys/kernel/kexec/crash_loaded", "1\n")

    assert (machine.facts().kexec.reserved, machine.facts().kexec.loaded) == (4096, True)


def test_a_kernel_without_kexec_is_named(machine: FakeMachine) -> None:
    for name in ("crash_size", "crash_loaded"):
        (machine.root / f"sys/kernel/kexec_{name}").unlink()
    readiness = judge(POLICY, machine.facts())

    assert readiness.armed is None
    assert readiness.troubles[0].fact == "this kernel does not tell of a crash reservation"


def test_a_file_that_was_edited_by_hand_is_named(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("etc/sysctl.d/60-kdumpd.conf", "kernel.panic = 5\n")

    assert troubles(machine.facts()) == [
        Trouble(
            fact="/etc/sysctl.d/60-kdumpd.conf was changed by somebody else than kdumpd",
            way_out="see it: kdumpd plan; then put what you need into /etc/kdumpd.yaml, and: kdumpd apply --overwrite",
        )
    ]


def test_a_file_that_was_removed_by_hand_is_named(machine: FakeMachine) -> None:
    armed(machine)
    (machine.root / "etc/sysctl.d/60-kdumpd.conf").unlink()

    assert troubles(machine.facts()) == [
        Trouble(fact="/etc/sysctl.d/60-kdumpd.conf was removed by somebody else than kdumpd", way_out="kdumpd apply")
    ]


def test_a_grub_cfg_that_lost_our_parameter_is_named_while_the_running_kernel_still_has_it(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("boot/grub/grub.cfg", GRUB_CFG)

    assert troubles(machine.facts()) == [
        Trouble(fact="1 of 1 boot entries do not have crashkernel=192M, which kdumpd put there", way_out="kdumpd apply")
    ]


def test_a_grub_cfg_with_a_second_crashkernel_is_named(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", "quiet crashkernel=192M crashkernel=64M"))

    assert [trouble.fact for trouble in troubles(machine.facts())] == [
        "1 of 1 boot entries do not have crashkernel=192M, which kdumpd put there"
    ]


def test_a_kernel_that_was_booted_without_a_parameter_of_ours_needs_a_reboot(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("var/lib/kdumpd/boot-parameters", "crashkernel=192M\nmemmap=2M$0x10000000\n")
    machine.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", "quiet crashkernel=192M memmap=2M\\$0x10000000"))

    assert troubles(machine.facts()) == [
        Trouble(fact="the running kernel was booted without memmap=2M$0x10000000", way_out="reboot")
    ]


def test_auto_asks_for_what_this_machine_needs_and_keeps_it(machine: FakeMachine) -> None:
    auto = Policy()
    facts = machine.facts(auto)
    apply_plan(make_plan(auto, facts), facts, machine.root, lambda text: None)
    assert machine.read("var/lib/kdumpd/boot-parameters") == "crashkernel=160M\n"

    # Asked for is now a little more than computed, as after an initrd that has shrunk: no reason for a reboot.
    machine.write("var/lib/kdumpd/boot-parameters", "crashkernel=192M\n")
    assert str(wanted_crashkernel(auto, machine.facts(auto))) == "192M"


def test_who_may_not_read_what_was_measured_comes_to_no_other_answer(machine: FakeMachine) -> None:
    facts = machine.facts()
    asked = dataclasses.replace(facts.files["/var/lib/kdumpd/boot-parameters"], content="crashkernel=512M\n")
    somebody = dataclasses.replace(
        facts,
        sizing=dataclasses.replace(facts.sizing, captures=None),
        files={**facts.files, "/var/lib/kdumpd/boot-parameters": asked},
    )

    assert str(wanted_crashkernel(Policy(), somebody)) == "512M"


@pytest.mark.parametrize(
    ("crashkernel", "message"),
    [
        (
            "4G-64G:256M,64G-:512M",
            "no range of crashkernel=4G-64G:256M,64G-:512M fits, this machine has 2G of RAM\n"
            "hint: give the first range an earlier start, or write crashkernel: auto",
        ),
        ("2G", "crashkernel=2G is as much as there is, this machine has 2G of RAM\nhint: write crashkernel: auto"),
    ],
)
def test_a_size_that_this_machine_would_never_reserve_is_refused(machine: FakeMachine, crashkernel: str, message: str) -> None:
    policy = Policy(crashkernel=parse_crashkernel(crashkernel))
    with pytest.raises(HostError) as caught:
        make_plan(policy, machine.facts(policy))

    assert str(caught.value) == message


def test_high_and_low_are_two_parameters(machine: FakeMachine) -> None:
    policy = Policy(crashkernel=parse_crashkernel("512M,high 128M,low"))
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None)

    assert "quiet crashkernel=512M,high crashkernel=128M,low\n" in machine.read("boot/grub/grub.cfg")
    machine.reserve(size=512 * MIB, parameter="crashkernel=128M,low crashkernel=512M,high")
    assert "crashkernel" not in " ".join(trouble.fact for trouble in troubles(machine.facts(policy), policy))


def test_a_store_with_room_for_an_ordinary_log_is_no_reason_to_call_a_machine_not_armed(machine: FakeMachine) -> None:
    facts = armed(machine)
    readiness = judge(POLICY, dataclasses.replace(facts, stores=(dataclasses.replace(facts.stores[0], free=16 * MIB),)))

    assert readiness.armed
    assert readiness.first_trouble.fact == "/var/crash has only 16M free, a log may need 32M"


def test_a_store_that_takes_nothing_is_serious_only_where_no_other_does(machine: FakeMachine) -> None:
    facts = armed(machine)
    good = facts.stores[0]
    full = dataclasses.replace(good, path="/full", free=0)

    assert [trouble.serious for trouble in troubles(dataclasses.replace(facts, stores=(full,)))] == [True]
    assert [trouble.serious for trouble in troubles(dataclasses.replace(facts, stores=(full, good)))] == [False]
