# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people and monitoring are told of the state."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.apply.apply import apply_plan
from kdumpd.apply.look import InForce
from kdumpd.capture.status import Status
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import PolicyError
from kdumpd.host.facts import BootLoader
from kdumpd.plan.kernel_values import EARLY_PSTORE
from kdumpd.plan.make import make_plan
from kdumpd.plan.readiness import Trouble
from kdumpd.state.screen import check_line, plugin_line, screen, verdict
from kdumpd.state.state import State, read_state, state_under
from kdumpd.terminal import one_line
from kdumpd.units import MIB
from tests.unit.fakes import POLICY, RELEASE, FakeMachine

FREE = 2560 * MIB


@pytest.fixture
def policy_file(machine: FakeMachine) -> Path:
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    return machine.root / "etc/kdumpd.yaml"


@pytest.fixture
def armed(machine: FakeMachine, policy_file: Path) -> State:
    machine.reserve()
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)
    state = read_state(machine.root, policy_file)
    stores = (dataclasses.replace(state.facts.stores[0], free=FREE),)
    return dataclasses.replace(state, facts=dataclasses.replace(state.facts, stores=stores))


def with_troubles(state: State, *facts: str) -> State:
    troubles = tuple(Trouble(fact=fact, way_out="mend it") for fact in facts)
    return dataclasses.replace(state, readiness=dataclasses.replace(state.readiness, troubles=troubles))


def with_pstore(state: State, backend: str, early: str = "N") -> State:
    pstore = dataclasses.replace(state.facts.pstore, active=backend)
    facts = dataclasses.replace(state.facts, pstore=pstore, values={**state.facts.values, EARLY_PSTORE: early})
    return dataclasses.replace(state, facts=facts)


def not_loaded(state: State) -> State:
    kexec = dataclasses.replace(state.facts.kexec, loaded=False)
    disarmed = dataclasses.replace(state.readiness, loaded=False)
    return dataclasses.replace(state, facts=dataclasses.replace(state.facts, kexec=kexec), readiness=disarmed)


def told(state: State, name: str) -> str:
    return next(line for line in screen(state) if line.startswith(f"  {name} ")).removeprefix(f"  {name}").strip()


def test_an_armed_machine_is_told_in_one_screen(armed: State) -> None:
    assert armed.facts.image_digest
    assert list(screen(armed)) == [
        "ARMED: a crash now would be saved to /var/crash, then this machine would power off",
        "  reserved      192M, as the policy and the command line say",
        f"  dump kernel   {RELEASE}, image {armed.facts.image_digest}",
        "  capture       by the initrd, as soon as / is mounted",
        "  store         /var/crash, 2.5G free, a crash needs at most 32M",
        "  pstore        none",
        "  boot loader   GRUB",
        "  last test     never: run kdumpd test when nobody needs this machine",
        "  last crash    none",
    ]


def test_no_line_of_an_armed_machine_is_wider_than_a_terminal(armed: State) -> None:
    assert max(map(len, screen(with_pstore(armed, "efi_pstore")))) <= 100


def test_a_machine_that_is_not_armed_says_so_and_why_in_the_first_line(machine: FakeMachine, policy_file: Path) -> None:
    lines = list(screen(read_state(machine.root, policy_file)))

    assert lines[0] == "NOT ARMED, a crash now would leave nothing: the command line has no crashkernel="
    assert "problem: the command line has no crashkernel=" in lines
    assert lines[lines.index("problem: the command line has no crashkernel=") + 1] == "    way out: kdumpd apply, then reboot"


def test_what_pstore_would_keep_is_not_nothing(armed: State) -> None:
    state = not_loaded(with_pstore(with_troubles(armed, "memory is reserved, but no dump kernel is loaded"), "efi_pstore"))

    assert verdict(state) == (
        "NOT ARMED, a crash now would leave only what efi_pstore keeps: memory is reserved, but no dump kernel is loaded"
    )


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (["the store is small"], "ARMED, BUT the store is small"),
        (["the store is small", "b"], "ARMED, BUT the store is small (and 1 more problem)"),
        (["the store is small", "b", "c"], "ARMED, BUT the store is small (and 2 more problems)"),
    ],
)
def test_an_armed_machine_with_problems_names_the_first_and_counts_the_others(armed: State, facts: list[str], line: str) -> None:
    assert next(screen(with_troubles(armed, *facts))) == line


def test_a_degraded_machine_says_why(armed: State) -> None:
    state = with_troubles(armed, "the last good one is in its place: Key was rejected by service")
    degraded = dataclasses.replace(state, readiness=dataclasses.replace(state.readiness, degraded=True))

    assert verdict(degraded) == "DEGRADED: the last good one is in its place: Key was rejected by service"


def test_a_kernel_that_does_not_tell_is_unknown(armed: State) -> None:
    unknown = dataclasses.replace(armed, readiness=dataclasses.replace(armed.readiness, loaded=None))

    assert verdict(unknown) == "UNKNOWN: this kernel does not tell whether a dump kernel is loaded"
    assert check_line(unknown).startswith("KDUMP UNKNOWN - this kernel does not tell whether a dump kernel is loaded | ")


def test_where_policy_command_line_and_kernel_differ_each_is_told(machine: FakeMachine, armed: State, policy_file: Path) -> None:
    machine.reserve(size=128 * MIB, parameter="crashkernel=128M")
    lines = list(screen(read_state(machine.root, policy_file)))

    assert lines[1:4] == [
        f"  policy        crashkernel=192M ({policy_file})",
        "  command line  crashkernel=128M",
        "  reserved      128M",
    ]


def test_auto_is_told_with_what_it_comes_to(machine: FakeMachine, policy_file: Path) -> None:
    policy_file.write_text("")
    assert told(read_state(machine.root, policy_file), "policy") == f"crashkernel=auto, which is 160M here ({policy_file})"

    machine.reserve(size=160 * MIB, parameter="crashkernel=160M")
    assert told(read_state(machine.root, policy_file), "reserved") == "160M, as the policy (auto) and the command line say"


@pytest.mark.parametrize(
    ("backend", "early", "loaded", "words"),
    [
        ("(null)", "N", True, "none"),
        ("efi_pstore", "N", True, "efi_pstore, unused while a dump kernel is loaded (panic.early_pstore: false)"),
        ("efi_pstore", "Y", True, "efi_pstore keeps the end of the log too"),
        ("ramoops", "N", False, "ramoops would keep the end of the log"),
    ],
)
def test_pstore_is_told_by_what_it_is_good_for(armed: State, backend: str, early: str, loaded: bool, words: str) -> None:
    state = with_pstore(armed, backend, early)

    assert told(state if loaded else not_loaded(state), "pstore") == words


def test_a_dump_kernel_of_somebody_else_has_no_name(machine: FakeMachine, armed: State, policy_file: Path) -> None:
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")

    assert told(read_state(machine.root, policy_file), "dump kernel") == "loaded, but not by kdumpd"


def test_an_image_has_the_name_of_its_folder(armed: State) -> None:
    assert armed.facts.last_loaded
    last = dataclasses.replace(armed.facts.last_loaded, initrd="/var/lib/kdumpd/images/6.1.0-56-amd64-0123456789ab/initrd.img")
    state = dataclasses.replace(armed, facts=dataclasses.replace(armed.facts, last_loaded=last))

    assert state.dump_kernel == "6.1.0-56-amd64, image 0123456789ab"


def test_every_store_has_a_line(armed: State) -> None:
    stores = (*armed.facts.stores, dataclasses.replace(armed.facts.stores[0], path="/srv/crash", free=None))
    state = dataclasses.replace(armed, facts=dataclasses.replace(armed.facts, stores=stores))

    assert [line for line in screen(state) if line.startswith("  store")] == [
        "  store         /var/crash, 2.5G free, a crash needs at most 32M",
        "  store         /srv/crash, unknown free, a crash needs at most 32M",
    ]


def test_an_unknown_boot_loader_is_told_in_words(armed: State) -> None:
    boot = dataclasses.replace(armed.facts.boot, loader=BootLoader.NONE)
    state = dataclasses.replace(armed, facts=dataclasses.replace(armed.facts, boot=boot))

    assert told(state, "boot loader") == "none that kdumpd knows"


def test_the_last_crash_speaks_to_nobody_s_terminal(machine: FakeMachine, armed: State, policy_file: Path) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", "[ 1.0] Kernel panic - not syncing: \x1b[31m\x07evil\n")

    assert told(read_state(machine.root, policy_file), "last crash") == ("2026-11-22T03:04:05Z Kernel panic - not syncing: evil")


def test_a_crash_in_a_loop_says_so(machine: FakeMachine, armed: State, policy_file: Path) -> None:
    folder = "var/crash/2026-11-22T03-04-05Z"
    status = Status(started="2026-11-22T03:04:05Z", kernel=RELEASE, crash_loop="6 crashes in 30min, so only the log was saved")
    machine.write(f"{folder}/dmesg.txt", "[ 1.0] Kernel panic - not syncing: x\n")
    assert "crash loop" not in "\n".join(screen(read_state(machine.root, policy_file)))
    machine.write(f"{folder}/status.json", status.to_json())

    state = read_state(machine.root, policy_file)
    assert told(state, "crash loop") == status.crash_loop
    assert state.to_json()["last_crash"]["crash_loop"] == status.crash_loop


def test_a_broken_policy_before_any_apply_is_an_error_for_people_and_a_problem_for_the_daemon(
    machine: FakeMachine, policy_file: Path
) -> None:
    policy_file.write_text("crashkernel: 1\n")
    with pytest.raises(PolicyError) as caught:
        read_state(machine.root, policy_file)

    state = state_under(InForce(policy=None, problem=caught.value), machine.root, policy_file)
    assert state.readiness.troubles[-1] == Trouble(
        fact=f"{policy_file} has 1 problem, and none was ever applied", way_out="see them: kdumpd policy check"
    )


def test_a_monitoring_check_has_numbers_for_a_graph(armed: State) -> None:
    assert check_line(armed) == (
        "KDUMP OK - ARMED: a crash now would be saved to /var/crash, then this machine would power off"
        f" | reserved={192 * MIB}B needed={192 * MIB}B free={FREE}B"
    )


@pytest.mark.parametrize("degraded", [False, True])
def test_a_monitoring_check_warns_of_problems(armed: State, degraded: bool) -> None:
    state = with_troubles(armed, "the store is small")
    state = dataclasses.replace(state, readiness=dataclasses.replace(state.readiness, degraded=degraded))

    assert check_line(state).startswith("KDUMP WARNING - ")


def test_a_number_that_is_not_known_is_a_u(armed: State) -> None:
    stores = (dataclasses.replace(armed.facts.stores[0], free=None),)
    state = dataclasses.replace(armed, facts=dataclasses.replace(armed.facts, stores=stores))

    assert check_line(state).endswith(" free=U")


@given(st.text())
def test_whatever_is_wrong_the_check_is_one_line_with_one_bar(text: str) -> None:
    line = plugin_line("CRITICAL", text, "free=1B")

    assert len(line.splitlines()) == 1
    assert line.count("|") == 1


@given(st.text())
def test_one_line_holds_nothing_but_what_can_be_printed(text: str) -> None:
    assert one_line(text).isprintable()


def test_json_has_what_the_screen_tells(armed: State) -> None:
    told = armed.to_json()

    assert (told["state"], told["armed"], told["problems"]) == ("ready", True, [])
    assert told["dump_kernel"] == armed.dump_kernel
    assert told["capture"] == {"door": "initrd", "direct": True, "reason": ""}
    assert told["stores"] == [{"path": "/var/crash", "free": FREE, "needed": 32 * MIB}]
    assert (told["pstore"], told["boot_loader"], told["crashes"], told["last_crash"]) == (None, "GRUB", 0, None)


def test_where_no_range_holds_no_size_is_needed(armed: State) -> None:
    policy = dataclasses.replace(armed.policy, crashkernel=parse_crashkernel("4G-64G:256M,64G-:512M"))

    assert armed.needed_bytes == 192 * MIB
    assert dataclasses.replace(armed, policy=policy).needed_bytes is None
