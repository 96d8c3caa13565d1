# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a changed policy to a kernel that has it, through the real GRUB, and back."""

import re
import shlex

import pytest

from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM


def normal_entries(guest: Guest) -> list[list[str]]:
    lines = [line.split() for line in guest.read("/boot/grub/grub.cfg").splitlines() if line.split()[:1] == ["linux"]]
    return [words for words in lines if "single" not in words]


def crashkernels(words: list[str]) -> list[str]:
    return [word for word in words if word.startswith("crashkernel=")]


@pytest.mark.core(BOOKWORM)
def test_a_policy_is_planned_applied_booted_and_rolled_back(guest: Guest) -> None:
    before = guest.run("cat /etc/default/grub.d/* /etc/sysctl.d/60-kdumpd.conf /var/lib/kdumpd/capture.json").stdout
    guest.write("/etc/kdumpd.yaml", "crashkernel: 1G-64G:208M,64G-:512M\npanic: {reboot_after: 7s}\nsysrq: [sync, remount]\n")

    plan = guest.run("kdumpd plan", check=False)
    assert plan.returncode == 2
    assert '+GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT "crashkernel=1G-64G:208M,64G-:512M\n' in plan.stdout
    assert "* set kernel.sysrq = 48 (now 438)\n" in plan.stdout
    assert "note: crashkernel=1G-64G:208M,64G-:512M takes effect at the next reboot\n" in plan.stdout

    refused = guest.run("kdumpd apply", check=False)
    assert refused.stderr.startswith("kdumpd: something would change, and there is no terminal to ask at\n")
    guest.run("kdumpd apply --yes")
    assert "not crashkernel=1G-64G:208M,64G-:512M\n    way out: reboot: the boot loader has it" in guest.run("kdumpd status").stdout
    guest.reboot()
    assert guest.read("/sys/kernel/kexec_crash_size").strip() == str(208 << 20)
    assert (guest.read("/proc/sys/kernel/panic").strip(), guest.read("/proc/sys/kernel/sysrq").strip()) == ("7", "48")
    assert guest.run("kdumpd plan").stdout == "nothing to change: this machine is as the policy says\n"

    rolled_back = guest.run("kdumpd rollback --yes").stdout
    assert "note: the kernel's command line is as before from the next reboot on\n" in rolled_back
    assert guest.run("cat /etc/default/grub.d/* /etc/sysctl.d/60-kdumpd.conf /var/lib/kdumpd/capture.json").stdout == before
    assert (guest.read("/proc/sys/kernel/panic").strip(), guest.read("/proc/sys/kernel/sysrq").strip()) == ("30", "438")
    guest.reboot()
    assert guest.read("/sys/kernel/kexec_crash_size").strip() == str(192 << 20)
    status = guest.run("kdumpd status")
    assert status.stdout.startswith("ARMED, BUT ")
    assert "problem: the policy in /etc/kdumpd.yaml was rolled back, the policy before it is in force\n" in status.stdout


def test_two_sources_of_crashkernel_end_as_one(guest: Guest) -> None:
    # The first is how many write it by hand, and reaches the recovery entry too; the second is what kdump-tools brings.
    guest.write(
        "/etc/default/grub.d/hand.cfg",
        """GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX crashkernel=64M dyndbg=\\"file a.c +p\\""\n""",
    )
    guest.write(
        "/etc/default/grub.d/kdump-tools.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=384M-:128M"\n'
    )
    guest.run("rm /etc/default/grub.d/kdumpd.cfg && update-grub")
    assert crashkernels(normal_entries(guest)[0]) == ["crashkernel=64M", "crashkernel=384M-:128M"]

    guest.write("/etc/kdumpd.yaml", "crashkernel: 208M\n")
    told = guest.run("kdumpd apply --yes").stdout

    assert [crashkernels(words) for words in normal_entries(guest)] == [["crashkernel=208M"]] * len(normal_entries(guest))
    assert guest.read("/boot/grub/grub.cfg").count("crashkernel=64M") == 0
    for source in ("/etc/default/grub.d/hand.cfg", "/etc/default/grub.d/kdump-tools.cfg"):
        assert f"note: {source} sets crashkernel= too: kdumpd's file, which GRUB reads later, takes that out\n" in told


def test_a_source_that_grub_reads_later_is_refused_by_name(guest: Guest) -> None:
    guest.write("/etc/default/grub.d/zz-mine.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=64M"\n')
    plan = guest.run("kdumpd plan", check=False)

    assert plan.returncode == 1
    assert plan.stderr == (
        "kdumpd: /etc/default/grub.d/zz-mine.cfg sets crashkernel= too, and GRUB reads it after kdumpd's "
        "/etc/default/grub.d/kdumpd.cfg\n"
        "hint: take crashkernel= out of /etc/default/grub.d/zz-mine.cfg: the policy sets it now\n"
    )


@pytest.mark.core(BOOKWORM)
def test_a_memory_region_for_ramoops_goes_through_grub_and_keeps_the_last_words(guest: Guest) -> None:
    # On a machine with UEFI efi_pstore would win.
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\npstore:\n  ramoops: {size: 4M}\n")
    refused = guest.run("kdumpd plan", check=False)
    assert "or boot with pstore.backend=ramoops" in refused.stderr
    guest.write("/etc/default/grub.d/pstore.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX pstore.backend=ramoops"\n')
    guest.run("update-grub")
    guest.reboot()

    policy = "crashkernel: 192M\npanic: {early_pstore: true}\ncapture: {then: reboot}\npstore:\n  ramoops: {size: 4M}\n"
    guest.write("/etc/kdumpd.yaml", policy)
    guest.run("kdumpd apply --yes")
    guest.reboot()
    (parameter,) = [word for word in guest.read("/proc/cmdline").split() if word.startswith("memmap=")]
    address = re.fullmatch(r"memmap=4M\$(0x[0-9a-f]+)", parameter)
    assert address is not None
    first = int(address[1], 16)
    assert f"{first:08x}-{first + (4 << 20) - 1:08x} : Reserved" in guest.read("/proc/iomem")
    assert guest.read("/sys/module/pstore/parameters/backend").strip() == "ramoops"
    assert guest.read("/sys/module/ramoops/parameters/mem_address").strip() == str(first)
    assert guest.run("kdumpd plan").stdout == "nothing to change: this machine is as the policy says\n"

    guest.run("echo kdumpd-last-words > /dev/kmsg")
    guest.panic()
    guest.wait_reset()
    guest.boot_on()
    guest.run("timeout 60 sh -c 'until kdumpd crashes list | grep -q sysrq; do sleep 1; done'")
    (records,) = guest.run("ls -d /var/crash/*Z*/pstore").stdout.split()
    assert "kdumpd-last-words" in guest.run(f"cat {records}/dmesg-ramoops-*").stdout


def test_systemd_and_a_shell_read_the_same_in_the_file_for_kdump_tools(guest: Guest) -> None:
    append = "a='$(reboot)' b=`id` c=\"d  e\" f=\\$HOME g=* h=~ i=#j ; k=a'b"
    quoted = append.replace("'", "''")
    guest.write("/etc/kdumpd.yaml", f"crashkernel: 192M\ndump_kernel:\n  append: '{quoted}'\n")
    guest.run("kdumpd apply --yes")

    show = 'printf %s "$KDUMP_CMDLINE_APPEND"'
    by_shell = guest.run(f". /etc/default/kdump-tools; {show}").stdout
    by_systemd = guest.run(
        f"systemd-run --quiet --wait --pipe -p EnvironmentFile=/etc/default/kdump-tools sh -c {shlex.quote(show)}"
    ).stdout
    assert by_shell == by_systemd
    assert by_shell.endswith(append)
