# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the last boot ended: no false alarm, and no crash that nobody hears of."""

import json
import shutil
from pathlib import Path

import pytest

from kdumpd.capture.settings import Settings, StoreSettings
from kdumpd.capture.status import Status, Step
from kdumpd.cli.main import main
from kdumpd.crashes.last_end import Ended, LastEnd, read_last_end, reconcile
from kdumpd.daemon.job import keep_armed
from kdumpd.state.screen import screen
from kdumpd.state.state import read_state
from tests.unit.fakes import FakeMachine, armed
from tests.unit.pstores import EFI, TIME, dump, lines, oops, panic, put, record

STORES = ("/var/crash",)
CUT_OFF = "cut off: neither a shutdown nor a crash; power, reset button or a freeze"


@pytest.fixture
def booted(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """The first boot after the installation."""
    monkeypatch.setattr("kdumpd.cli.harvest.ROOT", machine.root)
    (machine.root / "sys/fs/pstore").mkdir(parents=True)
    boot(machine, 1)
    return machine


def boot(machine: FakeMachine, number: int) -> LastEnd | None:
    """What the unit does when the machine boots."""
    machine.write("proc/sys/kernel/random/boot_id", f"{number:036}\n")
    assert main(["harvest", "--quiet"]) == 0
    return read_last_end(machine.root)


def shut_down(machine: FakeMachine) -> None:
    """What the unit's ExecStop= does."""
    with (machine.root / "var/lib/kdumpd/clean-end").open("r+b") as file:
        file.write(machine.read("proc/sys/kernel/random/boot_id").encode())


def capture(machine: FakeMachine, log: str | None, store: str = "var/crash") -> None:
    """What a dump kernel leaves."""
    folder = f"{store}/2026-11-22T14-43-20Z"
    steps = [Step("dmesg", bool(log), 0.1, 1, "" if log else "the disk is full")]
    machine.write(f"{folder}/status.json", Status(started="2026-11-22T14:43:21Z", kernel="6.1", steps=steps).to_json())
    if log:
        machine.write(f"{folder}/dmesg.txt", log)


def pstore(machine: FakeMachine) -> Path:
    return machine.root / "sys/fs/pstore"


def ended(found: LastEnd | None) -> tuple[Ended, str]:
    assert found is not None
    return found.ended, found.words


def test_nothing_is_known_in_the_first_boot(booted: FakeMachine) -> None:
    assert read_last_end(booted.root) is None


def test_a_shutdown_is_clean(booted: FakeMachine) -> None:
    shut_down(booted)

    assert ended(boot(booted, 2)) == (Ended.CLEAN, "clean")


def test_without_a_shutdown_and_without_a_crash_it_was_cut_off(booted: FakeMachine) -> None:
    assert ended(boot(booted, 2)) == (Ended.CUT_OFF, CUT_OFF)


def test_each_boot_is_judged_by_its_own_end(booted: FakeMachine) -> None:
    shut_down(booted)
    boot(booted, 2)
    assert ended(boot(booted, 3))[0] is Ended.CUT_OFF
    shut_down(booted)
    assert ended(boot(booted, 4))[0] is Ended.CLEAN


def test_a_dump_is_told(booted: FakeMachine) -> None:
    capture(booted, panic(4))

    assert ended(boot(booted, 2)) == (Ended.WITH_DUMP, "crashed, with a dump: Kernel panic - not syncing: sysrq triggered crash")
    shut_down(booted)
    assert ended(boot(booted, 3)) == (Ended.CLEAN, "clean")


def test_a_capture_that_saved_nothing_is_no_dump(booted: FakeMachine) -> None:
    capture(booted, None)

    assert ended(boot(booted, 2)) == (Ended.WITHOUT_DUMP, "crashed, without a dump: no log was saved: the disk is full")


def test_a_crash_that_only_pstore_has_is_one_without_a_dump(booted: FakeMachine) -> None:
    put(pstore(booted), *dump(TIME, 1, "Panic", panic(4)))

    found = boot(booted, 2)
    assert ended(found)[0] is Ended.WITHOUT_DUMP
    assert found is not None
    assert Path(found.folder).parent == booted.root / "var/crash"


def test_a_crash_that_both_have_is_one_with_a_dump(booted: FakeMachine) -> None:
    capture(booted, lines(1, 3) + panic(4))
    put(pstore(booted), *dump(TIME, 1, "Panic", lines(1, 3) + panic(4)))

    assert ended(boot(booted, 2))[0] is Ended.WITH_DUMP


@pytest.mark.parametrize(("clean", "verdict"), [(True, Ended.CLEAN), (False, Ended.WITHOUT_DUMP)])
def test_an_oops_that_was_survived_is_no_end(booted: FakeMachine, clean: bool, verdict: Ended) -> None:
    put(pstore(booted), *dump(TIME, 1, "Oops", oops(4)))
    if clean:
        shut_down(booted)

    assert ended(boot(booted, 2))[0] is verdict


def test_a_record_of_a_shutdown_is_no_crash(booted: FakeMachine) -> None:
    put(pstore(booted), *dump(TIME, 1, "Shutdown", lines(1, 3)))
    shut_down(booted)

    assert ended(boot(booted, 2))[0] is Ended.CLEAN


def test_a_panic_on_the_way_out_is_a_crash(booted: FakeMachine) -> None:
    put(pstore(booted), *dump(TIME, 1, "Panic", panic(4)))
    shut_down(booted)

    assert ended(boot(booted, 2))[0] is Ended.WITHOUT_DUMP


def test_a_second_harvest_in_the_same_boot_changes_nothing(booted: FakeMachine) -> None:
    capture(booted, panic(4))
    before = boot(booted, 2)
    shutil.rmtree(booted.root / "var/crash")

    assert boot(booted, 2) == before
    assert ended(boot(booted, 3))[0] is Ended.CUT_OFF


def test_a_restart_of_the_unit_is_no_shutdown(booted: FakeMachine) -> None:
    shut_down(booted)
    boot(booted, 1)

    assert ended(boot(booted, 2))[0] is Ended.CUT_OFF


def test_what_was_harvested_from_elsewhere_is_no_crash_of_this_machine(booted: FakeMachine, tmp_path: Path) -> None:
    boot(booted, 2)
    put(tmp_path / "of another", *dump(TIME, 1, "Panic", panic(4)))
    assert main(["harvest", "--from", str(tmp_path / "of another")]) == 0
    assert ended(boot(booted, 2))[0] is Ended.CUT_OFF
    shut_down(booted)

    assert ended(boot(booted, 3)) == (Ended.CLEAN, "clean")


def test_a_crash_that_could_not_be_saved_is_told_and_then_found(booted: FakeMachine) -> None:
    put(pstore(booted), *dump(TIME, 1, "Panic", panic(4)))
    booted.write("proc/sys/kernel/random/boot_id", f"{2:036}\n")
    booted.write("var/crash", "in the way")
    assert main(["harvest"]) == 1
    assert ended(read_last_end(booted.root)) == (
        Ended.WITHOUT_DUMP,
        "crashed, without a dump: what pstore has of it could not be saved",
    )

    (booted.root / "var/crash").unlink()
    assert ended(boot(booted, 2))[1] == "crashed, without a dump: Kernel panic - not syncing: sysrq triggered crash"


def test_a_test_that_left_nothing_is_told_as_one_and_stays_so_after_it_was_judged(booted: FakeMachine) -> None:
    booted.write("var/lib/kdumpd/test.json", json.dumps({"boot_id": f"{1:036}"}))

    found = boot(booted, 2)
    assert ended(found)[1] == "crashed, without a dump: kdumpd test has crashed the machine, but nothing was saved"
    (booted.root / "var/lib/kdumpd/test.json").unlink()
    assert boot(booted, 2) == found


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot_id": 1}', "\0" * 37])
def test_a_damaged_record_of_the_boot_gives_no_alarm(booted: FakeMachine, text: str) -> None:
    for name in ("this-boot.json", "clean-end", "last-end.json"):
        booted.write(f"var/lib/kdumpd/{name}", text)

    assert boot(booted, 2) is None
    assert ended(boot(booted, 3))[0] is Ended.CUT_OFF


def test_without_the_unit_nothing_is_judged(machine: FakeMachine) -> None:
    reconcile(machine.root, STORES, begins=False)

    assert not (machine.root / "var/lib/kdumpd").exists()


def test_status_tells_in_one_line(booted: FakeMachine, tmp_path: Path) -> None:
    policy = tmp_path / "kdumpd.yaml"
    policy.write_text("")
    assert not [line for line in screen(read_state(booted.root, policy)) if "last end" in line]
    boot(booted, 2)

    state = read_state(booted.root, policy)
    assert f"  last end      {CUT_OFF}" in list(screen(state))
    assert state.to_json()["last_end"]["ended"] == "cut-off"


def test_the_daemon_tells_once_and_harvests_what_came_later(
    booted: FakeMachine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "kdumpd.yaml"
    policy.write_text("crashkernel: 192M\n")
    armed(booted)
    boot(booted, 2)
    for _ in range(2):
        keep_armed(booted.root, policy)
    assert capfd.readouterr().err.count(f"<5>the last boot of this machine was {CUT_OFF}") == 1

    put(pstore(booted), record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(4)}".encode()))
    for _ in range(2):
        keep_armed(booted.root, policy)
    told = capfd.readouterr().err
    assert told.count("<4>the last boot of this machine crashed, without a dump: Kernel panic") == 1
    assert told.count("<2>this machine crashed at 2026-11-22T") == 1


def test_real_records_are_a_crash_without_a_dump(booted: FakeMachine) -> None:
    booted.write("var/lib/kdumpd/capture.json", Settings(stores=(StoreSettings(path="/srv/crash"),)).to_json())
    shutil.copytree(EFI, pstore(booted), dirs_exist_ok=True)

    assert ended(boot(booted, 2))[1].startswith("crashed, without a dump: BUG: kernel NULL pointer dereference")
