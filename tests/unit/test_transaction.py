# SPDX-License-Identifier: LGPL-2.1-or-later
"""An apply is all or nothing, wherever it is cut off."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdumpd.apply.apply import apply_plan, recover
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import ApplyError
from kdumpd.plan.make import make_plan
from kdumpd.policy.model import Policy
from kdumpd.transaction import JOURNAL, PREVIOUS, TRANSACTION, Transaction, read_previous, undo_unfinished
from tests.unit.fakes import GRUB_CFG, FakeMachine, Stubs, file_system, fill

OLD, NEW = Policy(crashkernel=parse_crashkernel("192M")), Policy(crashkernel=parse_crashkernel("256M"))
# What Python tells an audit hook before it changes anything, or starts a program.
STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "shutil.rmtree", "subprocess.Popen"}
TOO_MANY = 1000


def apply(machine: FakeMachine, policy: Policy) -> None:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None)


def tree(root: Path) -> dict[str, tuple[int, int, int, bytes | None]]:
    """Every file and folder that an apply may change in a transaction: mode, owner, group and content."""
    top = [root / "etc", root / "boot", root / "var/lib/kdumpd"]
    found = [path for folder in top for path in folder.rglob("*") if not path.is_relative_to(root / "var/lib/kdumpd/images")]
    states = {path: path.stat() for path in found}
    return {
        str(path.relative_to(root)): (state.st_mode, state.st_uid, state.st_gid, path.read_bytes() if path.is_file() else None)
        for path, state in states.items()
    }


def killed_at(step: int, action: Callable[[], None]) -> bool:
    """Runs the action in a child that kills itself -9 at its Nth step. False when it had fewer steps than that."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in STEPS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


@pytest.fixture
def applied(machine: FakeMachine, stubs: Stubs) -> FakeMachine:
    """A machine to which the old policy was applied, with a file that belongs to somebody else than root."""
    apply(machine, OLD)
    os.chown(machine.root / "etc/default/grub.d/kdumpd.cfg", 1, 1)
    (machine.root / "etc/default/grub.d/kdumpd.cfg").chmod(0o640)
    return machine


@pytest.fixture
def reset(applied: FakeMachine, tmp_path: Path) -> Callable[[], None]:
    """Brings the machine back to where it was when this fixture was made."""
    backup = tmp_path / "backup"
    subprocess.run(["cp", "-a", applied.root, backup], check=True)

    def bring_back() -> None:
        subprocess.run(["sh", "-ec", f"rm -rf {applied.root}; cp -a {backup} {applied.root}"], check=True)

    return bring_back


def test_kill_9_at_any_step_leaves_the_old_or_the_new_state(applied: FakeMachine, reset: Callable[[], None]) -> None:
    before = tree(applied.root)
    apply(applied, NEW)
    after = tree(applied.root)
    assert before != after

    is_new = []
    for step in range(1, TOO_MANY):
        reset()
        killed = killed_at(step, lambda: apply(applied, NEW))
        recover(applied.root, lambda text: None)
        assert tree(applied.root) in (before, after), f"killed at step {step}"
        is_new.append(tree(applied.root) == after)
        if not killed:
            break

    assert is_new[0] is False
    assert is_new[-1] is True
    assert is_new == sorted(is_new), "once it is committed it stays committed"


def test_kill_9_at_any_step_of_the_undoing_is_mended_by_the_next(applied: FakeMachine, reset: Callable[[], None]) -> None:
    before = tree(applied.root)
    last = next(step for step in range(1, TOO_MANY) if not cut_off(applied, reset, step)) - 1

    for step in range(1, TOO_MANY):
        assert cut_off(applied, reset, last)
        killed = killed_at(step, lambda: recover(applied.root, lambda text: None))
        recover(applied.root, lambda text: None)
        assert tree(applied.root) == before, f"killed at step {step}"
        if not killed:
            break


def cut_off(machine: FakeMachine, reset: Callable[[], None], step: int) -> bool:
    """Cuts an apply off at a step. Whether that was before it was committed."""
    reset()
    return killed_at(step, lambda: apply(machine, NEW)) and "256M" not in machine.read("boot/grub/grub.cfg")


def test_a_first_apply_that_is_undone_leaves_no_trace(machine: FakeMachine, stubs: Stubs) -> None:
    stubs.add("update-grub", "exit 1")
    before = tree(machine.root)
    with pytest.raises(ApplyError):
        apply(machine, OLD)

    assert tree(machine.root) == before
    assert machine.read("boot/grub/grub.cfg") == GRUB_CFG


def test_recovering_runs_the_boot_loader_again_and_tells_so(applied: FakeMachine, stubs: Stubs) -> None:
    transaction = Transaction(applied.root, ["/etc/default/grub.d/kdumpd.cfg"], [["update-grub"]])
    transaction.__enter__()
    transaction.write("/etc/default/grub.d/kdumpd.cfg", b"half an apply", 0o644)
    calls = len(stubs.calls)
    told: list[str] = []
    recover(applied.root, told.append)

    assert stubs.calls[calls:] == ["update-grub "]
    assert told == ["an apply was cut off: its files were put back, run update-grub again"]
    assert "crashkernel=192M" in applied.read("etc/default/grub.d/kdumpd.cfg")
    assert undo_unfinished(applied.root) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with file_system(tmp_path / "small", 64) as folder:
        yield folder


def test_files_of_another_file_system_than_the_journal_are_put_back_too(small_disk: Path, tmp_path: Path) -> None:
    target = small_disk / "file"
    target.write_text("old")
    target.chmod(0o640)
    os.chown(target, 1, 1)
    Transaction(tmp_path, ["/small/file"], []).__enter__().write("/small/file", b"new", 0o644)
    undo_unfinished(tmp_path)

    state = target.stat()
    assert (target.read_text(), state.st_mode & 0o7777, state.st_uid, state.st_gid) == ("old", 0o640, 1, 1)


@pytest.mark.parametrize("free", range(0, 60, 4))
def test_a_full_disk_leaves_the_old_or_the_new_state(small_disk: Path, free: int) -> None:
    (small_disk / "a").write_text("old a")
    (small_disk / "b").write_text("old b")
    (small_disk / "ballast").write_bytes(b"x" * 1024 * (64 - 8 - free))
    new = b"new" * 2000

    def change() -> None:
        with Transaction(small_disk, ["/a", "/b"], []) as transaction:
            transaction.write("/a", new, 0o644)
            transaction.write("/b", new, 0o644)

    try:
        change()
        wanted = [new, new]
    except OSError:
        wanted = [b"old a", b"old b"]

    assert [(small_disk / name).read_bytes() for name in ("a", "b")] == wanted
    assert undo_unfinished(small_disk) == []


def test_a_disk_that_gets_full_at_any_write_of_an_apply_leaves_the_old_or_the_new_state(tmp_path: Path, stubs: Stubs) -> None:
    with file_system(tmp_path / "small", 1024) as disk:
        machine = FakeMachine(disk / "root")
        stubs.add("update-grub", machine.update_grub())
        machine.add_generator(stubs)
        apply(machine, OLD)
        before = tree(machine.root)
        subprocess.run(["cp", "-a", machine.root, tmp_path / "backup"], check=True)

        is_new = []
        for free in range(0, 200, 4):
            subprocess.run(["sh", "-ec", f"rm -rf {disk}/*; cp -a {tmp_path}/backup {machine.root}"], check=True)
            fill(disk, free)
            with contextlib.suppress(OSError, ApplyError):
                apply(machine, NEW)
            (disk / "ballast").unlink()
            recover(machine.root, lambda text: None)
            is_new.append(tree(machine.root) != before)
            assert "crashkernel=256M" in machine.read("boot/grub/grub.cfg") or not is_new[-1], f"{free} KiB free"

    assert (is_new[0], is_new[-1]) == (False, True)
    assert is_new == sorted(is_new), "what is enough stays enough"


def test_a_damaged_journal_is_kept_for_a_person_to_look_at_and_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    transaction = Transaction(tmp_path, ["/file"], [])
    transaction.__enter__()
    transaction.write("/file", b"after", 0o644)
    (tmp_path / TRANSACTION / JOURNAL).write_text("[[")
    told: list[str] = []

    assert undo_unfinished(tmp_path, told.append) == []
    assert "its journal is damaged" in told[0]
    assert (tmp_path / "file").read_text() == "after"
    assert (tmp_path / f"{TRANSACTION}.damaged/0").read_text() == "before"
    assert not (tmp_path / TRANSACTION).exists()


def test_a_generation_that_has_lost_a_copy_is_no_way_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with Transaction(tmp_path, ["/file"], []) as transaction:
        transaction.write("/file", b"after", 0o644)
    assert read_previous(tmp_path) is not None

    (tmp_path / PREVIOUS / "0").unlink()
    assert read_previous(tmp_path) is None
