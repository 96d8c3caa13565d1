# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two doors: what the first leaves, and how the second goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture import console
from kdumpd.capture import main as capture_main
from kdumpd.capture.doors import NOTHING_SAVED, STATE, Door, parse_arguments, time_allowed
from kdumpd.capture.settings import FinalAction, Settings, StoreSettings, VmcoreSettings
from kdumpd.capture.status import Status
from tests.unit.captures import MAKEDUMPFILE, capture, newest_status, only_folder, state, steps
from tests.unit.fakes import FakeMachine, Stubs

BROKEN = "echo no memory >&2; exit 1"
WITH_MEMORY = Settings(vmcore=VmcoreSettings(), keep_free=0)


def test_the_script_of_the_initrd_says_which_door_and_how_long_it_took() -> None:
    assert parse_arguments(["initrd", "init=2.31", "root=3.05"]) == (Door.INITRD, {"init": 2.31, "root": 3.05})


@pytest.mark.parametrize("argv", [[], ["systemd"], ["window", "init=soon", "root"]])
def test_any_other_door_is_systemds_and_what_is_no_milestone_is_left_out(argv: list[str]) -> None:
    assert parse_arguments(argv) == (Door.SYSTEMD, {})


def test_the_first_door_ends_the_machine_when_the_log_is_saved(dump_kernel: FakeMachine) -> None:
    assert capture(dump_kernel, Door.INITRD, init=2.31, root=3.05) == [FinalAction.POWEROFF]

    status = newest_status(dump_kernel)
    assert status.doors == ["initrd"]
    assert {step.door for step in status.steps} == {"initrd"}
    assert list(status.milestones) == ["init", "root", "python", "log_safe", "end"]


def test_the_first_door_that_saved_nothing_leaves_its_story_and_does_not_end_the_machine(
    dump_kernel: FakeMachine, stubs: Stubs
) -> None:
    stubs.add("makedumpfile", BROKEN)

    assert capture(dump_kernel, Door.INITRD, settings=WITH_MEMORY) == [NOTHING_SAVED]
    ((name, ok, detail),) = steps(state(dump_kernel))
    assert (name, ok) == ("dmesg", False)
    assert detail.startswith("makedumpfile failed with 1: no memory")


def test_the_second_door_goes_on_in_the_same_folder_and_tells_both_stories(
    dump_kernel: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs.add("makedumpfile", BROKEN)
    capture(dump_kernel, Door.INITRD, init=2.31)
    folder = only_folder(dump_kernel)
    monkeypatch.setattr(console, "_told", [])
    stubs.add("makedumpfile", MAKEDUMPFILE)

    assert capture(dump_kernel, settings=WITH_MEMORY) == [FinalAction.POWEROFF]
    assert only_folder(dump_kernel) == folder
    status = newest_status(dump_kernel)
    assert [(step.door, step.name, step.ok) for step in status.steps] == [
        ("initrd", "dmesg", False),
        ("systemd", "dmesg", True),
        ("systemd", "pstore", True),
        ("systemd", "vmcore", True),
    ]
    assert status.doors == ["initrd", "systemd"]
    assert list(status.milestones) == ["init", "python", "end", "systemd", "log_safe"]
    log = (folder / "capture.log").read_text()
    assert log.index("nothing is saved yet: going on to start systemd") < log.index("the log is safe in /var/crash/")


def test_a_folder_of_the_first_door_goes_when_another_store_takes_the_log(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", BROKEN)
    capture(dump_kernel, Door.INITRD)
    stubs.add("makedumpfile", MAKEDUMPFILE)
    capture(dump_kernel, settings=Settings(stores=(StoreSettings(path="/srv"), StoreSettings(path="/var/crash"))))

    assert list((dump_kernel.root / "var/crash").iterdir()) == []
    assert newest_status(dump_kernel, "srv").doors == ["initrd", "systemd"]


# The first door as a program of its own, killed by what it calls.
KILLED = """
import sys
from pathlib import Path
from kdumpd.capture import console, program
from kdumpd.capture.doors import Door
from kdumpd.capture.main import Capture
console.KMSG, program.SEARCH_PATH = "/dev/null", sys.argv[2]
Capture(Path(sys.argv[1]), Door.INITRD, {}, end=print, leave=print).run()
"""


def kill_the_first_door(machine: FakeMachine, stubs: Stubs, tmp_path: Path, script: str) -> None:
    stubs.add("makedumpfile", script)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, machine.root, f"{tmp_path / 'bin'}:/usr/bin:/bin"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def test_the_second_door_does_only_what_is_missing_when_the_first_was_killed(
    dump_kernel: FakeMachine, stubs: Stubs, tmp_path: Path
) -> None:
    dump_kernel.write("var/lib/kdumpd/capture.json", WITH_MEMORY.to_json())
    kill_the_first_door(
        dump_kernel, stubs, tmp_path, f'case "$1" in --dump-dmesg | -v) ;; *) kill -9 $PPID; sleep 1;; esac\n{MAKEDUMPFILE}'
    )
    on_disk = newest_status(dump_kernel)
    assert steps(on_disk)[-1] == ("vmcore", False, "was cut off")
    stubs.add("makedumpfile", MAKEDUMPFILE)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert [(step.door, step.name, step.ok) for step in newest_status(dump_kernel).steps] == [
        ("initrd", "dmesg", True),
        ("initrd", "pstore", True),
        ("initrd", "vmcore", False),
        ("systemd", "vmcore", True),
    ]
    assert {path.name for path in only_folder(dump_kernel).iterdir()} == {"dmesg.txt", "vmcore", "status.json", "capture.log"}


def test_a_first_door_that_was_killed_before_the_log_was_safe_has_left_its_folder(
    dump_kernel: FakeMachine, stubs: Stubs, tmp_path: Path
) -> None:
    kill_the_first_door(dump_kernel, stubs, tmp_path, "kill -9 $PPID; sleep 1")
    left = state(dump_kernel)
    assert steps(left) == [("dmesg", False, "was cut off")]
    stubs.add("makedumpfile", MAKEDUMPFILE)
    capture(dump_kernel)

    assert f"/var/crash/{only_folder(dump_kernel).name}" == left.folder


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"started": 1, "kernel": 2, "steps": 3}'])
def test_a_story_that_can_not_be_read_is_begun_anew(dump_kernel: FakeMachine, text: str) -> None:
    dump_kernel.write(f"{STATE}/status.json", text)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert newest_status(dump_kernel).doors == ["systemd"]


def test_the_deadline_of_the_first_door_hands_over_while_a_step_hangs(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    def hangs(*_: object, **__: object) -> None:
        time.sleep(1.5)
        raise OSError

    monkeypatch.setattr(capture_main, "save_dmesg", hangs)
    monkeypatch.setattr(capture_main, "HANG_GRACE", 5)
    began, left = time.monotonic(), list[tuple[int, float, Status]]()

    def leave(code: int) -> None:
        left.append((code, time.monotonic() - began, state(dump_kernel)))

    dump_kernel.write("var/lib/kdumpd/capture.json", Settings(deadline=1).to_json())
    capture_main.Capture(dump_kernel.root, Door.INITRD, {}, end=lambda action: None, leave=leave).run()

    ((code, seconds, status),) = left
    assert (code, seconds < 1.5) == (NOTHING_SAVED, True)
    assert steps(status) == [("dmesg", False, "was cut off: the deadline of 1 s has passed")]
    assert "kdumpd: the deadline of 1 s has passed\n" in said()


def test_both_doors_together_keep_the_deadline_but_the_second_has_a_minute() -> None:
    assert time_allowed(Door.INITRD, 300, 4) == 300
    assert time_allowed(Door.SYSTEMD, 300, 40) == 260
    assert time_allowed(Door.SYSTEMD, 300, 290) == 60


def test_a_defect_before_the_log_is_safe_hands_over_too(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> int:
        raise SystemExit("nobody exits here")

    monkeypatch.setattr(capture_main, "learn", broken)

    assert capture(dump_kernel, Door.INITRD) == [NOTHING_SAVED]
    assert capture(dump_kernel, Door.SYSTEMD) == [FinalAction.REBOOT]


def test_without_a_vmcore_the_second_door_would_find_nothing_either(dump_kernel: FakeMachine) -> None:
    (dump_kernel.root / "proc/vmcore").unlink()

    assert capture(dump_kernel, Door.INITRD) == [FinalAction.REBOOT]


def test_the_peak_of_the_memory_is_that_of_both_doors(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", BROKEN)
    dump_kernel.write("proc/meminfo", "MemTotal: 155144 kB\nMemAvailable: 9000 kB\n")
    capture(dump_kernel, Door.INITRD)
    dump_kernel.write("proc/meminfo", "MemTotal: 155144 kB\nMemAvailable: 120000 kB\n")
    stubs.add("makedumpfile", MAKEDUMPFILE)
    capture(dump_kernel)

    assert newest_status(dump_kernel).memory_kib.lowest_available == 9000
