# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd harvest`: nothing of a crash is lost, and nothing is there twice, whatever happens on the way."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture.settings import Mount, Settings, StoreSettings
from kdumpd.cli.main import main
from kdumpd.crashes.harvest import Harvested, find_records, harvest
from kdumpd.crashes.make import make_report, record_report
from kdumpd.crashes.record import read_report
from kdumpd.crashes.report import Record, Source
from kdumpd.errors import HostError
from tests.unit.fakes import FakeMachine, file_system, fill
from tests.unit.pstores import EFI, RAMOOPS, TIME, dump, efi, lines, oops, panic, put, record

EFI_CRASH = "2026-11-22T14-43-20Z"
DMESG = Path(__file__).parents[1] / "data/dmesg"


@pytest.fixture
def pstore(tmp_path: Path) -> Path:
    folder = tmp_path / "pstore"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "crash"
    folder.mkdir()
    return folder


def run(pstore: Path, store: Path, *more: Path, told: list[str] | None = None) -> list[Harvested]:
    return harvest(pstore, store, [store, *more], (told if told is not None else []).append)


def crashes(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.name != ".harvest")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def spooled(store: Path) -> list[str]:
    return sorted(path.name for path in (store / ".harvest").rglob("*") if path.is_file())


def fill_with(folder: Path, source: Path) -> None:
    for path in source.iterdir():
        shutil.copy2(path, folder)


def test_a_crash_in_efi_variables_becomes_a_crash_folder(pstore: Path, store: Path) -> None:
    fill_with(pstore, EFI)
    (found,) = run(pstore, store)

    folder = store / found.folder.name
    assert crashes(store) == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["dmesg.txt", "pstore", "report.json"]
    assert contents(folder / "pstore") == contents(EFI)
    assert list(pstore.iterdir()) == []
    assert spooled(store) == []
    report = read_report(folder)
    assert report == found.report
    assert report.told is not None
    assert (report.source, report.told.kind, report.told.function, report.told.fatal) == (
        Source.PSTORE,
        "null-deref",
        "kc_null",
        True,
    )
    assert report.records == (
        Record(backend="efi", reason="Oops", count=1, parts=14),
        Record(backend="efi", reason="Panic", count=2, parts=15),
    )
    assert not found.has_dump


def test_the_folder_is_named_by_the_time_of_the_crash_and_only_root_may_look(pstore: Path, store: Path) -> None:
    put(pstore, *dump(TIME, 1, "Panic", panic(4)))
    put(pstore, record("dmesg-ramoops-0", f"Panic#1 Part1\n{lines(1, 3)}{panic(4)}".encode(), time=TIME))
    run(pstore, store)

    first, second = crashes(store)
    assert second == f"{first}-1"
    assert first.startswith("2026-11-22T")
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.rglob("*") if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.rglob("*") if path.is_file()} == {0o600}


def test_no_number_of_crashes_in_one_second_keeps_the_records_in_the_spool(pstore: Path, store: Path) -> None:
    fill_with(pstore, EFI)
    for name in (EFI_CRASH, *(f"{EFI_CRASH}-{number}" for number in range(1, 100))):
        (store / name).mkdir()
    (found,) = run(pstore, store)

    assert found.folder.name == f"{EFI_CRASH}-100"


def test_records_keep_their_time(pstore: Path, store: Path) -> None:
    put(pstore, record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(4)}".encode(), time=TIME + 5))
    (found,) = run(pstore, store)

    assert (found.folder / "pstore/dmesg-ramoops-0").stat().st_mtime == TIME + 5


def test_a_second_harvest_finds_nothing(pstore: Path, store: Path) -> None:
    fill_with(pstore, RAMOOPS)
    run(pstore, store)
    before = contents(store)

    assert run(pstore, store) == []
    assert contents(store) == before


def test_ramoops_uses_its_names_again_and_nothing_is_overwritten(pstore: Path, store: Path) -> None:
    for number in range(3):
        put(pstore, record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(4 + number)}".encode(), time=TIME + number * 1000))
        run(pstore, store)

    assert len(crashes(store)) == 3
    assert len({(store / name / "dmesg.txt").read_text() for name in crashes(store)}) == 3
    signatures = {report.told.signature for name in crashes(store) if (report := read_report(store / name)).told}
    assert len(signatures) == 1


def test_a_name_that_is_still_in_the_spool_from_a_harvest_that_was_cut_off_is_not_overwritten(pstore: Path, store: Path) -> None:
    put(store / ".harvest/pstore", record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(4)}".encode(), time=TIME))
    put(pstore, record("dmesg-ramoops-0", f"Panic#1 Part1\n{panic(5)}".encode(), time=TIME + 1000))
    run(pstore, store)

    assert sorted((store / name / "dmesg.txt").read_text() for name in crashes(store)) == [panic(4), panic(5)]


def test_a_record_that_its_backend_does_not_forget_is_not_taken_for_another_crash(pstore: Path, store: Path) -> None:
    fill_with(pstore, RAMOOPS)
    run(pstore, store)
    before = contents(store)
    fill_with(pstore, RAMOOPS)

    assert run(pstore, store) == []
    assert contents(store) == before
    assert list(pstore.iterdir()) == []


def test_an_oops_that_the_kernel_survived_is_told_as_one(pstore: Path, store: Path) -> None:
    put(pstore, *dump(TIME, 1, "Oops", lines(1, 3), oops(4)))
    (found,) = run(pstore, store)

    assert found.report.told is not None
    assert not found.report.told.fatal
    assert found.report.verdict.endswith("in kc_null() of module kcrash (it did not end the kernel, as far as pstore tells)")
    assert read_report(found.folder) == found.report == make_report(found.folder)


def test_a_record_that_tells_of_no_crash_is_kept_but_makes_none(pstore: Path, store: Path) -> None:
    put(pstore, *dump(TIME, 1, "Shutdown", lines(1, 3)))

    assert run(pstore, store) == []
    assert crashes(store) == []
    assert list(pstore.iterdir()) == []
    assert len(spooled(store)) == 1


def test_records_of_a_crash_that_was_dumped_go_to_its_dump(pstore: Path, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in (EFI_CRASH, "2026-11-22T14-50-00Z"):
        (other / name).mkdir(parents=True)
    # The dump's own format: no level, and a caller.
    log = "".join(line.replace("] ", "][ T1] ", 1)[3:] for line in (lines(1, 40) + oops(41) + panic(41)).splitlines(keepends=True))
    (other / EFI_CRASH / "dmesg.txt").write_text(f"{log}[   42.000000] later\n")
    (other / "2026-11-22T14-50-00Z/dmesg.txt").write_text(log.replace("000001]", "000002]"))
    before = record_report(other / EFI_CRASH)
    put(pstore, *dump(TIME, 1, "Oops", lines(1, 40), oops(41)), *dump(TIME, 2, "Panic", lines(20, 40), oops(41) + panic(41)))

    (found,) = run(pstore, store, other)
    assert found.folder == other / EFI_CRASH
    assert crashes(store) == []
    assert len(contents(found.folder / "pstore")) == 4
    assert [each.reason for each in found.report.records] == ["Oops", "Panic"]
    report = json.loads((found.folder / "report.json").read_text())
    assert report | {"records": []} == json.loads(before.to_text())
    assert read_report(found.folder) == found.report


@pytest.mark.parametrize("name", [path.name for path in sorted(DMESG.iterdir())])
def test_a_real_dump_of_another_crash_is_left_alone(pstore: Path, store: Path, name: str) -> None:
    (store / EFI_CRASH).mkdir()
    shutil.copy(DMESG / name, store / EFI_CRASH / "dmesg.txt")
    fill_with(pstore, EFI)
    run(pstore, store)

    assert len(crashes(store)) == 2
    assert sorted(path.name for path in (store / EFI_CRASH).iterdir()) == ["dmesg.txt"]


def test_what_is_no_record_is_left_alone_and_told(pstore: Path, store: Path, tmp_path: Path) -> None:
    deep = pstore / "179535860/1"
    put(deep, *dump(TIME, 1, "Panic", panic(4)))
    (deep / "dmesg.txt").write_text("by systemd")
    (pstore / "link").symlink_to(tmp_path)
    os.mkfifo(pstore / "dmesg-efi-1")
    told: list[str] = []
    (found,) = run(pstore, store, told=told)

    assert (found.folder / "dmesg.txt").read_text() == panic(4)
    left = (deep / "dmesg.txt", pstore / "dmesg-efi-1", pstore / "link")
    assert sorted(told) == [f"{path} is left alone: it is not a record of pstore" for path in left]
    assert [path.name for path in deep.iterdir()] == ["dmesg.txt"]


def test_a_folder_deeper_than_systemds_is_not_searched(pstore: Path) -> None:
    put(pstore / "1/2/3", *dump(TIME, 1, "Panic", panic(4)))

    assert find_records(pstore) == ([], [pstore / "1/2/3"])


def test_records_for_which_there_is_no_room_stay_where_they_are(pstore: Path, tmp_path: Path) -> None:
    fill_with(pstore, EFI)
    with file_system(tmp_path / "disk", 512) as disk:
        fill(disk, 48)
        with pytest.raises(HostError, match=r"of 29 records were saved, the others are still in pstore: No space left") as caught:
            run(pstore, disk)
        taken = contents(disk / ".harvest/pstore")
        assert crashes(disk) == ["ballast"]
        assert {**taken, **contents(pstore)} == contents(EFI)
        assert len(taken) + len(contents(pstore)) == 29
        assert str(caught.value).endswith(f"hint: make room in {disk}, then run kdumpd harvest")

        (disk / "ballast").unlink()
        (found,) = run(pstore, disk)
        assert contents(found.folder / "pstore") == contents(EFI)


def test_where_there_is_no_room_for_the_crash_folder_the_records_wait(pstore: Path, tmp_path: Path) -> None:
    fill_with(pstore, RAMOOPS)
    with file_system(tmp_path / "disk", 512) as disk:
        fill(disk, 120)
        with pytest.raises(HostError, match="No space left on device"):
            run(pstore, disk)
        assert contents(disk / ".harvest/pstore") == contents(RAMOOPS)
        assert crashes(disk) == ["ballast"]

        (disk / "ballast").unlink()
        assert len(run(pstore, disk)) == 1


# What reaches the disk, or leaves it.
STEPS = ("fsync", "rename", "unlink", "mkdir", "utime", "rmdir")


def _in_a_child(work: Callable[[], object], *, dies_at: int) -> bool:
    """Runs it in a process that is killed at the n-th step; returns whether it came to its end."""
    child = os.fork()
    if child == 0:
        left = [dies_at]

        def counted(step: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return step(*arguments, **named)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not go on as another test run
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 0


@pytest.fixture(params=["own folder", "dump"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    """Makes a pstore with a crash and a record of none, and a store where the crash was dumped, or not."""
    count = iter(range(10_000))

    def make() -> tuple[Path, Path]:
        place = tmp_path / str(next(count))
        pstore, store = place / "pstore", place / "crash"
        put(pstore, *dump(TIME, 1, "Oops", lines(1, 9), oops(10)), *dump(TIME, 2, "Panic", oops(10), panic(10)))
        put(pstore, record("dmesg-ramoops-0", f"Shutdown#1 Part1\n{lines(1, 3)}".encode(), time=TIME))
        store.mkdir()
        if request.param == "dump":
            (store / EFI_CRASH).mkdir()
            (store / EFI_CRASH / "dmesg.txt").write_text(lines(1, 9) + oops(10) + panic(10))
            record_report(store / EFI_CRASH)
        return pstore, store

    return make


def test_a_harvest_that_is_killed_at_any_step_is_finished_by_the_next(scene: Callable[[], tuple[Path, Path]]) -> None:
    pstore, store = scene()
    run(pstore, store)
    wanted = contents(store)
    assert len(crashes(store)) == 1

    for step in range(1, 1000):
        pstore, store = scene()
        at_its_end = _in_a_child(lambda p=pstore, s=store: run(p, s), dies_at=step)  # type: ignore[misc]
        # Nobody finds a half of a crash.
        assert all((store / name / "dmesg.txt").exists() for name in crashes(store)), step
        run(pstore, store)
        assert contents(store) == wanted, step
        assert list(pstore.iterdir()) == [], step
        if at_its_end:
            break
    assert step > 40


def test_two_at_once_make_one_crash(pstore: Path, store: Path) -> None:
    fill_with(pstore, EFI)
    program = (
        "import sys; from pathlib import Path; from kdumpd.crashes.harvest import harvest\n"
        "harvest(Path(sys.argv[1]), Path(sys.argv[2]), [Path(sys.argv[2])], print)"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, pstore, store], stderr=subprocess.DEVNULL) for _ in range(2)]
    for one in both:
        one.wait()
    run(pstore, store)

    assert len(crashes(store)) == 1
    assert contents(store / crashes(store)[0] / "pstore") == contents(EFI)


@pytest.fixture
def booted(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    monkeypatch.setattr("kdumpd.cli.harvest.ROOT", machine.root)
    (machine.root / "sys/fs/pstore").mkdir(parents=True)
    return machine


def test_the_command_tells_of_each_crash_and_that_there_is_none(booted: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with(booted.root / "sys/fs/pstore", EFI)

    assert main(["harvest"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a crash: 2026-11-22T")
    assert first.endswith("BUG: kernel NULL pointer dereference, address: 0000000000000008, in kc_null() of module kcrash")
    assert Path(second.strip()).parent == booted.root / "var/crash"
    assert main(["harvest"]) == 0
    assert capsys.readouterr().out == f"no crash in {booted.root}/sys/fs/pstore\n"
    assert main(["harvest", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_the_command_harvests_any_folder_into_any_other(
    booted: FakeMachine, pstore: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_with(pstore, RAMOOPS)

    assert main(["harvest", "--from", str(pstore), "--to", str(store)]) == 0
    assert len(crashes(store)) == 1
    assert not (booted.root / "var/crash").exists()


def test_older_crashes_make_room_as_after_a_capture(booted: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    booted.write("var/lib/kdumpd/capture.json", Settings(keep_count=1, keep_free=0).to_json())
    booted.write("var/crash/2026-11-01T00-00-00Z/dmesg.txt", "old\n")
    fill_with(booted.root / "sys/fs/pstore", EFI)

    assert main(["harvest"]) == 0
    assert crashes(booted.root / "var/crash") == [EFI_CRASH]
    assert f"removed the older crash {booted.root}/var/crash/2026-11-01T00-00-00Z" in capsys.readouterr().out


def test_an_older_record_does_not_push_out_what_the_dump_kernel_has_saved_since(
    booted: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdumpd.crashes.at_boot.time.time", lambda: TIME + 86400)
    booted.write("var/lib/kdumpd/capture.json", Settings(keep_count=2, keep_free=0).to_json())
    for name in ("2026-11-01T00-00-00Z", "2026-11-22T20-00-00Z", "2099-01-01T00-00-00Z"):
        booted.write(f"var/crash/{name}/dmesg.txt", "old\n")
    fill_with(booted.root / "sys/fs/pstore", EFI)

    assert main(["harvest"]) == 0
    assert crashes(booted.root / "var/crash") == [EFI_CRASH, "2026-11-22T20-00-00Z"]


def test_where_the_policy_says_so_pstore_is_left_alone(booted: FakeMachine) -> None:
    booted.write("var/lib/kdumpd/capture.json", Settings(pstore=False).to_json())
    fill_with(booted.root / "sys/fs/pstore", RAMOOPS)

    assert main(["harvest"]) == 0
    assert len(list((booted.root / "sys/fs/pstore").iterdir())) == 2


def test_a_store_that_is_not_mounted_is_not_written_to(booted: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    mount = Mount(point="/srv", source="server:/srv", type="nfs", options="rw", by_systemd=True)
    away = StoreSettings(path="/srv/crash", mount=mount)
    booted.write("var/lib/kdumpd/capture.json", Settings(stores=(away,)).to_json())
    assert main(["harvest"]) == 0

    fill_with(booted.root / "sys/fs/pstore", RAMOOPS)
    assert main(["harvest"]) == 1
    assert "no store is mounted (/srv/crash), so what pstore has stays there\nhint: " in capsys.readouterr().err
    assert len(list((booted.root / "sys/fs/pstore").iterdir())) == 2

    booted.write("var/lib/kdumpd/capture.json", Settings(stores=(away, StoreSettings(path="/var/crash"))).to_json())
    assert main(["harvest"]) == 0
    assert len(crashes(booted.root / "var/crash")) == 1


def test_the_unit_needs_no_yaml_and_no_d_bus() -> None:
    program = "import sys, kdumpd.cli.main, kdumpd.cli.harvest; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not {"yaml", "jinja2", "gi", "pydbus", "pyudev"} & set(loaded)


def test_a_part_alone_is_a_crash_with_a_gap(pstore: Path, store: Path) -> None:
    put(pstore, efi(TIME, 2, 1, "Panic", lines(1, 3)))
    (found,) = run(pstore, store)

    assert found.report.records == (Record(backend="efi_pstore", reason="Panic", count=1, parts=1, missing=(1,)),)
    assert found.report.verdict == "the log was saved, but says nothing of a fault"
