# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual server that a test drives like a story: boot, run, panic, wait for the power to go off, read the disk."""

import base64
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.vm.channel import Channel, ChannelError
from tests.vm.emulator import emulator, qemu_img
from tests.vm.image import ROOT_SIZE, ROOT_START, SPARE_SIZE, SPARE_START
from tests.vm.systems import Firmware

TIMEOUT_FACTOR = float(os.environ.get("KDUMPD_TEST_TIMEOUT_FACTOR", "1"))
ACCEL = os.environ.get("KDUMPD_TEST_ACCEL", "tcg,thread=multi")
CONSOLE_TAIL = 40
# What a guest flushes is in the file then, where a killed QEMU leaves it; it need not be on the disk of this machine. With
# "cache=unsafe", or no-flush without "file.", qcow2's tables are held back too (QEMU 10.0, 2f3b6e61f692).
FLUSHED_TO_FILE = "file.cache.no-flush=on"
# A disk takes a gigabyte, and one cause can fail many tests.
KEPT_DISKS = 5
ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]


class Partition(Enum):
    """A file system of the guest's disk: where it begins, and how long it is."""

    ROOT = (ROOT_START, ROOT_SIZE)
    SPARE = (SPARE_START, SPARE_SIZE)


class VmError(AssertionError):
    """The guest did not do what the story said; the text ends with the tail of its console."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Seconds that each phase may take on an idle machine with two slow cores and no KVM."""

    boot: float = 480 * TIMEOUT_FACTOR
    command: float = 300 * TIMEOUT_FACTOR
    capture: float = 240 * TIMEOUT_FACTOR
    snapshot: float = 120 * TIMEOUT_FACTOR


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command in the guest printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


class Guest:
    """One virtual machine: `argv` starts it, `disk` is the first of its disks. `with` makes sure that QEMU does not outlive it."""

    deadlines = Deadlines()

    def __init__(self, disk: Path, argv: Sequence[str], *, logs: Path) -> None:
        self.disk = disk
        self.argv = tuple(argv)
        self.logs = logs
        self.consoles: list[Path] = []
        logs.mkdir(parents=True, exist_ok=True)
        # Unix socket paths are limited to 107 bytes, which pytest's own folders exceed.
        self._scratch = Path(tempfile.mkdtemp(prefix="kdumpd-vm-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Channel | None = None
        self._agent: Channel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def boot(self) -> None:
        """Power on, through the firmware and GRUB, until the system is up and its agent answers."""
        self.power_on()
        self.wait_boot()

    def power_on(self) -> None:
        """Starts the machine and waits for nothing."""
        self._start_qemu("boot")

    @property
    def pid(self) -> int:
        """The process that is this machine."""
        if self._process is None:
            raise RuntimeError("the guest does not run")
        return self._process.pid

    def restore(self, snapshot: str) -> None:
        """Continues a machine that `save` stored; everything written to the disk since then is undone."""
        self._start_qemu(f"restored-{snapshot}", "-loadvm", snapshot)
        self._wait_agent()

    def save(self, snapshot: str) -> None:
        """Stores the running machine, memory and disks, inside its disk image."""
        self._monitor(f"savevm {snapshot}")

    def reboot(self) -> None:
        """An orderly power cycle, through the firmware and GRUB again."""
        self.shut_down()
        self.boot()

    def shut_down(self) -> None:
        """An orderly power off."""
        self._control().drop_events()
        self.start("systemctl poweroff")
        self.wait_poweroff()

    def panic(self, command: str = "echo c > /proc/sysrq-trigger") -> None:
        """Makes the kernel die by `command`; returns without waiting for anything."""
        self._control().drop_events()
        self._new_console("crash")
        # The answer may die with the kernel; the next boot synchronises the channel anew.
        self._agent_channel().send("guest-exec", _shell(command))

    def start(self, command: str) -> None:
        """Runs a shell command in the guest without waiting for its end."""
        self._agent_channel().command("guest-exec", _shell(command))

    def run(self, command: str, *, check: bool = True, stdin: bytes = b"", deadline: float | None = None) -> Result:
        """Runs a shell command as root in the guest.

        Raises:
            VmError: it failed (unless `check` is false), or did not end within the deadline (seconds).
        """
        agent = self._agent_channel()
        request = {**_shell(command), "input-data": base64.b64encode(stdin).decode(), "capture-output": True}
        started = agent.command("guest-exec", request)
        end = time.monotonic() + (deadline or self.deadlines.command)
        while not (state := agent.command("guest-exec-status", {"pid": started["pid"]}))["exited"]:
            if time.monotonic() > end:
                raise self.error(f"`{command}` did not end in time")
            time.sleep(0.1)
        result = Result(
            returncode=state.get("exitcode", -state.get("signal", 0)),
            stdout=base64.b64decode(state.get("out-data", "")).decode(errors="replace"),
            stderr=base64.b64decode(state.get("err-data", "")).decode(errors="replace"),
        )
        if check and result.returncode != 0:
            raise self.error(f"`{command}` exited with {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def write(self, path: str, content: bytes | str) -> None:
        """Writes a file of the running guest."""
        self.run(f"cat > '{path}'", stdin=content.encode() if isinstance(content, str) else content)

    def wait_boot(self) -> None:
        """Until the agent answers and systemd has finished its start-up, degraded or not."""
        self._wait_agent()
        self.run("systemctl is-system-running --wait", check=False, deadline=self.deadlines.boot)

    def wait_poweroff(self) -> None:
        """Until the guest switches its own power off: QEMU's word for it, not the end of a process."""
        event = self._wait_end()
        if event["event"] != "SHUTDOWN" or event["data"].get("reason") != "guest-shutdown":
            raise self.error(f"the guest did not power itself off: QEMU says {event['event']} {event['data']}")
        self.kill()

    def wait_reset(self) -> None:
        """Until the guest resets itself, as it does to reboot."""
        event = self._wait_end()
        if event["event"] != "RESET" or not event["data"].get("guest"):
            raise self.error(f"the guest did not reset itself: QEMU says {event['event']} {event['data']}")

    def boot_on(self) -> None:
        """After a reset, which leaves the memory as it was: until the system is up again.

        Without KVM, QEMU 7.2 at times needs minutes until the kernel has unpacked itself over memory of whose old content it still
        has translations. It forgets them when it loads a snapshot (hw/core/cpu-common.c, cpu_common_post_load()).
        """
        for command in ("stop", "savevm reset", "loadvm reset", "delvm reset", "cont"):
            self._monitor(command)
        self.wait_boot()

    def wait_console(self, text: str) -> None:
        """Until the console of the current boot shows this text."""
        end = time.monotonic() + self.deadlines.capture
        while text not in self.console():
            if time.monotonic() > end:
                raise self.error(f"the console never showed {text!r}")
            time.sleep(0.1)

    def read(self, path: str, partition: Partition = Partition.ROOT) -> str:
        """The text of a file: through the agent while the guest runs, off its disk when it is powered off."""
        if self._process is not None:
            return self.run(f"cat '{path}'").stdout
        return _debugfs(self._file_system(partition), f'cat "{path}"')

    def list_folder(self, path: str, partition: Partition = Partition.ROOT) -> dict[str, int]:
        """Name -> permission bits of what a folder holds on the disk of a guest that is powered off."""
        lines = _debugfs(self._file_system(partition), f'ls -p "{path}"').splitlines()
        entries = [line.split("/") for line in lines if line.startswith("/")]
        return {name: stat.S_IMODE(int(mode, 8)) for _, _, mode, _, _, name, *_ in entries if name not in (".", "..")}

    def kill(self) -> None:
        """Pulls the plug."""
        for channel in (self._qmp, self._agent):
            if channel is not None:
                channel.close()
        self._qmp = self._agent = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def error(self, message: str) -> VmError:
        return VmError(f"{message}\n{self.console_tail()}")

    def keep(self) -> list[Path]:
        """Copies the journal, while it still can be had, and the disk to where the consoles are; pulls the plug."""
        kept = [self.logs]
        if self._agent is not None and self._agent.synchronise(deadline=5):
            (self.logs / "journal.txt").write_text(self.run("journalctl --boot --no-pager", check=False).stdout)
            kept.append(self.logs / "journal.txt")
        self.kill()
        if len(list(self.logs.parent.glob(f"*/{self.disk.name}"))) < KEPT_DISKS:
            shutil.copy(self.disk, self.logs)
            kept.append(self.logs / self.disk.name)
        return kept

    def console(self) -> str:
        """All that the console of the current boot has shown."""
        return self.consoles[-1].read_text(errors="replace") if self.consoles and self.consoles[-1].exists() else ""

    def console_tail(self) -> str:
        """The last lines of the console of the current boot, and the file that holds all of it."""
        if not self.consoles:
            return "(the guest was never started)"
        lines = self.console().splitlines()[-CONSOLE_TAIL:]
        return "\n".join([f"last {len(lines)} lines of {self.consoles[-1]}:", *(f"    {line}" for line in lines)])

    def _start_qemu(self, phase: str, *extra: str) -> None:
        if self._process is not None:
            raise RuntimeError("the guest runs already")
        qmp, agent = self._scratch / "qmp", self._scratch / "agent"
        qmp.unlink(missing_ok=True)
        agent.unlink(missing_ok=True)
        for partition in Partition:
            self._copy_of(partition).unlink(missing_ok=True)
        self._process = subprocess.Popen(
            # The kernel kills QEMU when the test run dies, however that happens.
            ["setpriv", "--pdeathsig", "KILL", *self.argv, *extra,
             "-chardev", f"file,id=console,path={self._next_console(phase)}", "-serial", "chardev:console",
             "-qmp", f"unix:{qmp},server=on,wait=off",
             "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
             "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.logs / "qemu.log").open("ab"),
        )  # fmt: skip
        self._qmp = Channel(qmp)
        self._qmp.command("qmp_capabilities")
        self._agent = Channel(agent)

    def _control(self) -> Channel:
        if self._qmp is None:
            raise RuntimeError("the guest does not run")
        return self._qmp

    def _agent_channel(self) -> Channel:
        if self._agent is None:
            raise RuntimeError("the guest does not run")
        return self._agent

    def _wait_agent(self) -> None:
        end = time.monotonic() + self.deadlines.boot
        while not self._agent_channel().synchronise(deadline=2):
            if self._process is None or self._process.poll() is not None:
                raise self.error(f"QEMU has died, see {self.logs / 'qemu.log'}")
            if time.monotonic() > end:
                raise self.error(f"no answer from the guest {self.deadlines.boot:.0f} s after its start")

    def _wait_end(self) -> dict[str, Any]:
        try:
            event = self._control().wait_event({"SHUTDOWN", "RESET"}, deadline=self.deadlines.capture)
        except ChannelError as problem:
            raise self.error(f"QEMU has died, see {self.logs / 'qemu.log'}: {problem}") from None
        if event is None:
            raise self.error(f"the machine still runs after {self.deadlines.capture:.0f} s")
        return event

    def _monitor(self, command: str) -> None:
        answer = self._control().command("human-monitor-command", {"command-line": command}, deadline=self.deadlines.snapshot)
        if answer.strip():
            raise self.error(f"QEMU: {command}: {answer.strip()}")

    def _next_console(self, phase: str) -> Path:
        self.consoles.append(self.logs / f"console-{len(list(self.logs.glob('console-*'))) + 1:02}-{phase}.log")
        self.consoles[-1].touch()
        return self.consoles[-1]

    def _new_console(self, phase: str) -> None:
        backend = {"type": "file", "data": {"out": str(self._next_console(phase))}}
        self._control().command("chardev-change", {"id": "console", "backend": backend})

    def _file_system(self, partition: Partition) -> Path:
        """A copy of a file system with its journal replayed, as the next boot would find it; kept until then."""
        copy = self._copy_of(partition)
        if not copy.exists():
            start, size = partition.value
            source = f"driver=raw,offset={start},size={size},file.driver=qcow2,file.file.filename={self.disk}"
            qemu_img("convert", "-O", "raw", "--image-opts", source, copy)
            subprocess.run(["e2fsck", "-p", "-E", "journal_only", str(copy)], check=True, stdout=subprocess.DEVNULL)
        return copy

    def _copy_of(self, partition: Partition) -> Path:
        return self._scratch / f"{partition.name}.raw"


def qemu_argv(disk: Path, firmware_variables: Path, firmware: Firmware) -> list[str]:
    """The reference machine, with one disk."""
    return [
        *_case(firmware, firmware_variables),
        "-drive", f"if=none,id=disk,format=qcow2,{FLUSHED_TO_FILE},file={disk}",
        # Without a bootindex UEFI looks for the disk where its variables say it once was, else starts its shell.
        "-device", "virtio-blk-pci,drive=disk,bootindex=0",
    ]  # fmt: skip


def _case(firmware: Firmware, variables: Path) -> list[str]:
    if firmware is Firmware.BIOS:
        return bare_machine("q35,hpet=off")
    # Flash has no cache that a power cut could empty.
    drive = f"if=pflash,format=qcow2,cache.writeback=off,{FLUSHED_TO_FILE},file={variables}"
    if firmware is Firmware.UEFI:
        return [*bare_machine("q35,hpet=off"), *_flash("OVMF_CODE_4M.fd"), "-drive", drive]
    # Only code in system management mode may write the variables that hold the keys.
    return [
        *bare_machine("q35,hpet=off,smm=on"), *_flash("OVMF_CODE_4M.secboot.fd"), "-drive", drive,
        "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1",
    ]  # fmt: skip


def _flash(code: str) -> list[str]:
    return ["-drive", f"if=pflash,format=raw,readonly=on,file={emulator().firmware(code)}"]


def bare_machine(kind: str) -> list[str]:
    """2 CPUs, 2 GiB, no network, and no disk yet.

    KVM is used only when asked for: /dev/kvm may exist and still hang every guest.
    """
    return [
        *emulator().program("qemu-system-x86_64"), "-accel", ACCEL, "-cpu", "qemu64", "-machine", kind, "-smp", "2", "-m", "2G",
        "-nodefaults", "-no-user-config", "-display", "none", "-action", "shutdown=pause",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _shell(command: str) -> dict[str, object]:
    return {"path": "/bin/sh", "arg": ["-c", command], "env": ENVIRONMENT}


def _debugfs(root: Path, request: str) -> str:
    done = subprocess.run(["debugfs", "-R", request, str(root)], check=True, capture_output=True, text=True, errors="replace")
    if problems := [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")]:
        raise VmError(f"debugfs: {request}: {' '.join(problems)}")
    return done.stdout
