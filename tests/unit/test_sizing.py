# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which captures decide how much memory is reserved: kdumpd's own, and no others."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture.status import Memory, Status, Step
from kdumpd.host import sizing
from kdumpd.host.sizing import read_captures
from kdumpd.plan.reservation import wanted_crashkernel
from kdumpd.policy.model import Policy
from tests.unit.fakes import RELEASE, FakeMachine

NAME = "2026-11-22T03-04-05Z"
STATUS = Status(
    started="2026-11-22T03:04:05Z",
    kernel=RELEASE,
    steps=[Step(name="dmesg", ok=True, seconds=0.2)],
    memory_kib=Memory(given=192 << 10, total=155_144, peak_used=34_400),
)
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A capture of kdumpd's own, in a store that everybody can write to."""
    folder = tmp_path / "var/crash" / NAME
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o1777)
    (folder / "status.json").write_text(STATUS.to_json())
    return folder


def captures(folder: Path) -> tuple[Status, ...] | None:
    return read_captures(folder.parents[2], ["/var/crash", "/srv/missing"])


def test_a_capture_of_kdumpd_is_read(folder: Path) -> None:
    assert captures(folder) == (STATUS,)


def a_folder_of_somebody_else(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)


def a_folder_that_the_group_can_write_to(folder: Path) -> None:
    folder.chmod(0o770)


def a_linked_folder(folder: Path) -> None:
    folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to(folder.parents[1] / "elsewhere")


def a_folder_of_another_name(folder: Path) -> None:
    folder.rename(folder.parent / "mine")


def a_file_of_somebody_else(folder: Path) -> None:
    os.chown(folder / "status.json", NOBODY, NOBODY)


def a_file_that_all_can_write_to(folder: Path) -> None:
    (folder / "status.json").chmod(0o666)


def a_linked_file(folder: Path) -> None:
    (folder / "status.json").rename(folder / "other.json")
    (folder / "status.json").symlink_to("other.json")


def a_fifo(folder: Path) -> None:
    (folder / "status.json").unlink()
    os.mkfifo(folder / "status.json")


def a_folder_instead_of_the_file(folder: Path) -> None:
    (folder / "status.json").unlink()
    (folder / "status.json").mkdir()


def a_huge_file(folder: Path) -> None:
    (folder / "status.json").write_text(STATUS.to_json() + " " * (1 << 20))


@pytest.mark.parametrize(
    "plant",
    [
        a_folder_of_somebody_else,
        a_folder_that_the_group_can_write_to,
        a_linked_folder,
        a_folder_of_another_name,
        a_file_of_somebody_else,
        a_file_that_all_can_write_to,
        a_linked_file,
        a_fifo,
        a_folder_instead_of_the_file,
        a_huge_file,
    ],
)
def test_what_others_may_have_planted_decides_nothing(folder: Path, plant: Callable[[Path], None]) -> None:
    plant(folder)

    assert captures(folder) == ()


def test_a_store_that_is_a_link_loop_hides_no_other(folder: Path) -> None:
    (folder.parents[2] / "loop").symlink_to("loop")

    assert read_captures(folder.parents[2], ["/loop", "/var/crash"]) == (STATUS,)


@pytest.mark.parametrize(
    "memory",
    [
        '{"given": "2T", "total": 1, "peak_used": 1}',
        '{"given": 1e999, "total": 1, "peak_used": 1}',
        '{"given": true, "total": 1, "peak_used": 1}',
        "[3, 2, 1]",
        "[" * 100_000,
    ],
)
def test_a_damaged_status_decides_nothing_and_hides_no_other(folder: Path, memory: str) -> None:
    damaged = folder.with_name(f"{NAME}-1")
    damaged.mkdir(mode=0o700)
    (damaged / "status.json").write_text(f'{{"started": "", "kernel": "", "memory_kib": {memory}}}')

    assert captures(folder) == (STATUS,)


def test_who_may_not_read_the_captures_does_not_take_them_for_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(sizing, "own_folder", refused)

    assert captures(folder) is None


@pytest.mark.parametrize("memory", [(3, 2, 1), (3 << 31, 2 << 31, 1 << 31)], ids=["next to nothing", "terabytes"])
def test_no_measurement_makes_a_reservation_that_the_machine_can_not_live_with(
    machine: FakeMachine, memory: tuple[int, int, int]
) -> None:
    given, total, peak_used = memory
    status = json.loads(STATUS.to_json()) | {"memory_kib": {"given": given, "total": total, "peak_used": peak_used}}
    machine.write(f"var/crash/{NAME}/status.json", json.dumps(status))
    subprocess.run(["chmod", "-R", "go-w", machine.root / "var"], check=True)

    wanted = wanted_crashkernel(Policy(), machine.facts())
    assert str(wanted) in ("112M", "160M")
