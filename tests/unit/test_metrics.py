# SPDX-License-Identifier: LGPL-2.1-or-later
"""The metrics, as Prometheus' own reader understands them."""

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kdumpd import __version__
from kdumpd.apply.apply import apply_plan
from kdumpd.plan.make import make_plan
from kdumpd.state.metrics import Sample, metrics
from kdumpd.state.state import State, read_state
from kdumpd.units import MIB
from tests.unit.fakes import POLICY, RELEASE, FakeMachine

Labels = tuple[tuple[str, str], ...]


def read(text: str) -> Mapping[tuple[str, Labels], float]:
    """Name and labels -> value; each family must be explained."""
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert all(family.documentation and family.type == "gauge" for family in families)
    assert len({family.name for family in families}) == len(families)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


@pytest.fixture
def state(machine: FakeMachine) -> State:
    machine.reserve()
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)
    return read_state(machine.root, machine.root / "etc/kdumpd.yaml")


def test_an_armed_machine_has_a_number_for_everything(machine: FakeMachine, state: State) -> None:
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", "")
    crashed = read_state(machine.root, machine.root / "etc/kdumpd.yaml")

    free = crashed.facts.stores[0].free
    assert read(metrics(crashed)) == {
        ("kdumpd_info", (("dump_kernel", crashed.dump_kernel), ("kernel", RELEASE), ("version", __version__))): 1,
        ("kdumpd_armed", ()): 1,
        ("kdumpd_degraded", ()): 0,
        ("kdumpd_problems", ()): 0,
        ("kdumpd_reserved_bytes", ()): 192 * MIB,
        ("kdumpd_needed_bytes", ()): 192 * MIB,
        ("kdumpd_store_free_bytes", (("path", "/var/crash"),)): free,
        ("kdumpd_store_needed_bytes", ()): 32 * MIB,
        ("kdumpd_crashes", ()): 1,
        ("kdumpd_last_crash_timestamp_seconds", ()): 1795316645,
    }


def test_what_is_not_known_is_left_out(state: State) -> None:
    kexec = dataclasses.replace(state.facts.kexec, reserved=None, loaded=None)
    stores = (dataclasses.replace(state.facts.stores[0], free=None),)
    facts = dataclasses.replace(state.facts, kexec=kexec, stores=stores)
    unknown = dataclasses.replace(state, facts=facts, readiness=dataclasses.replace(state.readiness, loaded=None))

    found = read(metrics(unknown))
    assert found[("kdumpd_armed", ())] == 0
    names = {name for name, _ in found}
    assert names.isdisjoint({"kdumpd_reserved_bytes", "kdumpd_store_free_bytes", "kdumpd_last_crash_timestamp_seconds"})


def test_a_degraded_machine_is_armed_and_degraded(state: State) -> None:
    found = read(metrics(dataclasses.replace(state, readiness=dataclasses.replace(state.readiness, degraded=True))))

    assert (found[("kdumpd_armed", ())], found[("kdumpd_degraded", ())]) == (1, 1)


def test_a_crash_folder_that_only_looks_like_a_time_has_none(machine: FakeMachine, state: State) -> None:
    machine.write("var/crash/2026-99-99T03-04-05Z/dmesg.txt", "")
    found = read(metrics(read_state(machine.root, machine.root / "etc/kdumpd.yaml")))

    assert found[("kdumpd_crashes", ())] == 1
    assert ("kdumpd_last_crash_timestamp_seconds", ()) not in found


@given(st.text())
def test_any_value_of_a_label_comes_back_as_it_was(value: str) -> None:
    text = f"# HELP m About.\n# TYPE m gauge\nm{Sample(1, {'label': value})}\n"

    assert list(read(text)) == [("m", (("label", value),))]
