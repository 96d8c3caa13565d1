# SPDX-License-Identifier: LGPL-2.1-or-later
import re
from pathlib import Path

import pytest

from kdumpd.apply.look import MAX_POLICY_BYTES, read_policy, read_policy_texts
from kdumpd.capture.settings import FinalAction
from kdumpd.errors import PolicyError
from kdumpd.policy.decode import decode_policy, show_policy
from kdumpd.policy.model import Fault, Policy
from kdumpd.policy.nodes import PolicyText
from kdumpd.units import MIB

SHIPPED = Path(__file__).parents[2] / "packaging/kdumpd.yaml"


def decode(text: str) -> Policy:
    return decode_policy([PolicyText(source="p.yaml", content=text.encode())])


def problems(text: str | bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        decode_policy([PolicyText(source="p.yaml", content=text.encode() if isinstance(text, str) else text)])
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "panic:\ncapture: {}\n"])
def test_an_empty_policy_is_the_defaults(text: str) -> None:
    assert decode(text) == Policy()


def test_the_shipped_policy_shows_every_key_with_its_default() -> None:
    text = SHIPPED.read_text()
    active = re.sub(r"^#(?=[a-z]|  [^#]*:)", "", text, flags=re.MULTILINE)

    assert decode(text) == decode(active) == Policy()
    keys = set(re.findall(r"^ *([a-z_]+):", active, flags=re.MULTILINE))
    assert keys == {"crashkernel", "panic", "reboot_after", "on", "capture", "stores", "deadline", "then", "on_failure"}


def test_every_key_is_decoded() -> None:
    policy = decode(
        "crashkernel: 256M\n"
        "panic: {reboot_after: 1min, on: [oops]}\n"
        "capture:\n  stores: [/srv/crash, /var/crash]\n  deadline: 10min\n  then: reboot\n  on_failure: halt\n"
    )

    assert policy.crashkernel == 256 * MIB
    assert (policy.panic.reboot_after, policy.panic.on) == (60, (Fault.OOPS,))
    assert policy.capture.stores == ("/srv/crash", "/var/crash")
    assert policy.capture.deadline == 600
    assert (policy.capture.then, policy.capture.on_failure) == (FinalAction.REBOOT, FinalAction.HALT)


def test_an_error_shows_its_place_and_the_way_out() -> None:
    assert problems("crashkernel: 256\n") == (
        'p.yaml:1:14: crashkernel: "256" has no unit\n    crashkernel: 256\n                 ^\nhint: write 192M'
    )


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    assert problems("crashkernel: 1M\npanik: {}\ncapture:\n  then: reebot\n  stores: []\n") == (
        'p.yaml:1:14: crashkernel: "1M" is too small, expected at least 72M\n    crashkernel: 1M\n                 ^\n'
        "hint: write 192M\n"
        'p.yaml:2:1: unknown key "panik"\n    panik: {}\n    ^\nhint: did you mean "panic"?\n'
        'p.yaml:4:9: capture.then: "reebot" is not one of poweroff, reboot, halt\n      then: reebot\n            ^\n'
        'hint: did you mean "reboot"?\n'
        "p.yaml:5:11: capture.stores: the list has 0 items, expected at least 1\n      stores: []\n              ^"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red\n", 'p.yaml:1:1: unknown key "colour"'),
        ("- a\n", "p.yaml:1:1: the policy: expected keys and values, found a list"),
        ("crashkernel: 192M\ncrashkernel: 256M\n", 'p.yaml:2:1: the key "crashkernel" is here twice'),
        ("panic: 30s\n", 'p.yaml:1:8: panic: expected keys and values, found "30s"'),
        ("panic:\n  on: oops\n", 'p.yaml:2:7: panic.on: expected a list, found "oops"'),
        ("panic:\n  on: [ops]\n", 'p.yaml:2:8: panic.on: "ops" is not one of oops, io_nmi, unrecovered_nmi'),
        ("crashkernel: [1M]\n", "p.yaml:1:14: crashkernel: expected a single value, found a list"),
        ("panic:\n  reboot_after: never\n", 'p.yaml:2:17: panic.reboot_after: "never" is not a duration'),
        ("capture:\n  deadline: 5s\n", 'p.yaml:2:13: capture.deadline: "5s" is too small, expected at least 30s'),
        ("capture:\n  stores: [crash]\n", 'p.yaml:2:12: capture.stores: "crash" is not an absolute path'),
        ("capture:\n  stores: [/a/../b]\n", 'p.yaml:2:12: capture.stores: "/a/../b" is not an absolute path'),
        ("capture:\n  stores: ['/a$(reboot)']\n", 'p.yaml:2:12: capture.stores: "/a$(reboot)" is not an absolute path'),
        ("panic:\n\ton: []\n", "p.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: [\n", "p.yaml:2:1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2:1: not valid YAML: but found another document"),
        ("? [a, b]\n: 1\n", 'p.yaml:1:3: unknown key "…"'),
        ("panic: &a\n  on: *a\n", "p.yaml:1:8: anchors and aliases are not used here"),
        (b"# caf\xe9\n", "p.yaml:1:6: byte 0xe9 is not UTF-8"),
        ("a: \x01\n", "p.yaml:1:1: not valid YAML"),
        ("[" * 10_000, "p.yaml:1:1: not valid YAML: nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_column(text: str | bytes, message: str) -> None:
    assert problems(text).startswith(message)


def test_many_problems_are_counted_not_shown() -> None:
    text = problems("".join(f"key{number}: 1\n" for number in range(30)))

    assert text.count("unknown key") == 20
    assert text.endswith("… and 10 more")


def test_a_missing_policy_is_an_error_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "kdumpd.yaml"
    with pytest.raises(PolicyError) as caught:
        read_policy_texts(path)

    assert str(caught.value) == (
        f"{path}:1:1: cannot read the policy: no such file or directory\nhint: an empty file is a valid policy: touch {path}"
    )


def test_a_folder_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"^.*:1:1: cannot read the policy: is a directory$"):
        read_policy_texts(tmp_path)


def test_a_policy_of_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"#" * (MAX_POLICY_BYTES + 1))
    with pytest.raises(PolicyError, match="more than 1048576 bytes"):
        read_policy_texts(path)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A policy with two drop-ins."""
    (tmp_path / "kdumpd.yaml").write_text("crashkernel: 192M\npanic:\n  reboot_after: 10s\n  on: [oops]\n")
    (tmp_path / "kdumpd.yaml.d").mkdir()
    (tmp_path / "kdumpd.yaml.d/20-site.yaml").write_text("panic:\n  reboot_after: 20s\n")
    (tmp_path / "kdumpd.yaml.d/30-host.yaml").write_text("panic:\n  reboot_after: 30s\ncapture:\n  then: halt\n")
    (tmp_path / "kdumpd.yaml.d/40-not.conf").write_text("nonsense")
    return tmp_path


def test_drop_ins_override_key_by_key_in_name_order(etc: Path) -> None:
    policy = read_policy(etc / "kdumpd.yaml")

    assert policy.panic.reboot_after == 30
    assert policy.panic.on == (Fault.OOPS,)
    assert policy.crashkernel == 192 * MIB
    assert policy.capture.then is FinalAction.HALT


def test_problems_of_all_files_are_told_each_with_its_own_place(etc: Path) -> None:
    (etc / "kdumpd.yaml").write_text("crashkernl: 1\n")
    (etc / "kdumpd.yaml.d/20-site.yaml").write_text("# site\npanic:\n  reboot_after: 20\n")
    (etc / "kdumpd.yaml.d/30-host.yaml").write_text("- a list\n")

    with pytest.raises(PolicyError) as caught:
        read_policy(etc / "kdumpd.yaml")

    places = [(problem.source.removeprefix(f"{etc}/"), problem.line, problem.column) for problem in caught.value.problems]
    assert places == [("kdumpd.yaml", 1, 1), ("kdumpd.yaml.d/20-site.yaml", 3, 17), ("kdumpd.yaml.d/30-host.yaml", 1, 1)]


def test_an_empty_value_in_a_drop_in_overrides_nothing(etc: Path) -> None:
    (etc / "kdumpd.yaml.d/30-host.yaml").write_text("panic:\n")

    assert read_policy(etc / "kdumpd.yaml").panic.reboot_after == 20


def test_show_tells_where_each_value_is_from(etc: Path) -> None:
    lines = [" ".join(line.split()) for line in show_policy(read_policy_texts(etc / "kdumpd.yaml")).splitlines()]

    assert lines == [
        f"crashkernel: 192M # {etc}/kdumpd.yaml:1",
        "panic:",
        f"reboot_after: 30s # {etc}/kdumpd.yaml.d/30-host.yaml:2",
        f"on: [oops] # {etc}/kdumpd.yaml:4",
        "capture:",
        "stores: [/var/crash] # default",
        "deadline: 5min # default",
        f"then: halt # {etc}/kdumpd.yaml.d/30-host.yaml:4",
        "on_failure: reboot # default",
    ]


def test_what_show_prints_is_the_same_policy(etc: Path) -> None:
    texts = read_policy_texts(etc / "kdumpd.yaml")

    assert decode(show_policy(texts)) == decode_policy(texts)


def test_show_of_an_empty_policy_is_the_defaults() -> None:
    assert decode(show_policy([])) == Policy()
