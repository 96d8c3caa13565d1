# SPDX-License-Identifier: LGPL-2.1-or-later
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdumpd.errors import BusyError, NotArmedError, ToolError
from kdumpd.host import read
from kdumpd.host.facts import DumpSet, Kexec
from kdumpd.host.read import read_dump_sets
from kdumpd.image import load
from kdumpd.image.kernel_log import KernelLog
from tests.unit.fakes import FakeMachine, Stubs


def dump_set(name: str) -> DumpSet:
    return DumpSet(kernel=f"/boot/{name}", initrd=f"/images/{name}.img", command_line="root=/dev/vda1", boot_id="boot-1")


def names(machine: FakeMachine) -> list[str]:
    return [found.kernel.removeprefix("/boot/") for found in read_dump_sets(machine.root)]


def kexec(machine: FakeMachine, stubs: Stubs, script: str) -> None:
    """A kexec that gives up what is loaded before it does what the script says; $KERNEL is the one that it is to load."""
    loaded = machine.root / "sys/kernel/kexec_crash_loaded"
    stubs.add("kexec", f"for KERNEL; do :; done; echo 0 > {loaded}\n{script}\necho 1 > {loaded}")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BUSY_PATIENCE", 2.0)
    monkeypatch.setattr(load, "BUSY_PAUSE", 0.01)


@pytest.fixture(autouse=True)
def state_folder(machine: FakeMachine) -> None:
    (machine.root / "var/lib/kdumpd").mkdir(parents=True)


def test_what_was_loaded_before_the_last_is_remembered_too(machine: FakeMachine) -> None:
    for name in ("a", "b", "b", "c"):
        load.load(machine.root, dump_set(name))

    assert names(machine) == ["c", "b"]


def test_when_the_last_good_one_fails_too_the_one_before_it_is_loaded(machine: FakeMachine, stubs: Stubs) -> None:
    for name in ("a", "b"):
        load.load(machine.root, dump_set(name))
    kexec(machine, stubs, '[ "$KERNEL" = /boot/a ] || { echo "key rejected" >&2; exit 1; }')

    with pytest.raises(ToolError, match="the new dump kernel could not be loaded, the last good one is in its place"):
        load.load(machine.root, dump_set("c"))

    assert names(machine)[0] == "a"
    assert read_dump_sets(machine.root)[0].degraded == "kexec -s: key rejected\nkexec -c: key rejected"


def test_a_kernel_that_refuses_before_it_gives_up_the_old_image_leaves_the_machine_armed(
    machine: FakeMachine, stubs: Stubs
) -> None:
    load.load(machine.root, dump_set("a"))
    stubs.add("kexec", 'echo "kexec_file_load failed: Operation not permitted" >&2; exit 1')
    machine.write("proc/sys/kernel/kexec_load_disabled", "1\n")

    with pytest.raises(ToolError) as caught:
        load.load(machine.root, dump_set("b"))

    assert "the one that was loaded before still is\nkexec -s: kexec_file_load failed: Operation not permitted" in str(caught.value)
    assert "hint: kernel.kexec_load_disabled is 1, so nothing can be loaded before the next reboot" in str(caught.value)
    assert names(machine) == ["a"]
    assert read_dump_sets(machine.root)[0].degraded.startswith("kexec -s: kexec_file_load failed: Operation not permitted")


def test_a_used_up_limit_is_named(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kexec", "exit 1")
    machine.write("proc/sys/kernel/kexec_load_limit_panic", "0\n")

    with pytest.raises(NotArmedError, match=r"hint: kernel\.kexec_load_limit_panic is used up"):
        load.load(machine.root, dump_set("a"))


def test_under_lockdown_only_the_syscall_that_is_allowed_is_tried(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("kexec", 'echo "kexec_file_load failed: Key was rejected by service" >&2; exit 1')
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")

    with pytest.raises(
        NotArmedError, match=r"hint: the kernel is locked down \(integrity\): it loads only a kernel that is signed"
    ):
        load.load(machine.root, dump_set("a"))

    assert [call.split()[1] for call in stubs.calls] == ["-s"]


def test_when_somebody_else_loads_at_this_moment_it_tries_again(machine: FakeMachine, stubs: Stubs, tmp_path: Path) -> None:
    once = tmp_path / "once"
    busy = 'echo "kexec_file_load failed: Device or resource busy" >&2; exit 1'
    kexec(machine, stubs, f"[ -e {once} ] || {{ touch {once}; {busy}; }}")

    load.load(machine.root, dump_set("a"))

    assert [call.split()[1] for call in stubs.calls] == ["-s", "-s"]


def test_somebody_who_never_lets_go_is_told_of(machine: FakeMachine, stubs: Stubs) -> None:
    kexec(machine, stubs, 'echo "kexec_file_load failed: Device or resource busy" >&2; exit 1')

    with pytest.raises(NotArmedError, match="Device or resource busy"):
        load.load(machine.root, dump_set("a"))

    # The other syscall has the same lock.
    assert {call.split()[1] for call in stubs.calls} == {"-s"}
    assert len(stubs.calls) > 2


def test_the_last_good_one_is_loaded_without_a_policy_and_counts_for_this_boot(machine: FakeMachine) -> None:
    load.load(machine.root, dump_set("a"))
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")

    assert load.load_last_good(machine.root).boot_id == "boot-2"
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_a_machine_of_which_nothing_loads_any_more_hears_every_reason(machine: FakeMachine, stubs: Stubs) -> None:
    for name in ("a", "b"):
        load.load(machine.root, dump_set(name))
    kexec(machine, stubs, 'echo "cannot open $KERNEL" >&2; exit 1')

    with pytest.raises(NotArmedError) as caught:
        load.load_last_good(machine.root)

    reasons = "kexec -s: cannot open /boot/b\nkexec -c: cannot open /boot/b\nkexec -s: cannot open /boot/a"
    assert reasons in str(caught.value)


def test_a_record_of_another_shape_is_as_good_as_none(machine: FakeMachine) -> None:
    machine.write("var/lib/kdumpd/last-loaded.json", json.dumps({"kernel": "/boot/a"}))

    assert read_dump_sets(machine.root) == ()


def test_the_kernels_log_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        b"4,900,1000,-;Lockdown: kexec: kexec of unsigned images is restricted; see man kernel_lockdown.7\n SUBSYSTEM=x\n",
        b"6,901,1001,-;eth0: link is up\n",
        b"4,902,1002,-;ima: impossible to appraise a kernel image without a file descriptor\n",
    ]
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").symlink_to(f"/proc/self/fd/{reader}")
    monkeypatch.setattr(os, "lseek", lambda *_: 0)

    with KernelLog(tmp_path) as log:
        for record in records:
            os.write(writer, record)
        assert log.lines() == [
            "Lockdown: kexec: kexec of unsigned images is restricted; see man kernel_lockdown.7",
            "ima: impossible to appraise a kernel image without a file descriptor",
        ]
    os.close(reader)
    os.close(writer)


def test_without_a_kernel_log_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with KernelLog(tmp_path) as log:
        assert log.lines() == []


def test_while_somebody_loads_the_kernel_is_asked_again(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = OSError(errno.EBUSY, "busy")
    answers: Iterator[str | OSError] = iter([busy, busy, "201326592\n", "1\n"])

    def read_text(path: Path) -> str | None:
        if "sys/kernel/kexec/" in str(path):
            return None
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(read, "read_text", read_text)

    assert read.read_kexec(machine.root) == Kexec(reserved=192 << 20, loaded=True)


def test_who_loads_for_ever_is_not_waited_for(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_text(path: Path) -> str | None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(read, "read_text", read_text)
    monkeypatch.setattr(read, "BUSY_PATIENCE", 0.1)

    with pytest.raises(BusyError, match="somebody has been loading a dump kernel for 0 s"):
        read.read_kexec(machine.root)
