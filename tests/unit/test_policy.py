# SPDX-License-Identifier: LGPL-2.1-or-later
import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd.apply.look import MAX_POLICY_BYTES, read_policy, read_policy_texts
from kdumpd.capture.settings import FinalAction
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.errors import PolicyError
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.model import (
    CapturePolicy,
    Compression,
    CrashLoopPolicy,
    DumpFormat,
    DumpKernelPolicy,
    Fault,
    KeepPolicy,
    Loader,
    PanicPolicy,
    Policy,
    PstorePolicy,
    RamoopsPolicy,
    Sysrq,
    VmcorePolicy,
)
from kdumpd.policy.nodes import PolicyText
from kdumpd.policy.show import dump_policy, schema, show_policy
from kdumpd.units import GIB, KIB, MIB

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
    assert "# default" not in show_policy([PolicyText(source="p.yaml", content=active.encode())])


def test_every_key_is_decoded() -> None:
    policy = decode(
        "crashkernel: 2G-64G:256M,64G-:512M\n"
        "loader: kdump-tools\n"
        "dump_kernel: {append: pci=nomsi, nr_cpus: 2}\n"
        "panic: {reboot_after: 1min, on: [oops, hung_task], hung_task_timeout: 5min, early_pstore: true}\n"
        "sysrq: [sync, remount]\n"
        "capture:\n  dmesg: false\n  vmcore: {level: [1, 17], compress: none, format: elf}\n"
        "  crash_loop: {count: 3, within: 1h}\n  stores: [/srv/crash, /var/crash]\n"
        "  keep: {count: 3, size: 10G, free: 512M}\n  deadline: 10min\n  then: reboot\n  on_failure: halt\n"
        "pstore:\n  harvest: false\n  ramoops: {size: 4M, record_size: 512K, address: 0x20000000}\n"
    )

    assert policy == Policy(
        crashkernel=parse_crashkernel("2G-64G:256M,64G-:512M"),
        loader=Loader.KDUMP_TOOLS,
        dump_kernel=DumpKernelPolicy(append="pci=nomsi", nr_cpus=2),
        panic=PanicPolicy(reboot_after=60, on=(Fault.OOPS, Fault.HUNG_TASK), hung_task_timeout=300, early_pstore=True),
        sysrq=(Sysrq.SYNC, Sysrq.REMOUNT),
        capture=CapturePolicy(
            dmesg=False,
            vmcore=VmcorePolicy(level=(1, 17), compress=Compression.NONE, format=DumpFormat.ELF),
            crash_loop=CrashLoopPolicy(count=3, within=3600),
            stores=("/srv/crash", "/var/crash"),
            keep=KeepPolicy(count=3, size=10 * GIB, free=512 * MIB),
            deadline=600,
            then=FinalAction.REBOOT,
            on_failure=FinalAction.HALT,
        ),
        pstore=PstorePolicy(harvest=False, ramoops=RamoopsPolicy(size=4 * MIB, record_size=512 * KIB, address=0x20000000)),
    )
    loaded_by_kdumpd = decode("dump_kernel: {kernel: /boot/vmlinuz-dump, remove: [irqpoll]}\n").dump_kernel
    assert (loaded_by_kdumpd.kernel, loaded_by_kdumpd.remove) == ("/boot/vmlinuz-dump", ("irqpoll",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default", None),
        ("off", ()),
        ("[]", ()),
        ("all", tuple(Sysrq)),
        ("[reboot, sync]", (Sysrq.REBOOT, Sysrq.SYNC)),
    ],
)
def test_sysrq_is_words_or_a_word_for_all_of_them(text: str, words: tuple[Sysrq, ...] | None) -> None:
    assert decode(f"sysrq: {text}\n").sysrq == words


def test_off_and_auto_stand_for_what_is_not_there() -> None:
    policy = decode("crashkernel: auto\ncapture: {vmcore: off}\npstore: {ramoops: off}\ndump_kernel: {kernel: running}\n")

    assert policy == Policy()
    assert decode("pstore: {ramoops: {}}\n").pstore.ramoops == RamoopsPolicy()
    assert decode("capture: {crash_loop: off}\n").capture.crash_loop is None
    assert decode("capture: {crash_loop: {}}\n").capture.crash_loop == CrashLoopPolicy()


def test_one_level_needs_no_list() -> None:
    assert decode("capture:\n  vmcore: {level: 17, compress: zlib}\n").capture.vmcore == VmcorePolicy(
        level=(17,), compress=Compression.ZLIB
    )


def test_an_elf_file_of_which_nothing_else_is_said_is_not_compressed() -> None:
    assert decode("capture:\n  vmcore: {format: elf}\n").capture.vmcore == VmcorePolicy(
        compress=Compression.NONE, format=DumpFormat.ELF
    )


def test_an_error_shows_its_place_and_the_way_out() -> None:
    assert problems("crashkernel: 256\n") == (
        'p.yaml:1:14: crashkernel: "256" has no unit\n    crashkernel: 256\n                 ^\n'
        "hint: the kernel reads bytes; write 256M"
    )


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    assert problems("crashkernel: 1M\npanik: {}\ncapture:\n  then: reebot\n  stores: []\n") == (
        'p.yaml:1:14: crashkernel: "1M" is too small, expected at least 72M\n    crashkernel: 1M\n                 ^\n'
        "hint: write auto, or 192M\n"
        'p.yaml:2:1: unknown key "panik"\n    panik: {}\n    ^\nhint: did you mean "panic"?\n'
        'p.yaml:4:9: capture.then: "reebot" is not one of poweroff, reboot, halt\n      then: reebot\n            ^\n'
        'hint: did you mean "reboot"?\n'
        "p.yaml:5:11: capture.stores: the list has 0 items, expected at least 1\n      stores: []\n              ^"
    )


def facts(*texts: str) -> list[str]:
    """What is wrong, without places and hints."""
    with pytest.raises(PolicyError) as caught:
        decode_policy([PolicyText(source=f"{number}.yaml", content=text.encode()) for number, text in enumerate(texts)])
    return [problem.message.partition(":")[0] for problem in caught.value.problems]


def test_contradictions_are_told_together_with_everything_else_that_is_wrong() -> None:
    text = "crashkernel: 1M\npanik: {}\ncapture:\n  dmesg: false\n  keep: {count: 3}\n  then: reebot\n"
    assert facts(text) == [
        "crashkernel",
        'unknown key "panik"',
        "capture.dmesg",
        "capture.keep.count",
        "capture.then",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "capture: {dmesg: false, vmcore: on}\n",
        "capture: {keep: {count: ten}, crash_loop: {count: 20}}\n",
        "panic: {on: [oops, hung_tsk], hung_task_timeout: 300s}\n",
        "capture: {keep: {count: 3, count: 30}}\n",
    ],
)
def test_a_default_that_stands_in_for_a_wrong_value_contradicts_nothing(text: str) -> None:
    assert len(facts(text)) == 1


def test_what_a_text_that_can_not_be_read_would_say_is_not_guessed() -> None:
    assert facts("capture: {dmesg: false}\n", "capture: {vmcore: {level: 31}\n") == ["not valid YAML"]


PATH_RULE = "is not an absolute path of letters, digits and . _ + @ -"
FAULTS = ", ".join(Fault)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "colour: red\n",
            '1:1: unknown key "colour"\nhint: the keys here are crashkernel, loader, dump_kernel, panic, sysrq, capture, pstore',
        ),
        ("- a\n", "1:1: the policy: expected keys and values, found a list"),
        ("just text\n", '1:1: the policy: expected keys and values, found "just text"'),
        (
            "crashkernel: 192M\ncrashkernel: 256M\n",
            '2:1: the key "crashkernel" is here twice\nhint: the first one is in line 1',
        ),
        (
            "panic: 30s\n",
            '1:8: panic: expected keys and values, found "30s"\n'
            "hint: write panic: {reboot_after: …, on: …, hung_task_timeout: …, early_pstore: …}",
        ),
        ("panic:\n  on: oops\n", '2:7: panic.on: expected a list, found "oops"\nhint: write on: [oops]'),
        ("panic:\n  on: [ops]\n", f'2:8: panic.on: "ops" is not one of {FAULTS}\nhint: did you mean "oops"?'),
        ("panic:\n  on: [oops, warn, oops]\n", '2:20: panic.on: "oops" is here twice'),
        ("crashkernel: [1M]\n", "1:14: crashkernel: expected a single value, found a list"),
        ("panic:\n  reboot_after: never\n", '2:17: panic.reboot_after: "never" is not a duration\nhint: write 30s'),
        (
            "capture:\n  deadline: 5s\n",
            '2:13: capture.deadline: "5s" is too small, expected at least 30s\nhint: write 5min',
        ),
        ("capture:\n  stores: [crash]\n", f'2:12: capture.stores: "crash" {PATH_RULE}\nhint: write for example /var/crash'),
        ("capture:\n  stores: [/a/../b]\n", f'2:12: capture.stores: "/a/../b" {PATH_RULE}\nhint: write for example /var/crash'),
        (
            "capture:\n  stores: ['/a$(reboot)']\n",
            f'2:12: capture.stores: "/a$(reboot)" {PATH_RULE}\nhint: write for example /var/crash',
        ),
        (
            "capture:\n  vmcore: 31\n",
            '2:11: capture.vmcore: expected "off" or keys and values, found "31"\n'
            "hint: write vmcore: {level: …, compress: …, format: …}",
        ),
        ("capture:\n  vmcore: {level: 32}\n", "2:19: capture.vmcore.level: 32 is out of range, expected 0 to 31"),
        ("capture:\n  vmcore: {level: [1, 32]}\n", "2:23: capture.vmcore.level: 32 is out of range, expected 0 to 31"),
        ("capture:\n  vmcore: {level: []}\n", "2:19: capture.vmcore.level: the list has 0 items, expected at least 1"),
        (
            "capture:\n  vmcore: {level: [31, 1]}\n",
            "2:19: capture.vmcore.level: after 31 comes 1, which does not leave out all that 31 does, and so may be larger\n"
            "hint: let each leave out all that the one before does, and more, as in [1, 17, 31]",
        ),
        (
            "capture:\n  vmcore: {format: elf, compress: lzo}\n",
            "2:35: capture.vmcore.compress: what is in an elf file is never compressed\n"
            "hint: write compress: none, or format: kdump",
        ),
        (
            "capture:\n  crash_loop: {within: 1s}\n",
            '2:24: capture.crash_loop.within: "1s" is too small, expected at least 1min\nhint: write 30min',
        ),
        ("capture:\n  keep: {size: 5}\n", '2:16: capture.keep.size: "5" has no unit\nhint: write 5G'),
        ("capture:\n  keep: {count: many}\n", '2:17: capture.keep.count: "many" is not a whole number'),
        (
            "capture:\n  dmesg: false\n",
            "2:10: capture.dmesg: with vmcore: off, nothing would be saved\nhint: write dmesg: true, or give vmcore a level",
        ),
        ("loader: kdumptools\n", '1:9: loader: "kdumptools" is not one of kdumpd, kdump-tools\nhint: did you mean "kdump-tools"?'),
        (
            "loader: kdump-tools\ndump_kernel: {remove: [irqpoll]}\n",
            "2:23: dump_kernel.remove: kdump-tools can't be told to remove parameters\nhint: write loader: kdumpd, or remove: []",
        ),
        (
            "loader: kdump-tools\ndump_kernel: {kernel: /boot/vmlinuz-dump}\n",
            "2:23: dump_kernel.kernel: kdump-tools loads the running kernel and no other\n"
            "hint: write loader: kdumpd, or kernel: running",
        ),
        (
            "loader: kdump-tools\ndump_kernel: {append: 'a=$(reboot)'}\n",
            "2:23: dump_kernel.append: kdump-tools would let a shell read the $ ( ) in it\n"
            "hint: write loader: kdumpd, or do without these characters",
        ),
        (
            "dump_kernel: {append: crashkernel=64M}\n",
            '1:23: dump_kernel.append: "crashkernel=64M" is not yours to set, kdumpd does\n'
            'hint: write for example append: "pci=nomsi"',
        ),
        (
            "dump_kernel: {append: 'a=\"b'}\n",
            '1:23: dump_kernel.append: a " has no partner\nhint: write for example append: "pci=nomsi"',
        ),
        (
            'dump_kernel: {append: "a\\nb"}\n',
            "1:23: dump_kernel.append: the character '\\n' can't be on a kernel command line\n"
            'hint: write for example append: "pci=nomsi"',
        ),
        (
            f"dump_kernel: {{append: {'x' * 1025}}}\n",
            "1:23: dump_kernel.append: 1025 characters are too many, expected at most 1024\n"
            'hint: write for example append: "pci=nomsi"',
        ),
        (
            "dump_kernel: {remove: ['a=b']}\n",
            '1:24: dump_kernel.remove: "a=b" is not the name of a kernel parameter\nhint: write names only, for example [irqpoll]',
        ),
        (
            "dump_kernel: {remove: [kdumpd.capture]}\n",
            '1:24: dump_kernel.remove: the dump kernel can\'t do without "kdumpd.capture"\n'
            "hint: write names only, for example [irqpoll]",
        ),
        (
            "dump_kernel: {append: kdumpd.door=systemd}\n",
            '1:23: dump_kernel.append: "kdumpd.door=systemd" is not yours to set, kdumpd does\n'
            'hint: write for example append: "pci=nomsi"',
        ),
        (
            "capture: {keep: {count: 3}}\n",
            "1:25: capture.keep.count: 3 kept crashes can't show that there were more than the 5 of capture.crash_loop\n"
            "hint: keep 5 or more, or write crash_loop: off",
        ),
        (
            "capture: {crash_loop: {count: 20}}\n",
            "1:31: capture.crash_loop.count: 10 kept crashes can't show that there were more than the 20 of capture.crash_loop\n"
            "hint: keep 20 or more, or write crash_loop: off",
        ),
        (
            "panic: {hung_task_timeout: 60s}\n",
            "1:28: panic.hung_task_timeout: hung_task is not in panic.on, so this has no effect\nhint: add hung_task to panic.on",
        ),
        ("sysrq: 438\n", '1:8: sysrq: "438" is not one of default, off, all, and no list\nhint: write [sync, dumps]'),
        (
            "sysrq: [sinc]\n",
            f'1:9: sysrq: "sinc" is not one of {", ".join(Sysrq)}\nhint: did you mean "sync"?',
        ),
        (
            "pstore: {ramoops: {address: 512M}}\n",
            '1:29: pstore.ramoops.address: "512M" is not an address\nhint: write auto, or for example 0x20000000',
        ),
        (
            "pstore: {ramoops: {size: 128K}}\n",
            "1:26: pstore.ramoops.size: a record of 256K has no room in 128K\nhint: make size a multiple of record_size",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_way_out(text: str, message: str) -> None:
    found = problems(text).split("\n")

    # Without the line of the file and the caret, which every message has.
    assert "\n".join([found[0], *found[3:]]) == f"p.yaml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "capture:\n  dmesg: yes\n",
            '2:10: capture.dmesg: "yes" is not true or false\nhint: write dmesg: true',
        ),
        ("capture:\n  dmesg: off\n", '2:10: capture.dmesg: "off" is not true or false\nhint: write dmesg: false'),
        ("pstore: {ramoops: on}\n", '1:19: pstore.ramoops: expected "off" or keys and values, found "on"'),
        (
            "capture:\n  then: no\n",
            '2:9: capture.then: "no" is not one of poweroff, reboot, halt\n'
            'hint: "no" is a boolean in YAML, write one of these words',
        ),
        (
            "sysrq: yes\n",
            '1:8: sysrq: "yes" is not one of default, off, all, and no list\n'
            'hint: "yes" is a boolean in YAML, write one of these words',
        ),
        (
            "panic:\n  reboot_after: 12:34\n",
            '2:17: panic.reboot_after: "12:34" is not a duration\n'
            'hint: many YAML readers take "12:34" for the number 754; write for example 30s',
        ),
        (
            "capture: {keep: {count: 0755}}\n",
            '1:25: capture.keep.count: "0755" is not a whole number\n'
            'hint: many YAML readers take "0755" for the octal of 493; write for example 1',
        ),
        (
            "crashkernel: 0256M\n",
            '1:14: crashkernel: "0256M" is not decimal\nhint: the kernel reads 174M; write no 0 in front',
        ),
        ("panic:\n\ton: []\n", "2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "2:1: not valid YAML: but found another document"),
        ("panic: &a\n  on: *a\n", "1:8: anchors and aliases are not used here\nhint: write the value out"),
    ],
)
def test_the_traps_of_yaml_are_caught_with_a_hint(text: str, message: str) -> None:
    found = problems(text).split("\n")

    assert "\n".join([found[0], *found[3:]]).startswith(f"p.yaml:{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "p.yaml:2:1: not valid YAML"),
        ("? [a, b]\n: 1\n", 'p.yaml:1:3: unknown key "…"'),
        (b"# caf\xe9\n", "p.yaml:1:6: byte 0xe9 is not UTF-8"),
        ("a: \x01\n", "p.yaml:1:4: not valid YAML: the character U+0001 is not allowed"),
        ("a: 1\nb: x\0y\n", "p.yaml:2:5: not valid YAML: the character U+0000 is not allowed"),
        (
            "a: 1\nb: 'x\nc: 2\n",
            "p.yaml:2:4: not valid YAML: the quote that begins here has no end\n    b: 'x\n       ^\nhint: end it with another '",
        ),
        ('a: 1\nb: "x\n---\n', "p.yaml:2:4: not valid YAML: the quote that begins here has no end"),
        pytest.param("[" * 10_000, "p.yaml:1:1: not valid YAML: nested too deeply", id="lists"),
        pytest.param("- " * 10_000, "p.yaml:1:1: not valid YAML: nested too deeply", id="items"),
        pytest.param("{a: " * 10_000, "p.yaml:1:1: not valid YAML: nested too deeply", id="mappings"),
    ],
)
def test_what_is_no_policy_at_all_is_refused_with_its_place(text: str | bytes, message: str) -> None:
    assert problems(text).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "capture:\n  keep:\n    count: " + "9" * 5000,
        "capture:\n  keep:\n    count: " + "1:" * 5000 + "1",
        "capture:\n  keep:\n    count: 0" + "7" * 9000,
        "capture:\n  deadline: " + "9" * 5000 + "s",
        "crashkernel: " + "9" * 5000 + "M",
        "crashkernel: " + "9" * 5000,
        "panic:\n  on: [" + "o" * 5000 + "]",
        "panic:\n  on: ['" + "o p " * 5000 + "']",
        "k" * 900 + ": 1",
        "capture: '" + "a b " * 5000 + "'",
        "a: [" + "[" * 20_000,
        " " * 5000 + "a: 1: 2",
    ],
)
def test_of_a_hostile_policy_a_hundred_characters_are_quoted_in_no_time(text: str) -> None:
    begin = time.process_time()
    told = problems(text)

    assert time.process_time() - begin < 1
    assert all(len(line) < 300 for line in told.splitlines())


def test_of_a_long_line_the_part_around_the_error_is_quoted() -> None:
    _, quote, caret, _ = problems(f"capture: {{{' ' * 200}deadlin: 5min,{' ' * 200}then: halt}}").splitlines()

    assert quote == f"    …{' ' * 50}deadlin: 5min,{' ' * 36}…"
    assert quote[caret.index("^") :].startswith("deadlin:")


@given(st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=300)
def test_whatever_is_in_the_file_the_answer_is_a_policy_or_a_place(text: str | bytes) -> None:
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        decode_policy([PolicyText(source="p.yaml", content=content)])
    except PolicyError as problem:
        places = [(place.line, place.column) for place in problem.problems]
    else:
        places = []

    assert all(line >= 1 and column >= 1 for line, column in places)


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
    assert policy.crashkernel == parse_crashkernel("192M")
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

    assert lines[:3] == [f"crashkernel: 192M # {etc}/kdumpd.yaml:1", "loader: kdumpd # default", "dump_kernel:"]
    assert f"reboot_after: 30s # {etc}/kdumpd.yaml.d/30-host.yaml:2" in lines
    assert f"on: [oops] # {etc}/kdumpd.yaml:4" in lines
    assert f"then: halt # {etc}/kdumpd.yaml.d/30-host.yaml:4" in lines
    assert "on_failure: reboot # default" in lines


def test_what_show_prints_is_the_same_policy(etc: Path) -> None:
    texts = read_policy_texts(etc / "kdumpd.yaml")

    assert decode(show_policy(texts)) == decode_policy(texts)


def test_show_of_an_empty_policy_is_the_defaults() -> None:
    assert decode(show_policy([])) == Policy()


SIZES = st.integers(1, 4096).map(lambda number: number * MIB)
PATHS = st.lists(st.from_regex(r"(/[A-Za-z0-9._+@-]{1,8}){1,3}", fullmatch=True), min_size=1, max_size=3, unique=True)
POLICIES = st.builds(
    Policy,
    crashkernel=st.sampled_from([None, *map(parse_crashkernel, ("192M", "1G@16M", "2G-4G:128M,4G-:256M", "512M,high 128M,low"))]),
    dump_kernel=st.builds(
        DumpKernelPolicy,
        append=st.text(st.characters(min_codepoint=32, max_codepoint=126, blacklist_characters='"-'), max_size=20),
        nr_cpus=st.integers(1, 512),
    ),
    panic=st.builds(
        PanicPolicy,
        reboot_after=st.integers(0, 10**6),
        on=st.lists(st.sampled_from(Fault), unique=True).map(tuple),
        hung_task_timeout=st.just(120),
        early_pstore=st.booleans(),
    ),
    sysrq=st.none() | st.just(tuple(Sysrq)) | st.lists(st.sampled_from(Sysrq), unique=True, max_size=7).map(tuple),
    capture=st.builds(
        CapturePolicy,
        dmesg=st.just(True),
        vmcore=st.none()
        | st.builds(
            VmcorePolicy, level=st.sampled_from([(0,), (31,), (1, 17, 31)]), compress=st.sampled_from(Compression)
        )
        | st.just(VmcorePolicy(compress=Compression.NONE, format=DumpFormat.ELF)),
        stores=PATHS.filter(lambda paths: not any({".", ".."} & set(path.split("/")) for path in paths)).map(tuple),
        keep=st.builds(KeepPolicy, count=st.integers(99, 9999), size=SIZES, free=SIZES),
        crash_loop=st.none() | st.builds(CrashLoopPolicy, count=st.integers(1, 99), within=st.integers(60, 10**5)),
        deadline=st.integers(30, 10**5),
    ),
    pstore=st.builds(
        PstorePolicy, ramoops=st.none() | st.builds(RamoopsPolicy, address=st.none() | st.integers(0, 2**40))
    ),
)  # fmt: skip


@given(POLICIES)
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_any_policy_is_the_same_after_it_was_written_and_read(policy: Policy) -> None:
    assert decode(dump_policy(policy)) == policy


# Texts that YAML 1.1 resolves to another type, or does not read as one text, when they have no quotes.
NULLS = ["", "~", "null", "Null", "NULL"]
BOOLEANS = ["true", "True", "TRUE", "false", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "Off", "OFF"]
NUMBERS = ["0", "7", "017", "0x1F", "0b101", "1_000", "+1", "-1", "12:34", "190:20:30", "1:30.5", "1.5", "1.", ".5", "1.5e+3"]
NOT_NUMBERS = [".inf", "-.inf", ".nan", "2026-11-30", "2026-11-30T10:20:30Z", "2026-11-30 10:20:30"]
MARKS = ["=", "<<", "-", "?", ":", "---", "...", ",", "#", "- a", "? a", "a:", "a: b", "a #b", "&a", "*a", "!a", "!!str", "|", ">"]
BRACKETS = ["[", "]", "{", "}", "[a]", "{a: b}", "@a", "`a", "%a", "'", "'a'", "a'b", '""', '"a b"', "\\"]
BLANKS = [" ", " a", "a ", "a  b", "quiet loglevel=3"]
ONLY_OTHER_READERS = ["y", "Y", "n", "N", "1e3", "1.5e3", "0o17"]


@pytest.mark.parametrize("text", [*NULLS, *BOOLEANS, *NUMBERS, *NOT_NUMBERS, *MARKS, *BRACKETS, *BLANKS])
def test_any_reader_of_yaml_gets_back_the_text_that_was_written(text: str) -> None:
    policy = Policy(dump_kernel=DumpKernelPolicy(append=text))
    written = dump_policy(policy)

    assert decode(written) == policy
    assert yaml.safe_load(written)["dump_kernel"]["append"] == text


@pytest.mark.parametrize("text", ONLY_OTHER_READERS)
def test_what_is_text_for_pyyaml_only_is_quoted_too(text: str) -> None:
    assert f'append: "{text}"\n' in dump_policy(Policy(dump_kernel=DumpKernelPolicy(append=text)))


@pytest.mark.parametrize("name", ["null", "no", "y", "0", "1e3"])
def test_a_name_in_a_list_that_is_another_type_in_yaml_is_quoted(name: str) -> None:
    assert f'remove: ["{name}", irqpoll]\n' in dump_policy(Policy(dump_kernel=DumpKernelPolicy(remove=(name, "irqpoll"))))


def test_a_word_of_the_policy_is_not_quoted() -> None:
    assert "sysrq: off\n" in dump_policy(Policy(sysrq=()))


def test_the_schema_has_the_keys_the_defaults_and_the_shape_of_the_dataclasses() -> None:
    compare(schema(), Policy())


def compare(found: dict[str, Any], values: Any) -> None:
    """Holds one section of the schema against its dataclass, and those inside it."""
    section = next((option for option in found.get("anyOf", []) if "properties" in option), found)
    assert section["additionalProperties"] is False
    assert list(section["properties"]) == [field.name for field in dataclasses.fields(values)]
    for field in dataclasses.fields(values):
        inside, value = section["properties"][field.name], getattr(values, field.name)
        assert inside["description"]
        if dataclasses.is_dataclass(value):
            compare(inside, value)
        elif inside["default"] == "off" and "properties" in str(inside):
            compare(inside, {"vmcore": VmcorePolicy(), "ramoops": RamoopsPolicy()}[field.name])
        else:
            written = f"{field.name}: {json.dumps(inside['default'])}\n"
            assert getattr(decode_in(values, written), field.name) == value


def decode_in(values: Any, written: str) -> Any:
    """What a line means in the section that these values are from."""
    paths = {
        Policy: (),
        DumpKernelPolicy: ("dump_kernel",),
        PanicPolicy: ("panic",),
        CapturePolicy: ("capture",),
        KeepPolicy: ("capture", "keep"),
        CrashLoopPolicy: ("capture", "crash_loop"),
        PstorePolicy: ("pstore",),
        VmcorePolicy: ("capture", "vmcore"),
        RamoopsPolicy: ("pstore", "ramoops"),
    }
    names = paths[type(values)]
    text = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(names)) + "  " * len(names) + written
    found: Any = decode(text)
    for name in names:
        found = getattr(found, name)
    return found


def test_a_schema_validator_agrees_with_kdumpd(etc: Path) -> None:
    """The file as an editor sees it: a YAML reader of its own, and the schema."""
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())

    def errors(text: str) -> list[str]:
        return [error.message for error in validator.iter_errors(yaml.load(text, Loader=yaml.BaseLoader))]

    assert errors("crashkernel: 256M\nsysrq: [sync]\npstore:\n  ramoops: off\n") == []
    assert errors("crashkernl: 256M\n") != []
    assert errors("sysrq: [sinc]\n") != []
    assert errors("capture:\n  then: reebot\n") != []
