# SPDX-License-Identifier: LGPL-2.1-or-later
"""A capture in which something fails: what is on disk then, how the machine ends, and that nothing older is lost.

Each test is a real crash. What it found is a row of docs/faults.md (`make faults`).
"""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from kdumpd.capture.status import Status, Step
from tests.vm.faults_table import Row, write_row
from tests.vm.guest import Guest, Partition
from tests.vm.systems import BOOKWORM, System

MARKER = "kdumpd-test-marker 4b2e"
OLDER = "2020-01-01T00-00-00Z"
OLDER_STATUS = Status(started="2020-01-01T00:00:00Z", kernel="5.10", steps=[Step(name="dmesg", ok=True, seconds=0.1)])
OLDER_LOG = "[    0.000000] Linux version 5.10, an older crash\n"
# No reader of JSON that calls itself comes to its end.
DAMAGED = "[" * 20_000
SETTINGS = "/var/lib/kdumpd/capture.json"
# Crashes that have their memory with them, the oldest first.
WITH_MEMORY = [f"/var/crash/2020-01-0{day}T00-00-00Z" for day in (2, 3, 4)]
# A crash for each second of the next quarter of an hour, by the clock that the dump kernel will go by.
CRASH_OF_EACH_SECOND = """\
import os, time
now = int(open("/sys/class/rtc/rtc0/since_epoch").read())
for second in range(now - 5, now + 900):
    folder = time.strftime("/var/crash/%Y-%m-%dT%H-%M-%SZ", time.gmtime(second))
    os.mkdir(folder, 0o700)
    open(f"{folder}/dmesg.txt", "w").write("older\\n")
"""
# Stands in for makedumpfile; $REAL is what it stands for.
WRAPPER = """\
#!/bin/sh
REAL=/usr/bin/makedumpfile.real
%s
exec $REAL "$@"
"""


@dataclass
class Story:
    """A machine that will crash, and what is known of it afterwards."""

    guest: Guest
    fault: str
    ended: str = ""
    seconds: float = 0.0
    found: dict[str, dict[str, int]] = field(default_factory=dict)
    older: set[str] = field(default_factory=lambda: {OLDER, "lost+found"})

    def policy(self, text: str) -> None:
        self.guest.write("/etc/kdumpd.yaml", f"crashkernel: 192M\n{text}")
        self.guest.run("kdumpd apply --yes")

    def mount_spare(self) -> None:
        """Gives the machine a second file system, at /srv/dump, as an administrator does."""
        self.guest.run("mkfs.ext4 -q /dev/vda3 && mkdir -p /srv/dump && udevadm settle")
        self.guest.run('echo "UUID=$(blkid -s UUID -o value /dev/vda3) /srv/dump ext4 defaults 0 2" >> /etc/fstab')
        self.guest.run("systemctl daemon-reload && mount /srv/dump")

    def leave_first_door_out(self) -> None:
        """Loads what is loaded once more, as where only systemd can mount the first store."""
        loaded = json.loads(self.guest.read("/var/lib/kdumpd/last-loaded.json"))
        line = f"{loaded['command_line']} kdumpd.door=systemd"
        self.guest.run(f"kexec -s -p --initrd={loaded['initrd']} --command-line='{line}' {loaded['kernel']}")

    def remove_python(self) -> None:
        self.guest.run("mv $(readlink -f /usr/bin/python3) /root")

    def wrap_makedumpfile(self, script: str) -> None:
        self.guest.run("mv /usr/bin/makedumpfile /usr/bin/makedumpfile.real")
        self.guest.write("/usr/bin/makedumpfile", WRAPPER % script)
        self.guest.run("chmod +x /usr/bin/makedumpfile")

    def crash(self, *, reboots: bool = False, command: str = "echo c > /proc/sysrq-trigger") -> None:
        """Panics, and waits for the end: by power off, as the policy says, or by a reboot, as it says of failures."""
        began = self.start_crash(command)
        if reboots:
            self.guest.wait_reset()
            self.guest.kill()
        else:
            self.guest.wait_poweroff()
        self.seconds = time.monotonic() - began
        self.ended = "rebooted" if reboots else "powered off"

    def start_crash(self, command: str = "echo c > /proc/sysrq-trigger") -> float:
        self.guest.run(f"sync; echo '{MARKER}' > /dev/kmsg")
        self.guest.panic(command)
        return time.monotonic()

    def cut_power(self, began: float) -> None:
        self.guest.kill()
        self.seconds = time.monotonic() - began
        self.ended = "power cut"

    def folder(self, store: str = "/var/crash", partition: Partition = Partition.ROOT) -> str:
        """The one new crash."""
        (name,) = set(self.guest.list_folder(store, partition)) - self.older
        path = f"{store}/{name}"
        self.found = {path: self.guest.list_folder(path, partition)}
        return path

    def log(self, folder: str, partition: Partition = Partition.ROOT) -> str:
        text = self.guest.read(f"{folder}/dmesg.txt", partition)
        assert MARKER in text
        assert "Kernel panic - not syncing" in text
        return text

    def conclude(self, *, root_is_there: bool = True) -> None:
        """Nothing older was lost, and the row can be written."""
        if root_is_there:
            assert self.guest.read(f"/var/crash/{OLDER}/dmesg.txt") == OLDER_LOG
        on_disk = [f"{path}: {', '.join(sorted(files))}" for path, files in self.found.items()]
        write_row(Row(fault=self.fault, on_disk=on_disk, ended=self.ended, seconds=self.seconds))

    def status(self, folder: str, partition: Partition = Partition.ROOT) -> Any:
        return json.loads(self.guest.read(f"{folder}/status.json", partition))


@pytest.fixture
def story(guest: Guest, system: System, request: pytest.FixtureRequest) -> Story:
    folder = f"/var/crash/{OLDER}"
    guest.run(f"mkdir -m 0700 {folder}")
    guest.write(f"{folder}/dmesg.txt", OLDER_LOG)
    guest.write(f"{folder}/status.json", OLDER_STATUS.to_json())
    fault = request.function.__name__.removeprefix("test_").replace("_", " ")
    return Story(guest, fault=fault if system == BOOKWORM else f"{fault} ({system})")


def step(status: Any, name: str, door: str = "initrd") -> Any:
    return next(step for step in status["steps"] if step["name"] == name and step["door"] == door)


def test_makedumpfile_is_missing(story: Story) -> None:
    story.guest.run("mv /usr/bin/makedumpfile /root")
    story.crash()

    folder = story.folder()
    story.log(folder)
    detail = step(story.status(folder), "dmesg")["detail"]
    assert detail.startswith("by vmcore-dmesg")
    assert "makedumpfile: No such file or directory" in detail
    story.conclude()


def test_makedumpfile_hangs(story: Story) -> None:
    story.wrap_makedumpfile("exec sleep 1000")
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert "makedumpfile was still running after" in step(story.status(folder), "dmesg")["detail"]
    story.conclude()


def test_makedumpfile_fails_after_half_of_the_log(story: Story) -> None:
    story.wrap_makedumpfile('echo "[    0.000000] half of a l" > "$3"; exit 1')
    story.crash()

    folder = story.folder()
    assert "half of a l" not in story.log(folder)
    assert "makedumpfile failed with 1" in step(story.status(folder), "dmesg")["detail"]
    story.conclude()


@pytest.mark.core
def test_both_tools_for_the_log_are_missing(story: Story) -> None:
    story.guest.run("mv /usr/bin/makedumpfile /usr/sbin/vmcore-dmesg /root")
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert step(story.status(folder), "dmesg")["ok"]
    story.conclude()


@pytest.mark.core
def test_python_is_missing(story: Story) -> None:
    story.remove_python()
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert "by the initrd alone" in story.status(folder)["steps"][0]["detail"]
    story.conclude()


def test_python_is_missing_and_an_older_crash_has_the_same_second(story: Story) -> None:
    """As where a clock stands still: whatever time the initrd is told, there was a crash at that time."""
    story.guest.run("python3 -", stdin=CRASH_OF_EACH_SECOND.encode())
    story.guest.run("mv /usr/bin/python3.11 /root")
    story.crash()

    (name,) = (name for name in story.guest.list_folder("/var/crash") if name.endswith("Z-1"))
    folder = f"/var/crash/{name}"
    story.log(folder)
    assert "by the initrd alone" in story.status(folder)["steps"][0]["detail"]
    assert story.guest.read(f"{folder.removesuffix('-1')}/dmesg.txt") == "older\n"
    story.found = {folder: story.guest.list_folder(folder)}
    story.conclude()


def test_two_crashes_in_one_second_of_a_clock_that_stands_still(story: Story) -> None:
    at = "2026-11-23 01:02:03"
    folders = ["/var/crash/2026-11-23T01-02-03Z", "/var/crash/2026-11-23T01-02-03Z-1"]
    command = f"date --utc --set '{at}' && echo c > /proc/sysrq-trigger"
    story.crash(command=command)
    first = story.log(folders[0])
    story.guest.boot()
    story.crash(command=command)

    assert {OLDER, *(folder.removeprefix("/var/crash/") for folder in folders)} <= set(story.guest.list_folder("/var/crash"))
    assert story.log(folders[0]) == first
    assert story.log(folders[1]) != first
    story.found = {folder: story.guest.list_folder(folder) for folder in folders}
    story.conclude()


def test_capture_json_is_damaged(story: Story) -> None:
    story.guest.write(SETTINGS, DAMAGED)
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert story.status(folder)["doors"] == ["initrd"]
    assert f"cannot read {SETTINGS}, using the defaults" in story.guest.console()
    story.conclude()


def test_capture_json_is_damaged_and_there_is_no_first_door(story: Story) -> None:
    story.leave_first_door_out()
    story.guest.write(SETTINGS, DAMAGED)
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert story.status(folder)["doors"] == ["systemd"]
    assert f"cannot read {SETTINGS}, using the defaults" in story.guest.console()
    story.conclude()


def test_capture_json_is_a_fifo(story: Story) -> None:
    story.guest.run(f"rm {SETTINGS} && mkfifo {SETTINGS}")
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert story.status(folder)["doors"] == ["initrd"]
    story.conclude()


def test_no_store_of_the_policy_can_be_written(story: Story) -> None:
    story.policy("capture:\n  stores: [/srv/first]\n")
    story.guest.run("chattr +i /srv/first")
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert story.status(folder)["store"] == "/var/crash"
    story.conclude()


def test_the_store_is_full_of_old_vmcores(story: Story) -> None:
    for folder in WITH_MEMORY:
        story.guest.run(f"mkdir -m 0700 {folder} && cp -p /var/crash/{OLDER}/* {folder} && fallocate -l 64M {folder}/vmcore")
        story.older.add(folder.removeprefix("/var/crash/"))
    fill(story.guest, leave=0)
    story.crash()

    story.log(story.folder())
    assert f"the store is full: removed {WITH_MEMORY[0]}/vmcore" in story.guest.console()
    assert ["vmcore" in story.guest.list_folder(folder) for folder in WITH_MEMORY] == [False, True, True]
    assert all(story.guest.read(f"{folder}/dmesg.txt") == OLDER_LOG for folder in WITH_MEMORY)
    story.conclude()


def test_the_disk_is_full_before_the_log(story: Story) -> None:
    fill(story.guest, leave=0)
    story.crash(reboots=True)

    assert "Kernel panic - not syncing: sysrq triggered crash" in story.guest.console().partition("no store took the log")[2]
    story.conclude()


def test_the_disk_is_full_during_the_vmcore(story: Story) -> None:
    story.policy("capture:\n  vmcore: {compress: none}\n  keep: {free: 16M}\n")
    fill(story.guest, leave=48)
    story.crash()

    folder = story.folder()
    story.log(folder)
    vmcore = step(story.status(folder), "vmcore")
    assert not vmcore["ok"]
    assert vmcore["detail"]
    assert "vmcore" not in story.guest.list_folder(folder)
    story.conclude()


def test_the_store_is_read_only(story: Story) -> None:
    story.policy("capture:\n  stores: [/srv/first, /var/crash]\n")
    story.guest.run("chattr +i /srv/first")
    story.crash()

    folder = story.folder()
    story.log(folder)
    story.conclude()


@pytest.mark.core
def test_a_store_on_another_file_system(story: Story) -> None:
    story.mount_spare()
    story.policy("capture:\n  stores: [/srv/dump, /var/crash]\n")
    story.crash()

    folder = story.folder("", Partition.SPARE)
    story.log(folder, Partition.SPARE)
    assert story.status(folder, Partition.SPARE)["store"] == "/srv/dump"
    assert set(story.guest.list_folder("/var/crash")) == {OLDER}
    story.conclude()


def test_the_device_of_the_first_store_is_gone(story: Story) -> None:
    story.mount_spare()
    story.policy("capture:\n  stores: [/srv/dump, /var/crash]\n")
    story.guest.run("umount /srv/dump && wipefs -q -a /dev/vda3")
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert [step["ok"] for step in story.status(folder)["steps"]][:2] == [False, True]
    story.conclude()


def test_the_superblock_of_the_root_is_destroyed_and_another_store_is_there(story: Story) -> None:
    story.mount_spare()
    story.policy("capture:\n  stores: [/var/crash, /srv/dump]\n")
    story.guest.run("sync; dd if=/dev/zero of=/dev/vda2 bs=1M count=1 oflag=direct status=none", check=False)
    story.crash()

    folder = story.folder("", Partition.SPARE)
    story.log(folder, Partition.SPARE)
    story.conclude(root_is_there=False)


def test_the_superblock_of_the_root_is_destroyed_and_there_is_no_other_store(story: Story) -> None:
    story.guest.run("sync; dd if=/dev/zero of=/dev/vda2 bs=1M count=1 oflag=direct status=none", check=False)
    story.crash(reboots=True)

    shown = story.guest.console().partition("no other store takes the log")[2]
    assert "Kernel panic - not syncing: sysrq triggered crash" in shown
    story.conclude(root_is_there=False)


def test_the_root_has_an_unclean_journal(story: Story) -> None:
    story.guest.run(
        "for i in $(seq 300); do echo $i > /var/tmp/file-$i; done; sync; for i in $(seq 300); do rm /var/tmp/file-$i; done"
    )
    story.crash()

    story.log(story.folder())
    assert re.search(r"EXT4-fs \(vda2\): (orphan cleanup|recovery complete)", story.guest.console())
    story.conclude()


def test_the_ring_of_the_log_is_corrupt(story: Story, crash_module: bytes) -> None:
    story.guest.write("/root/kcrash.ko", crash_module)
    story.crash(command="insmod /root/kcrash.ko ring=1")

    text = story.guest.read(f"{story.folder()}/dmesg.txt")
    assert "Kernel panic - not syncing: kcrash has damaged the log" in text
    story.conclude()


def test_the_ring_of_the_log_is_corrupt_and_only_our_own_reader_is_there(story: Story, crash_module: bytes) -> None:
    story.guest.write("/root/kcrash.ko", crash_module)
    story.guest.run("mv /usr/bin/makedumpfile /usr/sbin/vmcore-dmesg /root")
    story.crash(command="insmod /root/kcrash.ko ring=1")

    text = story.guest.read(f"{story.folder()}/dmesg.txt")
    assert "Kernel panic - not syncing: kcrash has damaged the log" in text
    story.conclude()


def test_hostile_names_and_a_huge_record_in_pstore(story: Story) -> None:
    long = "n" * 255
    # What the dump kernel mounts as pstore is this folder: no backend would take such names.
    story.guest.run(
        "mkdir /root/pstore && cd /root/pstore && echo one > '..-up' && echo two > \"$(printf 'new\\nline')\""
        f" && echo three > \"$(printf 'not-\\377-utf8')\" && echo four > {long} && ln -s /etc/shadow link"
        " && dd if=/dev/zero of=dmesg-huge bs=1M count=64 status=none && mv /usr/bin/mount /usr/bin/mount.real"
    )
    story.guest.write(
        "/usr/bin/mount",
        '#!/bin/sh\ncase "$*" in *pstore*) exec /usr/bin/mount.real --bind /root/pstore /sys/fs/pstore ;; esac\n'
        'exec /usr/bin/mount.real "$@"\n',
    )
    story.guest.run("chmod +x /usr/bin/mount")
    story.crash()

    folder = story.folder()
    story.log(folder)
    records = story.guest.list_folder(f"{folder}/pstore")
    assert len(records) == 5
    assert "link" not in records
    assert set(story.guest.list_folder("/root/pstore")) == {"link"}
    story.conclude()


def test_a_panic_inside_the_dump_kernel(story: Story) -> None:
    story.policy("capture:\n  vmcore: {}\n  keep: {free: 1M}\n")
    story.wrap_makedumpfile('case "$*" in *--dump-dmesg*|*-v*) ;; *) echo c > /proc/sysrq-trigger ;; esac')
    story.crash(reboots=True)

    story.log(story.folder())
    story.conclude()


def test_the_capture_is_killed_in_the_middle(story: Story) -> None:
    story.policy("capture:\n  vmcore: {}\n  keep: {free: 1M}\n")
    # The first time only.
    story.wrap_makedumpfile(
        'case "$*" in *--dump-dmesg*|*-v*) ;; *) [ -e /dev/killed ] || { touch /dev/killed; kill -9 $PPID; exit 1; } ;; esac'
    )
    story.crash()

    folder = story.folder()
    story.log(folder)
    status = story.status(folder)
    assert step(status, "dmesg")["ok"]
    assert not step(status, "vmcore")["ok"]
    assert step(status, "vmcore", "systemd")["ok"]
    assert "vmcore" in story.guest.list_folder(folder)
    story.conclude()


def test_the_vmcore_hangs_until_the_deadline(story: Story) -> None:
    story.policy("capture:\n  vmcore: {}\n  keep: {free: 1M}\n  deadline: 30s\n")
    story.wrap_makedumpfile('case "$*" in *--dump-dmesg*|*-v*) ;; *) exec sleep 1000 ;; esac')
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert "makedumpfile was still running after" in step(story.status(folder), "vmcore")["detail"]
    story.conclude()


def test_the_capture_is_stopped_for_ever(story: Story) -> None:
    """Its own deadline is stopped too; what ends the machine then is outside of it."""
    story.policy("capture:\n  deadline: 30s\n")
    story.wrap_makedumpfile("kill -STOP $PPID; exec sleep 1000")
    story.crash(reboots=True)

    story.folder()
    story.conclude()


def test_the_capture_is_stopped_for_ever_and_a_watchdog_is_there(story: Story) -> None:
    """softdog in the place of hardware: Debian's cloud kernel has no driver for the watchdogs of QEMU."""
    python = story.guest.run("readlink -f /usr/bin/python3").stdout.strip()
    story.guest.run(f"mv {python} {python}.real")
    story.guest.write(python, f'#!/bin/sh\nmodprobe softdog\nexec {python}.real "$@"\n')
    story.guest.run(f"chmod +x {python}")
    story.wrap_makedumpfile("kill -STOP $PPID; exec sleep 1000")
    story.crash(reboots=True)

    assert "softdog: Initiating system reboot" in story.guest.console()
    story.folder()
    story.conclude()


@pytest.mark.core
def test_there_is_no_first_door(story: Story) -> None:
    story.leave_first_door_out()
    story.crash()

    folder = story.folder()
    story.log(folder)
    assert story.status(folder)["doors"] == ["systemd"]
    story.conclude()


def test_no_python_and_no_first_door(story: Story) -> None:
    """As with an initrd of kdump-tools: systemd can't start the capture, and its unit ends the machine."""
    story.leave_first_door_out()
    story.remove_python()
    story.crash(reboots=True)

    assert set(story.guest.list_folder("/var/crash")) == {OLDER}
    story.conclude()


def test_the_power_is_cut_after_the_log(story: Story) -> None:
    began = story.start_crash()
    story.guest.wait_console("kdumpd: the log is safe")
    story.cut_power(began)

    story.log(story.folder())
    story.conclude()


def test_the_power_is_cut_during_the_vmcore(story: Story) -> None:
    story.policy("capture:\n  vmcore: {level: 1, compress: none}\n  keep: {free: 1M}\n")
    began = story.start_crash()
    story.guest.wait_console("saving the memory")
    time.sleep(2)
    story.cut_power(began)

    folder = story.folder()
    story.log(folder)
    assert "vmcore" not in story.guest.list_folder(folder)
    story.conclude()


def fill(guest: Guest, *, leave: int) -> None:
    """Takes all space of the root but `leave` MiB."""
    # For the blocks that say where the others are.
    margin = max(leave, 16) << 20
    guest.run("tune2fs -m 0 /dev/vda2")
    guest.run(f"fallocate -l $(( $(df --output=avail -B1 / | tail -n 1) - {margin} )) /fill")
    if not leave:
        guest.run("dd if=/dev/zero of=/fill-rest bs=4k; sync", check=False)
