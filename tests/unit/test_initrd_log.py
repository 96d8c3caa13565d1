# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the initrd saves the log by itself, without Python: packaging/initrd/functions, run by this machine's shell."""

import json
import subprocess
from pathlib import Path

import pytest

from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.capture.status import Status
from tests.unit.fakes import HOOKS, Stubs

FUNCTIONS = (HOOKS.parent / "initrd/functions").read_text()
TIME = "2026-11-22T03-04-05Z"
# What is replaced by files of the test; above all, this machine's own sysrq.
PLACES = ("/proc/sysrq-trigger", "/proc/cmdline", "/dev/kmsg", "/dev/kdumpd", "/kdumpd/settings")


class Initrd:
    """The initrd's functions, where `date` stands still, and nothing but the log can be had."""

    def __init__(self, folder: Path, stubs: Stubs) -> None:
        self.root = folder / "root"
        self._functions = folder / "functions"
        text = FUNCTIONS
        for place in PLACES:
            text = text.replace(place, f"{folder}/initrd{place}")
            (folder / f"initrd{place}").parent.mkdir(parents=True, exist_ok=True)
        assert "sysrq-trigger" in text
        self._functions.write_text(text)
        (folder / "initrd/kdumpd/settings").touch()
        (folder / "initrd/dev/kdumpd").mkdir()
        (folder / "initrd/dev/kdumpd/init").write_text("2.31\n")
        stubs.add("date", f'echo "{TIME} 2026-11-22T03:04:05Z"')
        stubs.add("vmcore-dmesg", "echo '[    1.000000] the log'")
        stubs.add("sync")
        stubs.add("mount")
        stubs.add("umount")
        stubs.add("chroot", "exit 127")

    def run(self, script: str) -> str:
        shell = f'. {self._functions}; end_machine() {{ echo "$1"; exit; }}; {script}'
        return subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout

    def save_log(self) -> None:
        self.run(f"action=poweroff; save_log {self.root}/var/crash")

    def crashes(self) -> dict[str, str]:
        return {path.name: (path / "dmesg.txt").read_text() for path in sorted((self.root / "var/crash").iterdir())}


@pytest.fixture
def initrd(tmp_path: Path, stubs: Stubs) -> Initrd:
    return Initrd(tmp_path, stubs)


def test_two_crashes_in_one_second_of_a_clock_that_stands_still_are_both_kept(initrd: Initrd, stubs: Stubs) -> None:
    initrd.save_log()
    stubs.add("vmcore-dmesg", "echo another")
    initrd.save_log()
    initrd.save_log()

    assert initrd.crashes() == {TIME: "[    1.000000] the log\n", f"{TIME}-1": "another\n", f"{TIME}-2": "another\n"}
    assert all(FOLDER_NAME.fullmatch(name) for name in initrd.crashes())


def test_a_link_in_the_place_of_the_folder_is_left_alone(initrd: Initrd, tmp_path: Path) -> None:
    (initrd.root / "var/crash").mkdir(parents=True)
    (initrd.root / f"var/crash/{TIME}").symlink_to(tmp_path / "nowhere")
    initrd.save_log()

    assert (initrd.root / f"var/crash/{TIME}-1/dmesg.txt").exists()


def test_the_status_has_the_time_that_it_took(initrd: Initrd, stubs: Stubs) -> None:
    stubs.add("vmcore-dmesg", "sleep 0.3; echo '[    1.000000] the log'")
    initrd.save_log()

    status = Status.from_json((initrd.root / f"var/crash/{TIME}/status.json").read_text())
    assert 0.3 <= status.steps[0].seconds < 60
    assert (status.started, status.dmesg_saved, status.final_action) == ("2026-11-22T03:04:05Z", True, "poweroff")


@pytest.mark.parametrize("fraction", ["00", "08", "99"])
def test_the_uptime_is_no_octal_number(initrd: Initrd, tmp_path: Path, fraction: str) -> None:
    (tmp_path / "uptime").write_text(f"9.{fraction} 1.00\n")
    functions = tmp_path / "functions"
    functions.write_text(functions.read_text().replace("/proc/uptime", str(tmp_path / "uptime")))

    assert initrd.run("hundredths") == f"9{fraction}\n"


@pytest.mark.parametrize("store", ["", "/srv/crash"])
def test_without_python_var_crash_takes_what_no_other_store_takes(initrd: Initrd, store: str) -> None:
    initrd.root.mkdir()
    (initrd.root / "srv").write_text("in the way")

    assert initrd.run(f"store={store}; action=halt; enter_first_door {initrd.root}") == "halt\n"
    assert initrd.crashes() == {TIME: "[    1.000000] the log\n"}


@pytest.mark.parametrize(("delay", "patience"), [("5", 35), ("5s", 30), ("", 30), ("x", 30)])
def test_a_rootdelay_that_is_no_number_does_not_end_the_initrd(initrd: Initrd, tmp_path: Path, delay: str, patience: int) -> None:
    (tmp_path / "initrd/proc/cmdline").write_text(f"rootdelay={delay} kdumpd.capture\n")

    assert initrd.run("read_parameters; echo $root_patience $marker") == f"{patience} yes\n"


def test_the_status_of_the_initrd_is_json_of_the_capture(initrd: Initrd) -> None:
    initrd.save_log()

    assert json.loads((initrd.root / f"var/crash/{TIME}/status.json").read_text())["version"] == 1
