# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every file that kdumpd keeps, damaged in every way, before everything that reads it: the machine is armed afterwards, what
pstore has is saved, and the other crashes are shown.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdumpd.apply.actions import apply_policy
from kdumpd.capture.status import CrashFacts, Memory, Status, Step
from kdumpd.cli.main import main
from kdumpd.cli.parser import make_parser
from kdumpd.crashes.last_end import reconcile
from kdumpd.crashes.make import record_report
from kdumpd.crashes.record import time_of
from kdumpd.crashes.selftest import StartedTest, conclude_test, record_start
from kdumpd.daemon.job import keep_armed
from kdumpd.host import layout
from kdumpd.transaction import TRANSACTION, Transaction
from tests.unit.fakes import FakeMachine, Stubs
from tests.unit.pstores import dump, panic, put

NOBODY = 65534
PLACES = ("var/lib/kdumpd", "run/kdumpd", "var/crash")
LOG = "[    4.2] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
BROKEN, WHOLE = "2026-11-01T03-04-05Z", "2026-11-02T03-04-05Z"
STATE_FILES = sorted(str(path) for path in layout.STATE_FILES)
# Of the image that is loaded, and of the one that was before it.
IMAGE_FILES = [f"{name}/{file}" for name in ("NEW", "OLD") for file in ("vmlinuz", "initrd.img", "about.json")]
PREVIOUS_FILES = ["previous/committed.json", "previous/0", "previous/1"]
UNFINISHED_FILES = ["transaction/journal.json", "transaction/0"]
RUN_FILES = [f"run/kdumpd/{name}" for name in ("lock", "told", "told-last-end", "kdumpd.prom")]
CRASH_FILES = ["dmesg.txt", "status.json", "report.json", "capture.log", "pstore/dmesg-efi_pstore-179350224501001"]
FOLDERS = ["images", "previous", "transaction"]
TARGETS = [
    *STATE_FILES,
    *(f"var/lib/kdumpd/images/{name}" for name in IMAGE_FILES),
    *(f"var/lib/kdumpd/{name}" for name in (*PREVIOUS_FILES, *UNFINISHED_FILES, *FOLDERS)),
    *RUN_FILES,
    *(f"var/crash/{BROKEN}/{name}" for name in CRASH_FILES),
    f"var/crash/{BROKEN}/pstore",
    f"var/crash/{BROKEN}",
    "var/crash/.kdumpd-index.json",
]


def mistyped(found: Any, other: Any) -> Any:
    """The same shape, with another value in the place of each."""
    if isinstance(found, dict):
        return {name: mistyped(value, other) for name, value in found.items()}
    return [mistyped(value, other) for value in found] if isinstance(found, list) and found else other


def shaped(other: Any) -> Callable[[bytes], bytes]:
    """What JSON becomes when each of its values is another; what is no JSON becomes that value."""

    def change(content: bytes) -> bytes:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        return json.dumps(mistyped(found, other)).encode()

    return change


def newer(content: bytes) -> bytes:
    try:
        return json.dumps({**json.loads(content), "version": 99, "written_by": "99"}).encode()
    except (ValueError, TypeError):
        return b'{"version": 99}'


# What becomes of the bytes of a file.
CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "NULs": lambda content: bytes(len(content)),
    "binary": lambda content: bytes(range(256)) * 8,
    "a list": lambda content: b"[[], {}, null]",
    "numbers": shaped(7),
    "objects": shaped({"a": None}),
    "half characters": shaped("\ud800\0"),
    "deeply nested": lambda content: b"[" * 100_000,
    "deep, and whole": lambda content: b'{"a":' * 900 + b"1" + b"}" * 900,
    "huge numbers": shaped(10**400),
    "more digits than Python takes": lambda content: b'{"version": ' + b"9" * 5000 + b"}",
    "not finite": shaped(float("inf")),
    "newer": newer,
}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


# What is there in its place.
KINDS: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "directory": lambda path: (path / "inside").mkdir(parents=True),
    "FIFO": os.mkfifo,
    "link loop": lambda path: path.symlink_to(path.name),
    "link": lambda path: path.symlink_to("/etc/hostname"),
}
OWNERS: dict[str, Callable[[Path], None]] = {"another user's": give_away, "for all to write": lambda path: path.chmod(0o666)}
if os.geteuid() != 0:
    del OWNERS["another user's"]
DAMAGES = (*CONTENTS, *KINDS, *OWNERS)


def damage(path: Path, how: str) -> bool:
    """False: that can't be done to a folder."""
    if how in CONTENTS:
        if path.is_dir():
            return False
        path.write_bytes(CONTENTS[how](path.read_bytes()))
    elif how in KINDS:
        remove(path)
        KINDS[how](path)
    else:
        OWNERS[how](path)
    return True


class Damaged:
    """A machine that has been applied, tested and crashed, booted again; nothing is loaded yet."""

    def __init__(self, machine: FakeMachine, pristine: Path) -> None:
        self.machine, self.root, self._pristine = machine, machine.root, pristine
        self.tried = 0
        images = layout.IMAGES
        new = Path(json.loads(machine.read(str(layout.LAST_LOADED)))["kernel"]).parent.name
        (old,) = {path.name for path in (machine.root / images).iterdir()} - {new}
        self._names = {"NEW": new, "OLD": old}

    def restore(self) -> None:
        for place in (*PLACES, "etc"):
            shutil.rmtree(self.root / place, ignore_errors=True)
            shutil.copytree(self._pristine / place, self.root / place, symlinks=True)
        shutil.rmtree(self.root / layout.PSTORE, ignore_errors=True)
        put(self.root / layout.PSTORE, *dump(1795358600, 1, "Panic", panic(9)))
        self.machine.write("sys/kernel/kexec_crash_loaded", "0\n")

    def path(self, target: str) -> Path:
        for name, real in self._names.items():
            target = target.replace(f"images/{name}", f"images/{real}")
        return self.root / target

    @property
    def has_broken_crash(self) -> bool:
        return self.path(f"var/crash/{BROKEN}").is_dir()

    @property
    def armed(self) -> bool:
        return self.machine.read("sys/kernel/kexec_crash_loaded") == "1\n"

    def run(self, *command: str) -> int:
        self.tried += 1
        return main(command)


def crash(machine: FakeMachine, name: str) -> Path:
    folder = machine.root / f"var/crash/{name}"
    machine.write(f"var/crash/{name}/dmesg.txt", LOG)
    machine.write(f"var/crash/{name}/capture.log", "kdumpd: saved\n")
    status = Status(
        started="2026-11-01T03:04:05Z",
        kernel="6.1",
        crash=CrashFacts(time="2026-11-01T03:04:00Z", release="6.1", kaslr_offset=1 << 63),
        doors=["initrd"],
        milestones={"log_safe": 2.5},
        steps=[Step(name="dmesg", ok=True, seconds=0.5)],
        memory_kib=Memory(given=180_000, total=150_000, peak_used=60_000, lowest_available=90_000),
    )
    machine.write(f"var/crash/{name}/status.json", status.to_json())
    put(folder / "pstore", *dump(1793502245, 1, "Panic", panic(4)))
    record_report(folder)
    return folder


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    base = tmp_path_factory.mktemp("damage")
    # Thousands of times all files of a machine: on a disk that would take minutes.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else base) as fast, pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdumpd.daemon.journal.SOCKET", str(base / "journal"))
        patch.setenv("PATH", f"{base / 'bin'}:{os.environ['PATH']}")
        stubs = Stubs(base / "bin")
        machine = FakeMachine(Path(fast) / "root")
        for command in ("status", "early", "harvest", "crashes", "crash_show"):
            patch.setattr(f"kdumpd.cli.{command}.ROOT", machine.root, raising=False)
        stubs.add("update-grub", machine.update_grub())
        stubs.add("makedumpfile")
        stubs.add("kexec")
        machine.add_generator(stubs)
        loaded = "sys/kernel/kexec_crash_loaded"
        # A process for each load, a parser for each command, and a wait for the disk would take most of the time.
        parser = make_parser()
        patch.setattr("kdumpd.cli.main.make_parser", lambda: parser)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr("kdumpd.image.load.run", lambda argv, timeout: machine.write(loaded, "1\n"))
        live(machine)
        for place in (*PLACES, "etc"):
            shutil.copytree(machine.root / place, Path(fast) / "pristine" / place, symlinks=True)
        yield Damaged(machine, Path(fast) / "pristine")


def live(machine: FakeMachine) -> None:
    """What leaves every file that there can be."""
    root, policy = machine.root, machine.root / "etc/kdumpd.yaml"
    machine.reserve()
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    crash(machine, BROKEN)
    keep_armed(root, policy)
    machine.write("etc/initramfs-tools/initramfs.conf", "MODULES=dep\n")
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\ncapture: {deadline: 400s}\n")
    apply_policy(root, policy, lambda text: None)
    record_start(
        root,
        StartedTest(
            token="t", boot_id="boot-1", started="2026-11-02T03:00:00Z", kernel="6.1", dump_kernel="6.1", stores=("/var/crash",),
            vmcore=False, known=(),
        ),
    )  # fmt: skip
    reconcile(root, ["/var/crash"], begins=True)
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    crash(machine, WHOLE)
    conclude_test(root)
    reconcile(root, ["/var/crash"], begins=True)
    keep_armed(root, policy)
    machine.write(str(layout.TEST), machine.read(str(layout.LAST_TEST)))
    machine.write(str(layout.ROLLED_BACK), "crashkernel: 256M\n")
    machine.write("proc/sys/kernel/random/boot_id", "boot-3\n")


def begin_apply(damaged: Damaged) -> None:
    Transaction(damaged.root, [f"/{layout.SYSCTL}"], [], {}).__enter__()


def every_damage(damaged: Damaged, target: str) -> Iterator[str]:
    for how in DAMAGES:
        damaged.restore()
        if TRANSACTION in target:
            begin_apply(damaged)
        if damage(damaged.path(target), how):
            yield how


def test_every_file_that_a_life_leaves_is_among_those_that_are_damaged(damaged: Damaged) -> None:
    damaged.restore()
    begin_apply(damaged)
    found = {path for place in PLACES for path in (damaged.root / place).rglob("*") if path.is_file()}
    # Of the copies in a transaction two are enough, and one crash is not damaged. What the generators of initrds read of ours is
    # copied anew for every build.
    left_out = {"previous", "transaction", "initramfs-tools", "pstore", WHOLE}
    kept = {path for path in found if not left_out & set(path.relative_to(damaged.root).parts)}

    assert kept - {damaged.path(target) for target in TARGETS} == set()
    assert [target for target in TARGETS if not damaged.path(target).exists()] == []


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_damaged_the_daemon_arms(damaged: Damaged, target: str) -> None:
    for how in every_damage(damaged, target):
        damaged.tried += 1

        assert keep_armed(damaged.root, damaged.root / "etc/kdumpd.yaml").startswith("armed"), how
        assert damaged.armed, how


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_damaged_the_boot_arms_and_saves_and_the_other_crashes_are_shown(
    damaged: Damaged, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for how in every_damage(damaged, target):
        assert damaged.run("status", "--policy", str(damaged.root / "etc/kdumpd.yaml")) == 3, how
        capsys.readouterr()
        assert damaged.run("crashes", "list") == 0, how
        told = capsys.readouterr().out
        assert f"\n{time_of(Path(WHOLE))}  BUG: kernel NULL pointer" in f"\n{told}", how
        assert (time_of(Path(BROKEN)) in told) == (damaged.has_broken_crash or how == "link loop"), how
        assert damaged.run("crashes", "show", WHOLE) == 0, how
        assert damaged.run("crashes", "show", BROKEN) in (0, 1), how

        code = damaged.run("early")
        # Where all images are gone there is nothing to load, until the daemon has built one.
        has_image = any((damaged.root / layout.IMAGES).glob("*/vmlinuz"))
        assert has_image or target == "var/lib/kdumpd/images", how
        assert (code, damaged.armed) == ((0, True) if has_image else (3, False)), how

        capsys.readouterr()
        assert damaged.run("harvest") == 0, how
        assert "a crash: 2026-11-22T14:43:20Z Kernel panic" in capsys.readouterr().out, how
        assert list((damaged.root / layout.PSTORE).iterdir()) == [], how


def test_how_much_was_tried(damaged: Damaged) -> None:
    """Runs last, and is for docs/faults.md."""
    print(f"{damaged.tried} runs with {len(TARGETS)} files, each damaged in {len(DAMAGES)} ways")
