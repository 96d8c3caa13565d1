# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture.json in any state: the log is saved, by the defaults where it can't be believed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.capture.boot_parameters import default_settings
from kdumpd.capture.crash_loop import crash_loop
from kdumpd.capture.doors import STATE, Door
from kdumpd.capture.settings import (
    LONGEST_DEADLINE,
    CrashLoop,
    FinalAction,
    Mount,
    Settings,
    StoreSettings,
    is_dump_kernel,
)
from kdumpd.crashes.archive import capture_stores
from tests.fuzz.json_damage import VALUES, spoilt
from tests.fuzz.settings import GOOD, usable
from tests.unit.captures import capture, newest_status, only_folder, state
from tests.unit.fakes import FakeMachine, Stubs

FILE = "var/lib/kdumpd/capture.json"
DOORS = pytest.mark.parametrize("door", list(Door))
MOUNT = Mount(point="/srv", source="UUID=1", type="ext4", options="")
BY_SYSTEMD = StoreSettings(path="/srv/crash", mount=MOUNT._replace(by_systemd=True))


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(Settings().to_json()) | changes)


DAMAGED = {
    "empty": "",
    "cut": GOOD[:-40],
    "NULs": "\0" * 400,
    "no object": "[]",
    "null": "null",
    "nested deeply": "[" * 100_000,
    "nested deeply in a store": changed(stores=["DEEP"]).replace('"DEEP"', "[" * 500 + "]" * 500),
    "a number of 5000 digits": changed(deadline=0).replace(": 0", f": {'9' * 5000}"),
    "an infinite deadline": changed(deadline=float("inf")),
    "a deadline that is no number": changed(deadline=float("nan")),
    "a deadline that is past": changed(deadline=-300),
    "a deadline of true": changed(deadline=True),
    "a store that is a number": changed(stores=[7]),
    "a store that is a text": changed(stores=["/var/crash"]),
    "stores that are a text": changed(stores="/var/crash"),
    "a store without a path": changed(stores=[{"mount": None}]),
    "a store that is the root": changed(stores=[{"path": ""}]),
    "a store with a NUL": changed(stores=[{"path": "/var/\0"}]),
    "a store with half a character": changed(stores=[{"path": "/var/\ud800"}]),
    "a mount of lists": changed(stores=[{"path": "/srv", "mount": {"point": [], "source": [], "type": [], "options": []}}]),
    "a vmcore that is a list": changed(vmcore=[31]),
    "levels that are texts": changed(vmcore={"levels": ["a"], "compress": "lzo", "format": "kdump"}),
    "a crash loop that is a text": changed(crash_loop="often"),
    "an unknown end": changed(then="explode"),
    "an end that is an object": changed(then={}),
    "nothing to save": changed(dmesg=False),
    "of a newer version": changed(version=99),
    "of no version": "{}",
}


@DOORS
@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_capture_json_saves_the_log_by_the_defaults(
    dump_kernel: FakeMachine, door: Door, text: str, said: Callable[[], str]
) -> None:
    dump_kernel.write_bytes(FILE, text.encode(errors="surrogatepass"))

    assert capture(dump_kernel, door) == [FinalAction.POWEROFF]
    assert (only_folder(dump_kernel) / "dmesg.txt").exists()
    assert newest_status(dump_kernel).store == "/var/crash"
    assert f"cannot read /{FILE}, using the defaults: " in said()


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def huge(path: Path) -> None:
    path.write_text(Settings().to_json() + " " * (1 << 20))


def a_folder(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_link_loop(path: Path) -> None:
    path.symlink_to(path)


def somebody_elses(path: Path) -> None:
    path.write_text(GOOD)
    os.chown(path, 1000, 1000)


def writable_by_all(path: Path) -> None:
    path.write_text(GOOD)
    path.chmod(0o666)


@DOORS
@pytest.mark.parametrize("make", [binary, huge, a_folder, a_fifo, a_link_loop, somebody_elses, writable_by_all])
def test_a_capture_json_that_is_no_file_of_roots_saves_the_log_by_the_defaults(
    dump_kernel: FakeMachine, door: Door, make: Callable[[Path], None]
) -> None:
    (dump_kernel.root / FILE).unlink()
    make(dump_kernel.root / FILE)

    assert capture(dump_kernel, door) == [FinalAction.POWEROFF]
    assert newest_status(dump_kernel).store == "/var/crash"
    assert capture_stores(dump_kernel.root) == ("/var/crash",)


@settings(max_examples=300)
@given(
    st.text()
    | st.recursive(st.sampled_from(VALUES), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_any_text_is_settings_or_a_value_error(text: str) -> None:
    usable(text)


@settings(max_examples=500)
@given(st.binary(min_size=2, max_size=8))
def test_settings_with_any_value_in_the_wrong_place_are_usable_or_a_value_error(choices: bytes) -> None:
    usable(json.dumps(spoilt(json.loads(GOOD), choices)))


def test_a_key_of_a_newer_kdumpd_is_ignored_and_one_that_is_missing_has_its_default() -> None:
    text = changed(colour="blue")
    found = json.loads(text)
    del found["keep_count"]

    assert Settings.from_json(json.dumps(found)) == Settings()


@DOORS
def test_var_crash_takes_the_log_that_no_store_of_the_policy_takes(dump_kernel: FakeMachine, door: Door) -> None:
    dump_kernel.write("srv", "in the way")

    assert capture(dump_kernel, door, settings=Settings(stores=(StoreSettings(path="/srv/crash"),))) == [FinalAction.POWEROFF]
    status = newest_status(dump_kernel)
    assert ([step.ok for step in status.steps][:2], status.store) == ([False, True], "/var/crash")
    assert "/var/crash" in capture_stores(dump_kernel.root)


def test_var_crash_waits_for_a_store_that_only_systemd_can_mount(dump_kernel: FakeMachine, stubs: Stubs) -> None:
    stubs.add("systemctl", "exit 1")
    policy = Settings(stores=(BY_SYSTEMD,))

    assert capture(dump_kernel, Door.INITRD, settings=policy) == [3]
    assert not state(dump_kernel).dmesg_saved
    assert capture(dump_kernel, settings=policy) == [FinalAction.POWEROFF]
    assert newest_status(dump_kernel).store == "/var/crash"


def test_a_store_that_is_a_link_to_another_is_listed_once(machine: FakeMachine) -> None:
    machine.write(FILE, Settings(stores=(StoreSettings(path="/srv/crash"),)).to_json())
    machine.link("var/crash", "srv/crash")

    assert capture_stores(machine.root) == ("/srv/crash",)


@pytest.mark.parametrize("deadline", ["0", "-1", "x", "9" * 5000])
def test_a_deadline_on_the_command_line_that_is_none_is_the_default(deadline: str) -> None:
    assert default_settings([("kdumpd.deadline", deadline)]) == Settings()


@DOORS
def test_a_deadline_that_no_timer_can_keep_is_a_week(dump_kernel: FakeMachine, door: Door) -> None:
    dump_kernel.write("proc/cmdline", f"kdumpd.capture kdumpd.deadline={10**30}\n")

    assert capture(dump_kernel, door, settings=Settings(deadline=10**40)) == [FinalAction.POWEROFF]
    assert Settings.from_json(changed(deadline=10**40)).deadline == LONGEST_DEADLINE


@DOORS
def test_a_command_line_that_is_no_text_does_not_stop_the_capture(dump_kernel: FakeMachine, door: Door) -> None:
    dump_kernel.write_bytes("proc/cmdline", b"name=\xff kdumpd.capture kdumpd.then=halt\n")
    (dump_kernel.root / FILE).unlink()

    assert is_dump_kernel(dump_kernel.root)
    assert capture(dump_kernel, door) == [FinalAction.HALT]


def test_a_crash_loop_within_all_time_is_found(tmp_path: Path) -> None:
    for name in ("2026-11-22T03-04-05Z", "1999-01-01T00-00-00Z"):
        (tmp_path / name).mkdir()

    assert crash_loop(tmp_path / "2026-11-22T03-04-05Z", 1795316645, [], CrashLoop(crashes=1, within=10**30)).startswith(
        "2 crashes"
    )


STATUS = {"started": "2026-11-22T03:04:05Z", "kernel": "6.1", "steps": [{"name": "dmesg", "ok": True, "seconds": 1}]}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps(STATUS | {"seconds": float("inf")}),
        json.dumps(STATUS | {"seconds": 10**400}),
        json.dumps(STATUS | {"milestones": [1]}),
        json.dumps(STATUS | {"doors": 7}),
        json.dumps(STATUS | {"memory_kib": {"total": "all"}}),
        json.dumps(STATUS | {"crash": "loud"}),
        json.dumps(STATUS | {"steps": [{"name": "dmesg", "ok": "no", "seconds": 1}]}),
    ],
    ids=["nested deeply", "infinite", "huge", "milestones", "doors", "memory", "crash", "steps"],
)
def test_what_the_door_before_has_left_in_any_state_does_not_stop_the_second(dump_kernel: FakeMachine, text: str) -> None:
    dump_kernel.write(f"{STATE}/status.json", text)

    assert capture(dump_kernel) == [FinalAction.POWEROFF]
    assert newest_status(dump_kernel).doors == ["systemd"]
