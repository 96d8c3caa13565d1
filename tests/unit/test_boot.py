# SPDX-License-Identifier: LGPL-2.1-or-later
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdumpd.apply.apply import apply_plan
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import ApplyError, HostError
from kdumpd.host.boot import read_boot
from kdumpd.host.boot_entries import parse_grub_cfg, parse_loader_entry
from kdumpd.host.efi import Variable
from kdumpd.host.facts import BootEntry, BootLoader
from kdumpd.parameters import tokenize, values
from kdumpd.plan.make import make_plan
from kdumpd.plan.render import grub_word
from kdumpd.plan.steps import Plan, RunTool
from kdumpd.policy.model import Policy, PstorePolicy, RamoopsPolicy
from tests.unit.fakes import GRUB_CFG, POLICY, RELEASE, FakeMachine, Stubs

WITH_RAMOOPS = Policy(crashkernel=parse_crashkernel("192M"), pstore=PstorePolicy(ramoops=RamoopsPolicy(address=0x10000000)))
WITH_RESERVE_MEM = Policy(crashkernel=parse_crashkernel("192M"), pstore=PstorePolicy(ramoops=RamoopsPolicy()))
MEMMAP = "memmap=2M$0x10000000"
RESERVE_MEM = "reserve_mem=2M:32M:kdumpd"

SYSTEMD_BOOT = "systemd-boot 252.39-1~deb12u2"
MACHINE_ID = "5f3b7f2d1c9e4a0b8d6c7e8f90a1b2c3"

KDUMP_TOOLS_CFG = 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=384M-:128M"\n'

FEDORA = "6.8.5-301.fc40.x86_64"
FEDORA_OLDER = "6.7.9-200.fc40.x86_64"

# Does to the files below a root what `grubby --update-kernel=ALL` of Fedora does: each parameter of --remove-args goes, each
# one of --args replaces all of its name; and new kernels get the same.
GRUBBY = r"""
import re, sys
from pathlib import Path

root = Path(sys.argv[1])
given = dict(option.split("=", 1) for option in sys.argv[2:])
assert given["--update-kernel"] == "ALL"
removed, added = given.get("--remove-args", "").split(), given["--args"].split()
names = {word.split("=")[0] for word in added}


def update(words):
    kept = [word for word in words.split() if word not in removed and word.split("=")[0] not in names]
    return " ".join([*kept, *added])


def edit(file, pattern):
    text = file.read_bytes().decode("latin-1")
    file.write_bytes(re.sub(pattern, lambda found: found[1] + update(found[2]) + found[3], text, flags=re.M).encode("latin-1"))


for entry in (root / "boot/loader/entries").glob("*.conf"):
    edit(entry, r"^(options )(.*)($)")
edit(root / "etc/kernel/cmdline", r"^()(.*)($)(?=\n)")
edit(root / "etc/default/grub", r'^(GRUB_CMDLINE_LINUX=")(.*)(")$')
"""


def apply(machine: FakeMachine, policy: Policy = POLICY) -> None:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None)


def plan(machine: FakeMachine, policy: Policy = POLICY) -> Plan:
    return make_plan(policy, machine.facts(policy))


def tree(machine: FakeMachine) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and its bytes."""
    files = (path for path in machine.root.rglob("*") if path.is_file())
    return {str(path.relative_to(machine.root)): (path.stat().st_mode, path.read_bytes()) for path in files}


def started_by(machine: FakeMachine, loader: str) -> None:
    """As a boot loader says it, in UTF-16."""
    machine.set_variable(Variable.LOADER_INFO, f"{loader}\0".encode("utf-16-le"))


def without_reserve_mem(machine: FakeMachine, stubs: Stubs) -> None:
    """A kernel before Linux 6.12, on 2 GiB of RAM: ramoops gets its memory by a memmap= with a $."""
    machine.write("proc/iomem", "00100000-7fffffff : System RAM\n")
    stubs.add("modinfo", "exit 1")


def with_reserve_mem(stubs: Stubs) -> None:
    stubs.add("modinfo", 'echo "mem_name:name of kernel param that holds addr (charp)"')


def test_grub_is_known_by_update_grub_and_its_defaults(machine: FakeMachine) -> None:
    boot = read_boot(machine.root)

    assert boot.loader is BootLoader.GRUB
    assert boot.seen == "update-grub and /etc/default/grub"


def test_grubby_is_known_by_its_program_and_the_folder_of_entries(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("grubby")
    (machine.root / "boot/loader/entries").mkdir(parents=True)
    boot = read_boot(machine.root)

    assert boot.loader is BootLoader.GRUBBY
    assert boot.seen == "grubby and /boot/loader/entries"


def test_grubby_without_entries_is_not_who_boots_this_machine(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("grubby")

    assert read_boot(machine.root).loader is BootLoader.GRUB


def test_systemd_boot_is_known_by_what_it_left_in_the_firmware(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kernel-install")
    started_by(machine, SYSTEMD_BOOT)
    boot = read_boot(machine.root)

    assert boot.loader is BootLoader.SYSTEMD_BOOT
    assert boot.seen == "systemd-boot 252.39-1~deb12u2 says so in the firmware's LoaderInfo"


def test_who_started_the_machine_counts_more_than_what_is_installed(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kernel-install")
    stubs.add("grubby")
    (machine.root / "boot/loader/entries").mkdir(parents=True)
    started_by(machine, SYSTEMD_BOOT)

    assert read_boot(machine.root).loader is BootLoader.SYSTEMD_BOOT


def test_grub_leaves_its_name_in_the_firmware_too(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kernel-install")
    started_by(machine, "GRUB 2.12-9")

    assert read_boot(machine.root).loader is BootLoader.GRUB


def test_systemd_boot_without_kernel_install_can_not_be_told_anything(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_by(machine, SYSTEMD_BOOT)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("kdumpd.run.SYSTEM_PATH", str(tmp_path / "bin"))

    assert read_boot(machine.root).loader is BootLoader.GRUB


def test_without_any_of_them_there_is_no_boot_loader_that_kdumpd_knows(machine: FakeMachine) -> None:
    (machine.root / "etc/default/grub").unlink()
    boot = read_boot(machine.root)

    assert boot.loader is BootLoader.NONE
    assert boot.seen == "no systemd-boot in LoaderInfo, no grubby with /boot/loader/entries, no update-grub"


def test_a_backslash_in_grub_cfg_keeps_the_next_character_as_it_is() -> None:
    (entry,) = parse_grub_cfg("\tlinux\t/boot/vmlinuz root=UUID=1 memmap=2M\\$0x10000000 a\\\\b c\\;d\n")

    assert entry.command_line == "root=UUID=1 memmap=2M$0x10000000 a\\b c;d"


def test_grub_cfg_has_normal_entries_and_recovery_entries_and_the_firmware_is_none() -> None:
    assert parse_grub_cfg(GRUB_CFG) == (
        BootEntry(command_line="root=UUID=1 ro console=ttyS0,115200 quiet"),
        BootEntry(command_line="root=UUID=1 ro single console=ttyS0,115200", recovery=True),
    )


def test_the_recovery_entries_of_ubuntu_are_recovery_entries() -> None:
    (entry,) = parse_grub_cfg("\t\tlinux\t/boot/vmlinuz root=UUID=1 ro recovery nomodeset dis_ucode_ldr\n")

    assert entry.recovery


@pytest.mark.parametrize("command", ["linux", "linux16", "linuxefi"])
def test_every_command_of_grub_that_loads_a_kernel_is_read(command: str) -> None:
    assert parse_grub_cfg(f"  {command} /boot/vmlinuz quiet\n") == (BootEntry(command_line="quiet"),)


# As Debian's memtest86+ 6.10 writes it, /etc/grub.d/20_memtest86+.
MEMORY_TEST = """\
### BEGIN /etc/grub.d/20_memtest86+ ###
menuentry "Memory test (memtest86+x64.efi)" {
        linuxefi        /boot/memtest86+x64.efi
}
menuentry 'Memory test (memtest86+x64.efi, serial console)' {
        linuxefi	/boot/memtest86+x64.efi console=ttyS0,115200
}
### END /etc/grub.d/20_memtest86+ ###
"""


def test_a_memory_test_in_the_menu_is_no_kernel_that_must_carry_parameters() -> None:
    assert parse_grub_cfg(GRUB_CFG + MEMORY_TEST) == parse_grub_cfg(GRUB_CFG)


def test_the_options_lines_of_a_loader_entry_are_one_command_line() -> None:
    text = "title Debian\n# options of no use\noptions    root=UUID=1 ro\nlinux /vmlinuz\noptions\tquiet\noptions\n"

    assert parse_loader_entry(text, "debian.conf", MACHINE_ID) == BootEntry(command_line="root=UUID=1 ro quiet")


@pytest.mark.parametrize("name", [f"{MACHINE_ID}-0-rescue.conf", f"{MACHINE_ID}-0-rescue-{MACHINE_ID}.conf"])
def test_the_rescue_entry_of_dracut_is_a_recovery_entry(name: str) -> None:
    entry = parse_loader_entry("linux /vmlinuz\noptions root=UUID=1 ro\n", name, MACHINE_ID)

    assert entry is not None
    assert entry.recovery


def test_a_loader_entry_of_a_kernel_is_a_normal_entry() -> None:
    entry = parse_loader_entry("linux /vmlinuz\noptions root=UUID=1 ro\n", f"{MACHINE_ID}-{FEDORA}.conf", MACHINE_ID)

    assert entry == BootEntry(command_line="root=UUID=1 ro")


@pytest.mark.parametrize("text", ["efi /shellx64.efi\n", "linux /vmlinuz\nmachine-id 0123456789abcdef\noptions root=UUID=2\n"])
def test_an_entry_for_no_linux_or_for_another_system_is_none_of_ours(text: str) -> None:
    assert parse_loader_entry(text, "other.conf", MACHINE_ID) is None


def crashkernels(machine: FakeMachine) -> dict[bool, list[tuple[str, ...]]]:
    """What each entry has, normal ones (False) and recovery ones (True)."""
    entries = parse_grub_cfg(machine.read("boot/grub/grub.cfg"))
    return {kind: [values(one.command_line, "crashkernel") for one in entries if one.recovery is kind] for kind in (False, True)}


def generated(machine: FakeMachine) -> None:
    """grub.cfg as update-grub has made it of what is there by now."""
    subprocess.run(["update-grub"], check=True)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/default/grub.d/kdump-tools.cfg", KDUMP_TOOLS_CFG),
        ("etc/default/grub", 'GRUB_CMDLINE_LINUX="crashkernel=64M console=ttyS0"\n'),
        ("etc/default/grub", 'GRUB_CMDLINE_LINUX="quiet crashkernel=64M crashkernel=1G,high"\n'),
    ],
)
def test_one_crashkernel_is_left_when_a_file_that_grub_reads_earlier_sets_it_too(
    machine: FakeMachine, path: str, text: str
) -> None:
    machine.write(path, text)
    notes = plan(machine).notes
    apply(machine)

    assert notes == (
        f"/{path} sets crashkernel= too: kdumpd's file, which GRUB reads later, takes that out",
        "crashkernel=192M takes effect at the next reboot",
    )
    assert crashkernels(machine) == {False: [("192M",)], True: [()]}


def test_a_file_that_grub_reads_later_and_that_sets_crashkernel_is_refused(machine: FakeMachine) -> None:
    machine.write("etc/default/grub.d/zz.cfg", KDUMP_TOOLS_CFG)

    with pytest.raises(HostError) as caught:
        plan(machine)

    assert str(caught.value) == (
        "/etc/default/grub.d/zz.cfg sets crashkernel= too, and GRUB reads it after kdumpd's /etc/default/grub.d/kdumpd.cfg\n"
        "hint: take crashkernel= out of /etc/default/grub.d/zz.cfg: the policy sets it now"
    )


def test_a_crashkernel_in_a_comment_is_nobodys(machine: FakeMachine) -> None:
    machine.write("etc/default/grub", "# GRUB_CMDLINE_LINUX=crashkernel=64M\nGRUB_CMDLINE_LINUX=quiet # crashkernel=64M\n")
    machine.write("etc/default/grub.d/zz.cfg", f"  #{KDUMP_TOOLS_CFG}")

    assert read_boot(machine.root).other_sources == ()
    assert plan(machine).notes == ("crashkernel=192M takes effect at the next reboot",)


def test_a_file_that_is_no_cfg_is_not_read_by_grub(machine: FakeMachine) -> None:
    machine.write("etc/default/grub.d/zz.cfg.dpkg-old", KDUMP_TOOLS_CFG)

    assert read_boot(machine.root).other_sources == ()


def test_high_and_low_both_reach_the_entry(machine: FakeMachine) -> None:
    machine.write("etc/default/grub.d/kdump-tools.cfg", KDUMP_TOOLS_CFG)
    apply(machine, Policy(crashkernel=parse_crashkernel("512M,high 128M,low")))

    assert crashkernels(machine) == {False: [("512M,high", "128M,low")], True: [()]}


def test_a_dollar_is_written_so_that_grub_takes_it_for_no_variable(machine: FakeMachine, stubs: Stubs) -> None:
    without_reserve_mem(machine, stubs)
    apply(machine, WITH_RAMOOPS)
    normal, recovery = parse_grub_cfg(machine.read("boot/grub/grub.cfg"))

    assert " memmap=2M\\$0x10000000" in machine.read("boot/grub/grub.cfg")
    assert MEMMAP in tokenize(normal.command_line)
    assert MEMMAP not in tokenize(recovery.command_line)


def test_words_of_other_people_stay_as_they_are(machine: FakeMachine) -> None:
    words, default = 'dyndbg="file  a.c +p" crashkernel=64M  a\\$b', "quiet notcrashkernel=1"
    machine.write("etc/default/grub", f"GRUB_CMDLINE_LINUX='{words}'\nGRUB_CMDLINE_LINUX_DEFAULT='{default}'\n")
    apply(machine)

    line = 'root=UUID=1 ro dyndbg="file  a.c +p"  a\\$b quiet notcrashkernel=1 crashkernel=192M'
    assert f"\tlinux\t/boot/vmlinuz {line}\n" in machine.read("boot/grub/grub.cfg")


def test_an_update_grub_that_leaves_our_parameter_out_puts_every_file_back(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("update-grub")
    machine.write("etc/default/grub.d/kdumpd.cfg.saved", "mine\n")
    before = tree(machine)

    with pytest.raises(ApplyError) as caught:
        apply(machine)

    assert str(caught.value) == (
        "update-grub ended well, but no boot entry has crashkernel=192M, "
        "the first of 1 has: root=UUID=1 ro console=ttyS0,115200 quiet; every file was put back\n"
        "hint: does another file set the command line after kdumpd's? see /etc/default/grub.d and /etc/grub.d"
    )
    assert tree(machine) == before


def test_an_update_grub_that_leaves_our_parameter_out_does_not_cost_the_one_that_was_there(machine: FakeMachine) -> None:
    machine.write("etc/default/grub", 'GRUB_CMDLINE_LINUX="crashkernel=64M console=ttyS0"\n')
    machine.write("etc/default/grub.d/zz.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n")
    generated(machine)
    before = tree(machine)

    with pytest.raises(ApplyError, match="no boot entry has crashkernel=192M, the first of 1 has: root=UUID=1 ro"):
        apply(machine)

    assert tree(machine) == before


@pytest.fixture
def fedora(machine: FakeMachine, stubs: Stubs, tmp_path: Path) -> FakeMachine:
    """A machine with two kernels, each with its boot entry, one of which is not in UTF-8."""
    for release in (FEDORA, FEDORA_OLDER):
        text = f"title Fedora Linux ({release}) café\nlinux /vmlinuz-{release}\noptions root=UUID=1 ro quiet $tuned_params\n"
        entry = machine.root / f"boot/loader/entries/{MACHINE_ID}-{release}.conf"
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_bytes(text.encode("latin-1"))
        entry.chmod(0o600)
    machine.write("etc/default/grub", 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="quiet"\nGRUB_ENABLE_BLSCFG=true\n')
    machine.write("etc/kernel/cmdline", "root=UUID=1 ro quiet\n")
    program = tmp_path / "grubby.py"
    program.write_text(GRUBBY)
    stubs.add("grubby", f'{sys.executable} {program} {machine.root} "$@"')
    return machine


def options(machine: FakeMachine) -> set[str]:
    return {entry.command_line for entry in read_boot(machine.root).entries or ()}


def test_grubby_puts_our_parameters_into_every_entry(fedora: FakeMachine, stubs: Stubs) -> None:
    apply(fedora)

    assert "grubby --update-kernel=ALL --args=crashkernel=192M" in stubs.calls
    assert options(fedora) == {"root=UUID=1 ro quiet $tuned_params crashkernel=192M"}


def test_grubby_replaces_the_crashkernel_of_other_people(fedora: FakeMachine) -> None:
    path = f"boot/loader/entries/{MACHINE_ID}-{FEDORA}.conf"
    fedora.write(path, "linux /vmlinuz\noptions root=UUID=1 ro crashkernel=1G-4G:192M,4G-:256M quiet\n")
    apply(fedora)

    assert fedora.read(path) == "linux /vmlinuz\noptions root=UUID=1 ro quiet crashkernel=192M\n"


def test_grubby_is_given_high_and_low_as_two_parameters(fedora: FakeMachine) -> None:
    apply(fedora, Policy(crashkernel=parse_crashkernel("512M,high 128M,low")))

    assert options(fedora) == {"root=UUID=1 ro quiet $tuned_params crashkernel=512M,high crashkernel=128M,low"}


def test_after_grubby_there_is_nothing_left_to_do(fedora: FakeMachine) -> None:
    fedora.reserve()
    apply(fedora)

    assert plan(fedora).is_empty


def test_grubby_runs_again_when_an_entry_lost_our_parameter(fedora: FakeMachine) -> None:
    fedora.reserve()
    apply(fedora)
    fedora.write(f"boot/loader/entries/{MACHINE_ID}-6.9.1-200.fc40.x86_64.conf", "linux /vmlinuz\noptions root=UUID=1 ro\n")

    assert [step.summary for step in plan(fedora).steps] == [
        "run grubby --update-kernel=ALL --args=crashkernel=192M: "
        "an entry of /boot/loader/entries does not carry what the policy wants"
    ]


def test_what_an_earlier_policy_wanted_is_taken_out_by_grubby(fedora: FakeMachine, stubs: Stubs) -> None:
    with_reserve_mem(stubs)
    apply(fedora, WITH_RESERVE_MEM)
    assert options(fedora) == {f"root=UUID=1 ro quiet $tuned_params crashkernel=192M {RESERVE_MEM}"}
    assert fedora.read("var/lib/kdumpd/boot-parameters") == f"crashkernel=192M\n{RESERVE_MEM}\n"

    apply(fedora)

    assert options(fedora) == {"root=UUID=1 ro quiet $tuned_params crashkernel=192M"}
    assert fedora.read("etc/kernel/cmdline") == "root=UUID=1 ro quiet crashkernel=192M\n"


def test_a_reserve_mem_of_other_people_is_left_alone_by_grubby(fedora: FakeMachine, stubs: Stubs) -> None:
    with_reserve_mem(stubs)
    path = f"boot/loader/entries/{MACHINE_ID}-{FEDORA}.conf"
    fedora.write(path, "linux /vmlinuz\noptions root=UUID=1 reserve_mem=1M:4096:trace\n")
    apply(fedora)

    assert fedora.read(path) == "linux /vmlinuz\noptions root=UUID=1 reserve_mem=1M:4096:trace crashkernel=192M\n"


def test_a_grubby_that_fails_halfway_leaves_every_file_as_it_was(fedora: FakeMachine, stubs: Stubs) -> None:
    edited = (f"boot/loader/entries/{MACHINE_ID}-{FEDORA}.conf", "etc/default/grub", "etc/kernel/cmdline")
    half = "\n".join(f"sed -i s/quiet/half/ {fedora.root / path}" for path in edited)
    stubs.add("grubby", f"{half}\necho no space left >&2\nexit 1")
    before = tree(fedora)

    with pytest.raises(ApplyError) as caught:
        apply(fedora)

    assert str(caught.value) == (
        "the boot loader could not be updated; every file was put back\n"
        "`grubby --update-kernel=ALL --args=crashkernel=192M` failed with exit code 1\n"
        "    no space left"
    )
    assert tree(fedora) == before


def test_a_grubby_that_does_nothing_is_found_out(fedora: FakeMachine, stubs: Stubs) -> None:
    stubs.add("grubby")
    before = tree(fedora)

    with pytest.raises(ApplyError, match=r"^grubby ended well, but no boot entry has crashkernel=192M, the first of 2 has: root="):
        apply(fedora)

    assert tree(fedora) == before


def test_a_dollar_that_grub_would_take_for_a_variable_is_refused_with_loader_entries(fedora: FakeMachine, stubs: Stubs) -> None:
    without_reserve_mem(fedora, stubs)

    with pytest.raises(HostError) as caught:
        plan(fedora, WITH_RAMOOPS)

    assert str(caught.value) == (
        "GRUB with BLS entries can't pass memmap=2M$0x10000000: it takes the $ for a variable\n"
        "hint: set pstore.ramoops: off, or boot a kernel that has reserve_mem=, Linux 6.12"
    )


RUNNING = f"root=UUID=1 ro console=ttyS0,115200 quiet systemd.machine_id={MACHINE_ID}"
OTHER_RELEASE = "6.12.9-amd64"


@pytest.fixture
def systemd_boot(machine: FakeMachine, stubs: Stubs) -> FakeMachine:
    """A machine with two kernels, one where Debian puts it and one where others do.

    What is called is the kernel-install of this machine's systemd, told to write below the fake root.
    """
    root = machine.root
    started_by(machine, SYSTEMD_BOOT)
    machine.write("proc/cmdline", f"initrd=\\{MACHINE_ID}\\initrd BOOT_IMAGE=/boot/vmlinuz {RUNNING}\n")
    machine.write("boot/efi/loader/entries.srel", "type1\n")
    (root / "boot/efi/loader/entries").mkdir()
    (root / "etc/kernel").mkdir()
    machine.write(f"lib/modules/{OTHER_RELEASE}/vmlinuz", "kernel")
    machine.write("lib/modules/5.10.0-removed/modules.dep", "")
    stubs.add(
        "kernel-install",
        f"""\
export KERNEL_INSTALL_CONF_ROOT={root}/etc/kernel BOOT_ROOT={root}/boot/efi MACHINE_ID={MACHINE_ID}
export KERNEL_INSTALL_PLUGINS=/usr/lib/kernel/install.d/90-loaderentry.install
exec /usr/bin/kernel-install "$1" "$2" "{root}$3" """,
    )
    return machine


def test_the_running_command_line_becomes_that_of_every_kernel_to_come(systemd_boot: FakeMachine) -> None:
    apply(systemd_boot)

    assert systemd_boot.read("etc/kernel/cmdline") == "root=UUID=1 ro console=ttyS0,115200 quiet crashkernel=192M\n"


def test_a_command_line_for_kernels_to_come_keeps_its_words_and_their_order(systemd_boot: FakeMachine) -> None:
    systemd_boot.write("etc/kernel/cmdline", 'root=UUID=2 dyndbg="file a.c +p" crashkernel=64M rw\n')
    apply(systemd_boot)

    assert systemd_boot.read("etc/kernel/cmdline") == 'root=UUID=2 dyndbg="file a.c +p" rw crashkernel=192M\n'


def test_a_comment_does_not_swallow_the_command_line_for_kernels_to_come(systemd_boot: FakeMachine) -> None:
    # kernel-install leaves out lines that begin with #, at least that of systemd 257 in Debian 13.
    systemd_boot.write("etc/kernel/cmdline", "# root is on the first disk\nroot=UUID=1 ro\n")
    apply(systemd_boot)

    lines = systemd_boot.read("etc/kernel/cmdline").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["root=UUID=1 ro crashkernel=192M"]


def test_kernel_install_is_called_for_every_installed_kernel(systemd_boot: FakeMachine, stubs: Stubs) -> None:
    apply(systemd_boot)

    assert [call for call in stubs.calls if call.startswith("kernel-install")] == [
        f"kernel-install add {RELEASE} /boot/vmlinuz-{RELEASE}",
        f"kernel-install add {OTHER_RELEASE} /lib/modules/{OTHER_RELEASE}/vmlinuz",
    ]


def test_what_kernel_install_really_writes_is_read_back(systemd_boot: FakeMachine, stubs: Stubs) -> None:
    without_reserve_mem(systemd_boot, stubs)
    systemd_boot.write("etc/kernel/cmdline", "root=UUID=1 ro\n")
    # Else efi_pstore would come before ramoops, and the policy be refused.
    systemd_boot.write("proc/cmdline", f"{RUNNING} pstore.backend=ramoops\n")
    apply(systemd_boot, WITH_RAMOOPS)
    boot = read_boot(systemd_boot.root)

    command_line = f"root=UUID=1 ro crashkernel=192M {MEMMAP} systemd.machine_id={MACHINE_ID}"
    assert boot.entries == (BootEntry(command_line=command_line), BootEntry(command_line=command_line))
    assert boot.entry_files == (
        f"/boot/efi/loader/entries/{MACHINE_ID}-{RELEASE}.conf",
        f"/boot/efi/loader/entries/{MACHINE_ID}-{OTHER_RELEASE}.conf",
    )


def test_after_kernel_install_there_is_nothing_left_to_do(systemd_boot: FakeMachine) -> None:
    systemd_boot.reserve()
    apply(systemd_boot)

    assert plan(systemd_boot).is_empty


def test_an_entry_that_starts_no_linux_does_not_have_to_carry_our_parameter(systemd_boot: FakeMachine) -> None:
    systemd_boot.reserve()
    systemd_boot.write("boot/efi/loader/entries/shell.conf", "title EFI Shell\nefi /shellx64.efi\n")
    apply(systemd_boot)

    assert plan(systemd_boot).is_empty


def test_an_entry_that_lost_our_parameter_is_made_again(systemd_boot: FakeMachine) -> None:
    systemd_boot.reserve()
    apply(systemd_boot)
    systemd_boot.write(f"boot/efi/loader/entries/{MACHINE_ID}-{RELEASE}.conf", "linux /vmlinuz\noptions root=UUID=1\n")

    assert {step.reason for step in plan(systemd_boot).steps if isinstance(step, RunTool)} == {
        "a boot entry does not carry what the policy wants"
    }
    apply(systemd_boot)
    assert plan(systemd_boot).is_empty


def test_what_an_earlier_policy_wanted_is_not_for_kernels_to_come(systemd_boot: FakeMachine, stubs: Stubs) -> None:
    with_reserve_mem(stubs)
    systemd_boot.write("proc/cmdline", f"{RUNNING} pstore.backend=ramoops\n")
    systemd_boot.write("etc/kernel/cmdline", "root=UUID=1 ro\n")
    apply(systemd_boot, WITH_RESERVE_MEM)
    assert systemd_boot.read("etc/kernel/cmdline") == f"root=UUID=1 ro crashkernel=192M {RESERVE_MEM}\n"

    apply(systemd_boot)

    assert systemd_boot.read("etc/kernel/cmdline") == "root=UUID=1 ro crashkernel=192M\n"
    assert options(systemd_boot) == {f"root=UUID=1 ro crashkernel=192M systemd.machine_id={MACHINE_ID}"}


def test_a_kernel_install_that_fails_at_the_second_kernel_leaves_every_file_as_it_was(
    systemd_boot: FakeMachine, stubs: Stubs
) -> None:
    systemd_boot.write("etc/kernel/cmdline", "root=UUID=1 ro\n")
    entries = systemd_boot.root / "boot/efi/loader/entries"
    for release in (RELEASE, OTHER_RELEASE):
        systemd_boot.write(f"boot/efi/loader/entries/{MACHINE_ID}-{release}.conf", "linux /vmlinuz\noptions root=UUID=1 ro\n")
    stubs.add(
        "kernel-install",
        f"printf 'linux /vmlinuz\\noptions root=UUID=1 ro crashkernel=192M\\n' > {entries}/{MACHINE_ID}-$2.conf\n"
        f'[ "$2" = {RELEASE} ] || {{ echo no space left >&2; exit 1; }}',
    )
    # The first look keeps what the firmware says.
    plan(systemd_boot)
    before = tree(systemd_boot)

    with pytest.raises(ApplyError) as caught:
        apply(systemd_boot)

    assert str(caught.value) == (
        "the boot loader could not be updated; every file was put back\n"
        f"`kernel-install add {OTHER_RELEASE} /lib/modules/{OTHER_RELEASE}/vmlinuz` failed with exit code 1\n"
        "    no space left"
    )
    assert tree(systemd_boot) == before


def test_without_a_boot_loader_the_notes_say_what_to_add(machine: FakeMachine, stubs: Stubs) -> None:
    (machine.root / "etc/default/grub").unlink()
    without_reserve_mem(machine, stubs)

    assert plan(machine, WITH_RAMOOPS).notes == (
        "no boot loader that kdumpd knows was found "
        "(no systemd-boot in LoaderInfo, no grubby with /boot/loader/entries, no update-grub)",
        "add this to the kernel's command line yourself, then reboot: crashkernel=192M memmap=2M$0x10000000",
    )


def test_without_a_boot_loader_all_else_is_applied(machine: FakeMachine, stubs: Stubs) -> None:
    (machine.root / "etc/default/grub").unlink()
    apply(machine)

    assert machine.read("proc/sys/kernel/panic") == "30\n"
    assert not (machine.root / "etc/default/grub.d").exists()
    assert not any(call.startswith("update-grub") for call in stubs.calls)


def test_once_it_was_added_by_hand_there_is_nothing_to_say(machine: FakeMachine) -> None:
    (machine.root / "etc/default/grub").unlink()
    machine.reserve()

    assert plan(machine).notes == ()


@settings(max_examples=200)
@example("2M$0x10000000")
@example("[[")
@example("]]")
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_word_passes_the_shell_and_grubs_own_parser_unchanged(word: str) -> None:
    script = f"A={grub_word(word)}; printf 'menuentry x {{\\n linux /vmlinuz %s\\n}}\\n' \"$A\""
    grub_cfg = subprocess.run(["sh", "-euc", script], check=True, capture_output=True, text=True).stdout

    check = subprocess.run(["grub-script-check"], input=grub_cfg, check=False, capture_output=True, text=True)
    assert (check.returncode, check.stderr) == (0, "")
    assert [entry.command_line for entry in parse_grub_cfg(grub_cfg)] == [word]
