# SPDX-License-Identifier: LGPL-2.1-or-later
import ast
import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture import main as capture_main
from kdumpd.capture.doors import Door
from kdumpd.capture.main import Capture
from kdumpd.capture.settings import CrashLoop, FinalAction, Mount, Settings, StoreSettings, VmcoreSettings, is_dump_kernel
from kdumpd.capture.status import CrashFacts, Memory, Status, Step
from tests.unit.captures import capture, newest_status, only_folder
from tests.unit.fakes import FakeMachine, Stubs

PACKAGE = Path(capture_main.__file__).parent


def saved_with(machine: FakeMachine, settings: Settings) -> Status:
    capture(machine, settings=settings)
    return newest_status(machine)


def test_the_log_is_saved_for_root_only_and_the_machine_powers_off(dump_kernel: FakeMachine) -> None:
    assert capture(dump_kernel) == [FinalAction.POWEROFF]

    folder = only_folder(dump_kernel)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        ("dmesg.txt", "status.json", "capture.log"), 0o600
    )
    assert (folder / "dmesg.txt").read_text() == "[    1.000000] the log\n"


def test_the_status_tells_each_step_the_time_and_the_memory(dump_kernel: FakeMachine) -> None:
    capture(dump_kernel, init=2.31)
    status = newest_status(dump_kernel)

    assert status.dmesg_saved
    assert [(step.name, step.ok, step.bytes) for step in status.steps] == [("dmesg", True, 23), ("pstore", True, 0)]
    assert status.store == "/var/crash"
    assert status.memory_kib == Memory(given=(192 << 10) + 632, total=155144, peak_used=155144 - 120816, lowest_available=120816)
    assert status.uptime == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=5)
    assert status.milestones["init"] == 2.31
    assert status.milestones["python"] <= status.milestones["log_safe"] <= status.milestones["end"]
    assert status.final_action == "poweroff"


def test_without_a_vmcore_it_says_so_and_takes_the_failure_action(dump_kernel: FakeMachine, said: Callable[[], str]) -> None:
    (dump_kernel.root / "proc/vmcore").unlink()

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    assert "kdumpd: /proc/vmcore is missing: nothing of the crashed kernel can be saved\n" in said()


def test_the_next_store_is_tried_when_the_first_fails(dump_kernel: FakeMachine) -> None:
    dump_kernel.write("first", "a file")
    dump_kernel.write(
        "var/lib/kdumpd/capture.json", Settings(stores=(StoreSettings(path="/first"), StoreSettings(path="/second"))).to_json()
    )

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    status = Status.from_json((only_folder(dump_kernel, "second") / "status.json").read_text())
    assert [(step.name, step.ok, step.detail) for step in status.steps][:2] == [
        ("dmesg", False, "/first: File exists"),
        ("dmesg", True, ""),
    ]


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo no memory >&2; exit 1", "makedumpfile failed with 1: no memory"),
        ('echo half > "$3"; kill -9 $$', "makedumpfile failed with -9: "),
        (': > "$3"', "makedumpfile ended well but wrote an empty log"),
    ],
)
def test_a_makedumpfile_that_fails_is_put_on_record(dump_kernel: FakeMachine, stubs: Stubs, script: str, detail: str) -> None:
    stubs.add("makedumpfile", script)

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    folder = only_folder(dump_kernel)
    assert not (folder / "dmesg.txt").exists()
    assert json.loads((folder / "status.json").read_text())["steps"][0]["detail"].startswith(f"{detail}; cannot run vmcore-dmesg")


def test_pstore_is_saved_even_when_the_log_is_not(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", "exit 1")
    dump_kernel.write("sys/fs/pstore/dmesg-efi-1", "record\n")

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    assert (only_folder(dump_kernel) / "pstore/dmesg-efi-1").read_text() == "record\n"


def test_a_makedumpfile_that_is_not_there_is_put_on_record(dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdumpd.capture.program.SEARCH_PATH", "/nowhere")

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    status = json.loads((only_folder(dump_kernel) / "status.json").read_text())
    assert status["steps"][0]["detail"].startswith("cannot run makedumpfile: No such file or directory; cannot run vmcore-dmesg")


def test_a_makedumpfile_that_hangs_is_killed(dump_kernel: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs.add("makedumpfile", "sleep 100")
    monkeypatch.setattr(capture_main, "DMESG_TIMEOUT", 0.3)

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    status = json.loads((only_folder(dump_kernel) / "status.json").read_text())
    assert status["steps"][0]["detail"].startswith("makedumpfile was still running after 0 s; cannot run vmcore-dmesg")


def test_the_deadline_ends_the_machine_while_a_store_hangs_and_only_once(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_main, "time_allowed", lambda *_: 0.5)
    monkeypatch.setattr(capture_main, "save_dmesg", lambda *_, **__: time.sleep(2))
    began = time.monotonic()
    ended: list[float] = []
    Capture(dump_kernel.root, Door.SYSTEMD, {}, end=lambda action: ended.append(time.monotonic() - began)).run()

    assert len(ended) == 1
    assert ended[0] < 2
    (step, *_) = json.loads(dump_kernel.read("dev/kdumpd/status.json"))["steps"]
    assert (step["ok"], step["name"]) == (False, "dmesg")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"stores": 1}', '{"version": 1}'])
def test_without_its_settings_it_saves_to_the_default_store(
    dump_kernel: FakeMachine, said: Callable[[], str], text: str | None
) -> None:
    if text is None:
        (dump_kernel.root / "var/lib/kdumpd/capture.json").unlink()
    else:
        dump_kernel.write("var/lib/kdumpd/capture.json", text)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert (only_folder(dump_kernel) / "dmesg.txt").exists()
    assert "cannot read /var/lib/kdumpd/capture.json, using the defaults" in said()


def test_a_defect_in_the_capture_still_ends_the_machine(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    def broken(*arguments: object, **options: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(capture_main, "save_dmesg", broken)

    assert capture(dump_kernel) == [FinalAction.REBOOT]
    assert "ZeroDivisionError" in said()


def test_a_defect_after_the_log_is_safe_does_not_make_it_a_failure(
    dump_kernel: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("kdumpd.capture.rest.copy_pstore", broken)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert Status.from_json((only_folder(dump_kernel) / "status.json").read_text()).dmesg_saved


def test_only_the_marker_makes_a_dump_kernel(machine: FakeMachine) -> None:
    assert not is_dump_kernel(machine.root)
    machine.write("proc/cmdline", "root=/dev/vda2 kdumpd.capture rw\n")
    assert is_dump_kernel(machine.root)


def test_settings_and_status_survive_the_way_between_the_kernels() -> None:
    mount = Mount(point="/srv", source="UUID=1", type="ext4", options="rw")
    stores = (StoreSettings(path="/a"), StoreSettings(path="/srv/b", mount=mount))
    settings = Settings(stores=stores, deadline=77, then=FinalAction.HALT, on_failure=FinalAction.POWEROFF)
    status = Status(
        started="now",
        kernel="6.1",
        crash=CrashFacts(release="6.1", kaslr_offset=1 << 20),
        milestones={"init": 2.3},
        doors=["initrd"],
        steps=[Step(name="dmesg", ok=True, seconds=0.2, bytes=3)],
        memory_kib=Memory(total=5),
    )

    assert Settings.from_json(settings.to_json()) == settings
    assert Status.from_json(status.to_json()) == status


# As the dump kernel starts it, but with another root, and without the end of this machine.
ALONE = """
import sys
sys.path[0:0] = [sys.argv[1]]
from pathlib import Path
from capture import console, program
from capture.main import Capture
from capture.doors import Door
console.KMSG, program.SEARCH_PATH = "/dev/null", sys.argv[3]
Capture(Path(sys.argv[2]), Door.INITRD, {}, end=print, leave=print).run()
"""
# Each takes longer to load, from a disk that nobody has read yet, than the log to be saved.
SLOW_TO_LOAD = {"_strptime", "calendar", "datetime"}


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A folder that holds nothing but the capture."""
    shutil.copytree(PACKAGE, tmp_path / "alone/capture", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "alone"


def test_the_program_runs_from_a_folder_that_holds_nothing_else(alone: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-I", "-S", "-B", alone / "capture/__main__.py", "initrd", "init=2.31"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith("kdumpd: this is not a dump kernel")


def test_a_capture_needs_nothing_but_its_own_folder_and_the_standard_library(
    alone: Path, dump_kernel: FakeMachine, tmp_path: Path
) -> None:
    dump_kernel.write("sys/fs/pstore/dmesg-efi-1", "record\n")
    dump_kernel.write("var/lib/kdumpd/capture.json", Settings(vmcore=VmcoreSettings(), keep_free=0).to_json())
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", ALONE, alone, dump_kernel.root, f"{tmp_path / 'bin'}:/usr/bin:/bin"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("poweroff\n", "")
    assert {path.name for path in only_folder(dump_kernel).iterdir()} >= {"dmesg.txt", "pstore", "vmcore", "status.json"}


def test_nothing_is_loaded_before_the_log_is_safe_that_takes_long_and_is_not_needed() -> None:
    """Loading modules is most of the time that Python takes until then."""
    script = f"import sys; sys.path[0] = {str(PACKAGE.parent)!r}; import capture.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"dataclasses", "inspect", "shutil", "traceback", "argparse", "logging", "capture.vmcore", "capture.pstore"}.isdisjoint(
        loaded
    )


def test_nothing_that_takes_long_to_load_delays_the_end(alone: Path, dump_kernel: FakeMachine, tmp_path: Path) -> None:
    dump_kernel.write("var/lib/kdumpd/capture.json", Settings(crash_loop=CrashLoop(crashes=5, within=600)).to_json())
    program = f"{ALONE}\nprint(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, alone, dump_kernel.root, f"{tmp_path / 'bin'}:/usr/bin:/bin"],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = ended.stdout.split()
    assert "capture.crash_loop" in loaded
    assert SLOW_TO_LOAD.isdisjoint(loaded)


@pytest.mark.parametrize("module", sorted(PACKAGE.glob("*.py")), ids=str)
def test_the_capture_imports_the_standard_library_and_itself_only(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.module or "").split(".")[0] in sys.stdlib_module_names


def test_what_is_not_wanted_is_not_saved(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", '[ "$1" = -v ] || { for target; do :; done; echo memory > "$target"; }')
    status = saved_with(dump_kernel, Settings(dmesg=False, pstore=False, vmcore=VmcoreSettings(), keep_free=0))

    assert [step.name for step in status.steps] == ["vmcore"]
    assert status.final_action == "poweroff"


def test_a_crash_that_was_not_saved_removes_no_older_one(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("makedumpfile", "exit 1")
    dump_kernel.write("var/crash/2026-11-01T00-00-00Z/dmesg.txt", "old\n")
    saved_with(dump_kernel, Settings(keep_count=1, keep_free=1 << 60))

    assert (dump_kernel.root / "var/crash/2026-11-01T00-00-00Z/dmesg.txt").exists()
