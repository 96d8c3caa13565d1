# SPDX-License-Identifier: LGPL-2.1-or-later
"""The smaller parts of a capture: names of folders, crash loops, the watchdog, the last resort, what it says."""

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.capture import console, dead_kernel, last_resort, machine, patience, watchdog
from kdumpd.capture import main as capture_main
from kdumpd.capture.console import say, size_text, told
from kdumpd.capture.crash_loop import crash_loop
from kdumpd.capture.doors import Door
from kdumpd.capture.folders import crash_time, discard, new_crash_folder
from kdumpd.capture.program import Saved, SaveError
from kdumpd.capture.settings import CrashLoop, FinalAction, Settings, StoreSettings, VmcoreSettings
from kdumpd.capture.vmcoreinfo import CrashedKernel
from kdumpd.capture.watchdog import start_watchdog
from tests.unit.captures import capture, newest_status, only_folder
from tests.unit.fakes import FakeMachine, Stubs

# 2026-11-22T03:04:05Z
CRASHED = 1795316645


@pytest.fixture
def crashed(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> CrashedKernel:
    """The dead kernel has left who it was."""
    kernel = CrashedKernel(release="6.1.0-56-cloud-amd64", time=CRASHED, build_id="ab12", kaslr_offset=0x1A00000)
    monkeypatch.setattr(dead_kernel, "read_vmcoreinfo", lambda vmcore: {})
    monkeypatch.setattr(dead_kernel, "crashed_kernel", lambda info: kernel)
    return kernel


def test_the_folder_has_the_time_of_the_crash_and_the_status_who_crashed(dump_kernel: FakeMachine, crashed: CrashedKernel) -> None:
    capture(dump_kernel)

    assert only_folder(dump_kernel).name == "2026-11-22T03-04-05Z"
    crash = newest_status(dump_kernel).crash
    assert (crash.time, crash.release) == ("2026-11-22T03:04:05Z", crashed.release)
    assert (crash.build_id, crash.kaslr_offset) == (crashed.build_id, crashed.kaslr_offset)


def test_a_dead_kernel_that_left_nothing_is_captured_too(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    def broken(vmcore: Path) -> dict[str, str]:
        raise IndexError

    monkeypatch.setattr(dead_kernel, "read_vmcoreinfo", broken)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert "kdumpd: cannot tell what has crashed: a defect in kdumpd: IndexError()\n" in said()


def test_the_time_of_the_crash_is_the_dead_kernels() -> None:
    assert crash_time(CRASHED, CRASHED + 40) == (CRASHED, "")


@pytest.mark.parametrize("clock", [0, CRASHED - 86401, CRASHED + 86401])
def test_a_clock_that_differs_by_days_is_not_believed_but_told(clock: int) -> None:
    when, remark = crash_time(CRASHED, clock)

    assert when == CRASHED
    assert remark.startswith("the clock of this dump kernel says ")


@pytest.mark.parametrize("left", [None, 0, 1577836799, 4102444801, 1 << 63])
def test_a_time_that_can_not_be_is_replaced_by_the_clocks(left: int | None) -> None:
    when, remark = crash_time(left, CRASHED + 0.5)

    assert when == CRASHED
    assert "so this is the time of the capture" in remark


def test_two_crashes_in_one_second_get_two_folders_for_root_only(tmp_path: Path) -> None:
    folders = [new_crash_folder(tmp_path, CRASHED) for _ in range(3)]

    assert [folder.name for folder in folders] == ["2026-11-22T03-04-05Z", "2026-11-22T03-04-05Z-1", "2026-11-22T03-04-05Z-2"]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_no_number_of_crashes_in_one_second_is_too_high(tmp_path: Path) -> None:
    names = [new_crash_folder(tmp_path, CRASHED).name for _ in range(150)]

    assert names[-1] == "2026-11-22T03-04-05Z-149"


def test_a_number_that_was_set_free_is_not_given_to_a_later_crash(tmp_path: Path) -> None:
    first, second = (new_crash_folder(tmp_path, CRASHED) for _ in range(2))
    first.rmdir()

    assert new_crash_folder(tmp_path, CRASHED).name == f"{second.name.removesuffix('-1')}-2"


def test_a_name_that_kdumpd_would_not_give_does_not_make_the_next_one_too_long(tmp_path: Path) -> None:
    (tmp_path / f"2026-11-22T03-04-05Z-{'9' * 230}").mkdir()

    assert new_crash_folder(tmp_path, CRASHED).name == "2026-11-22T03-04-05Z"


def test_only_a_folder_without_anything_of_the_crash_is_discarded(tmp_path: Path) -> None:
    for name in ("told/status.json", "told/capture.log", "kept/status.json", "kept/dmesg.txt.incomplete"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    discard([tmp_path / "told", tmp_path / "kept", tmp_path / "gone"])

    assert not (tmp_path / "told").exists()
    assert len(list((tmp_path / "kept").iterdir())) == 2


def old_crashes(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)


def test_more_crashes_within_the_time_than_are_allowed_are_a_loop(tmp_path: Path) -> None:
    old_crashes(
        tmp_path,
        "2026-11-22T02-03-04Z",
        "2026-11-22T03-00-00Z",
        "2026-11-22T03-00-00Z-1",
        "2026-11-22T03-05-00Z",
        "2026-13-45T00-00-00Z",
    )
    newest = new_crash_folder(tmp_path, CRASHED)

    assert crash_loop(newest, CRASHED, [], CrashLoop(crashes=3, within=600)) == ""
    assert crash_loop(newest, CRASHED, [], CrashLoop(crashes=2, within=600)) == (
        "3 crashes in 10 min, and more than 2 are a crash loop: only the log is saved, and the machine is powered off"
    )


def test_the_crashes_of_other_stores_count_too(tmp_path: Path) -> None:
    old_crashes(tmp_path / "other", "2026-11-22T03-00-00Z")
    newest = new_crash_folder(tmp_path / "this", CRASHED)

    assert crash_loop(newest, CRASHED, [tmp_path / "other", tmp_path / "gone"], CrashLoop(crashes=1, within=600))


def test_a_crash_loop_saves_the_log_only_and_powers_off(
    dump_kernel: FakeMachine, crashed: CrashedKernel, stubs: Stubs, said: Callable[[], str]
) -> None:
    old_crashes(dump_kernel.root / "var/crash", "2026-11-22T03-00-00Z", "2026-11-22T03-01-00Z")
    settings = Settings(crash_loop=CrashLoop(crashes=2, within=600), vmcore=VmcoreSettings(), keep_free=0, then=FinalAction.REBOOT)

    assert capture(dump_kernel, settings=settings) == [FinalAction.POWEROFF]
    status = newest_status(dump_kernel)
    assert [step.name for step in status.steps] == ["dmesg", "pstore"]
    assert status.crash_loop.startswith("3 crashes in 10 min")
    assert f"kdumpd: {status.crash_loop}\n" in said()
    assert status.final_action == "poweroff"


def test_the_watchdog_is_fed_until_it_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "INTERVAL", 0.01)
    device = tmp_path / "watchdog0"
    device.touch()
    dog = start_watchdog(device, lambda: True)
    assert dog
    time.sleep(0.2)
    dog.release()
    dog.release()
    fed = device.read_bytes()
    time.sleep(0.1)

    assert fed.endswith(b"\0\0V")
    assert device.read_bytes().rstrip(b"\0") == fed


def test_the_watchdog_is_left_to_bite_when_the_time_is_over(tmp_path: Path) -> None:
    device = tmp_path / "watchdog0"
    device.touch()
    start_watchdog(device, lambda: False)
    time.sleep(0.1)

    assert device.read_bytes() == b""


def test_a_machine_without_a_watchdog_or_with_a_busy_one_is_captured(tmp_path: Path, said: Callable[[], str]) -> None:
    assert start_watchdog(tmp_path / "watchdog0", lambda: True) is None
    assert said() == ""
    assert start_watchdog(tmp_path, lambda: True) is None
    assert said() == "<2>kdumpd: the watchdog can't be used: Is a directory\n"


@pytest.mark.parametrize(
    ("door", "then", "fed"),
    [(Door.INITRD, "poweroff", b"\0"), (Door.INITRD, "halt", b"\0V"), (Door.SYSTEMD, "poweroff", b"")],
)
def test_the_first_door_feeds_the_watchdog_to_the_end_but_lets_a_halted_machine_rest(
    dump_kernel: FakeMachine, door: Door, then: str, fed: bytes
) -> None:
    dump_kernel.write("dev/watchdog0", "")
    capture(dump_kernel, door, settings=Settings(then=FinalAction(then)))

    assert (dump_kernel.root / "dev/watchdog0").read_bytes() == fed


def test_the_second_door_can_take_the_watchdog_over(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", "exit 1")
    dump_kernel.write("dev/watchdog0", "")
    capture(dump_kernel, Door.INITRD)

    assert (dump_kernel.root / "dev/watchdog0").read_bytes() == b"\0V"


NO_STORE = Settings(stores=(StoreSettings(path="/proc/vmcore"),))
TAIL = ["[    9.1] Kernel panic - not syncing", "[    9.2] \udcff the end"]


@pytest.fixture
def tail(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    dump_kernel.write("var/crash", "not even the last store is a folder")
    monkeypatch.setattr(last_resort, "log_tail", lambda vmcore, lines: TAIL)


def test_when_no_store_takes_the_log_its_end_goes_to_the_console(
    dump_kernel: FakeMachine, tail: None, said: Callable[[], str]
) -> None:
    assert capture(dump_kernel, settings=NO_STORE) == [FinalAction.REBOOT]
    assert (
        "<2>kdumpd: no store took the log\n"
        "<2>kdumpd: these are the last 2 lines of the log:\n"
        "<2>kdumpd: [    9.1] Kernel panic - not syncing\n"
        "<2>kdumpd: [    9.2] ? the end\n"
        "<2>kdumpd: they are nowhere but here: /dev/pmsg0: No such file or directory\n"
    ) in said()


def test_and_into_pstore_where_a_program_may_write_there(dump_kernel: FakeMachine, tail: None, said: Callable[[], str]) -> None:
    dump_kernel.write("dev/pmsg0", "")
    capture(dump_kernel, settings=NO_STORE)

    assert dump_kernel.read("dev/pmsg0") == "[    9.1] Kernel panic - not syncing\n[    9.2] ? the end\n"
    assert "they are kept in pstore too" in said()


def test_the_first_door_leaves_the_last_resort_to_the_second(dump_kernel: FakeMachine, tail: None, said: Callable[[], str]) -> None:
    capture(dump_kernel, Door.INITRD, settings=NO_STORE)

    assert "last 2 lines" not in said()


def test_the_log_of_the_capture_has_a_time_on_every_line(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_main, "save_dmesg", lambda *_, **__: Saved(84 << 10, "read by vmcore-dmesg"))
    monkeypatch.setattr(console, "uptime", lambda: 4.1)
    capture(dump_kernel)

    folder = only_folder(dump_kernel)
    lines = (folder / "capture.log").read_text().splitlines()
    assert lines[0] == "[     4.10] this machine has crashed; this is its dump kernel, saving the log"
    safe = rf"\[     4\.10\] the log is safe in /var/crash/{folder.name}: 84 KiB \(\d\.\d s, read by vmcore-dmesg\)"
    assert any(re.fullmatch(safe, line) for line in lines)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (84 << 10, "84 KiB"), (3 << 19, "1.5 MiB"), (2 << 30, "2.0 GiB")]
)
def test_sizes_are_in_the_unit_that_a_person_would_take(size: int, text: str) -> None:
    assert size_text(size) == text


@given(st.text())
def test_whatever_is_said_is_one_message_that_the_kernel_takes(text: str) -> None:
    say(text + "x" * 2000)

    assert told()


def test_what_nobody_can_be_told_does_not_stop_the_capture(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(console, "KMSG", "/nowhere/kmsg")
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stderr", broken)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    with pytest.raises(BrokenPipeError):
        broken.close()


@pytest.mark.parametrize("problem", [SystemExit, MemoryError, KeyboardInterrupt, BrokenPipeError])
@pytest.mark.parametrize(("place", "end"), [("learn", FinalAction.REBOOT), ("read_parameters", FinalAction.POWEROFF)])
def test_nothing_prevents_the_end(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch, problem: type[BaseException], place: str, end: FinalAction
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(capture_main, place, broken)
    monkeypatch.setattr("kdumpd.capture.story.Story.save", broken)

    assert capture(dump_kernel) == [end]


def test_who_hangs_is_left_alone() -> None:
    began = time.monotonic()
    with pytest.raises(SaveError, match="the disk was still hanging after 0 s"):
        patience.call(lambda: time.sleep(30), timeout=0.1, what="the disk")
    assert time.monotonic() - began < 20


def test_a_sync_that_hangs_does_not_keep_the_machine_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: time.sleep(30))
    monkeypatch.setattr(machine, "SYNC_PATIENCE", 0.1)
    began = time.monotonic()
    machine.sync_with_patience()

    assert time.monotonic() - began < 20
