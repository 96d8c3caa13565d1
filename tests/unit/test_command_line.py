# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.errors import HostError
from kdumpd.host.platform import Platform
from kdumpd.parameters import parameter_name, tokenize, values
from kdumpd.plan.command_line import ADDITIONS, REMOVALS, added_parameters
from kdumpd.plan.command_line import dump_command_line as dump_command_line_by
from kdumpd.policy.model import DumpKernelPolicy

PC = Platform(machine="x86_64")


def dump_command_line(running: str, policy: DumpKernelPolicy | None = None, platform: Platform = PC) -> str:
    return dump_command_line_by(running, policy or DumpKernelPolicy(), platform)


def test_tokens_end_at_blanks_outside_of_quotes_and_keep_their_quotes() -> None:
    assert tokenize('  ro dyndbg="file a.c +p"  "x y=1" z\t') == ("ro", 'dyndbg="file a.c +p"', '"x y=1"', "z")


def test_a_parameter_may_be_there_several_times_and_be_spelt_with_dashes() -> None:
    line = "crashkernel=64M quiet crashkernel=192M log-buf-len=1M"

    assert values(line, "crashkernel") == ("64M", "192M")
    assert values(line, "log_buf_len") == ("1M",)
    assert values(line, "crash") == ()


def test_the_dump_kernel_inherits_what_it_needs_to_find_its_root() -> None:
    line = dump_command_line("BOOT_IMAGE=/vmlinuz root=UUID=1 ro rd.lvm.lv=vg/root console=ttyS0,115200 crashkernel=192M quiet")

    assert line.startswith("root=UUID=1 rd.lvm.lv=vg/root console=ttyS0,115200 kdumpd.capture ")
    assert "systemd.unit=kdumpd-capture.target" in line.split()


@pytest.mark.parametrize("name", [name for removal in REMOVALS for name in removal.names])
def test_what_hurts_a_dump_kernel_is_removed_in_every_place_and_spelling(name: str) -> None:
    added = added_parameters(DumpKernelPolicy(), PC)
    line = dump_command_line(f"{name}=1 a {name.replace('_', '-')} b=2 {name}=3")

    assert [token for token in tokenize(line) if token not in added] == ["a", "b=2"]


def test_quoted_parameters_survive() -> None:
    assert dump_command_line('dyndbg="file a.c +p; module b +p" ro').startswith('dyndbg="file a.c +p; module b +p" kdumpd.capture')


def test_what_is_meant_for_init_is_not_handed_on() -> None:
    assert "rescue.target" not in dump_command_line("root=/dev/vda2 -- rescue.target")


def test_every_change_has_its_reason() -> None:
    assert all(removal.reason for removal in REMOVALS)
    assert all(addition.reason for addition in ADDITIONS)


def test_the_policy_may_take_out_and_add_parameters_of_its_own() -> None:
    policy = DumpKernelPolicy(remove=("irqpoll", "console"), append='pci=nomsi dyndbg="file a.c +p"', nr_cpus=4)
    words = tokenize(dump_command_line("root=UUID=1 console=ttyS0,115200", policy))

    assert not {"irqpoll", "console=ttyS0,115200"}.intersection(words)
    assert words[-3:] == ("nr_cpus=4", "pci=nomsi", 'dyndbg="file a.c +p"')


def test_irqpoll_takes_devices_away_on_graviton_and_is_not_there_on_s390x() -> None:
    assert "irqpoll" in dump_command_line("", platform=Platform(machine="aarch64")).split()
    assert "irqpoll" not in dump_command_line("", platform=Platform(machine="aarch64", ec2=True)).split()
    assert not {"irqpoll", "reset_devices", "mce=off"}.intersection(
        dump_command_line("", platform=Platform(machine="s390x")).split()
    )


def test_several_cpus_do_not_start_the_one_that_the_firmware_started() -> None:
    pc = Platform(machine="x86_64", boot_apic=4)

    assert "disable_cpu_apicid=4" in dump_command_line("", DumpKernelPolicy(nr_cpus=2), pc).split()
    assert "disable_cpu_apicid" not in dump_command_line("", DumpKernelPolicy(nr_cpus=1), pc)


def test_a_watchdog_gets_no_warning_interrupt() -> None:
    words = dump_command_line("", platform=Platform(machine="x86_64", watchdogs=("hpwdt", "iTCO_wdt"))).split()

    assert words[-3:] == ["hpwdt.pretimeout=0", "hpwdt.kdumptimeout=0", "iTCO_wdt.pretimeout=0"]


def test_a_watchdog_ends_a_capture_that_hangs() -> None:
    words = dump_command_line("systemd.watchdog_sec=off", platform=Platform(machine="x86_64", has_watchdog=True)).split()

    # systemd takes the last one.
    assert [word for word in words if word.startswith("systemd.watchdog_sec=")][-1] == "systemd.watchdog_sec=60"
    assert "systemd.watchdog_sec" not in dump_command_line("")


def test_what_another_dump_kernel_was_told_is_not_handed_on() -> None:
    line = dump_command_line("kdumpd.capture kdumpd.door=systemd kdumpd.mount=/var,UUID=1,ext4 kdumpd-x=1 root=UUID=1")

    assert [word for word in line.split() if word.startswith("kdumpd")] == ["kdumpd-x=1", "kdumpd.capture"]


def test_what_the_capture_goes_by_is_there_and_no_policy_takes_it_out() -> None:
    words = dump_command_line_by("", DumpKernelPolicy(append="x=1"), PC, ("kdumpd.deadline=300",)).split()

    assert words.index("kdumpd.deadline=300") < words.index("x=1")


def test_a_console_of_xen_is_left_out_where_there_is_xen() -> None:
    line = "console=hvc0 console=ttyS0"

    assert dump_command_line(line, platform=Platform(machine="x86_64", xen=True)).startswith("console=ttyS0 ")
    assert dump_command_line(line).startswith("console=hvc0 console=ttyS0 ")


def test_a_line_that_the_architecture_can_not_pass_is_refused() -> None:
    longest = 2048 - 1 - 128 - len(dump_command_line("")) - 1
    assert dump_command_line("a" * longest)

    with pytest.raises(HostError, match="would have 1920 characters, expected at most 1919 on x86_64\nhint: take parameters out"):
        dump_command_line("a" * (longest + 1))
    with pytest.raises(HostError, match="expected at most 895 on riscv64"):
        dump_command_line("a" * 500, platform=Platform(machine="riscv64"))


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters='"'), min_size=1, max_size=10)
# As the kernel knows them: quotes around a value, or around all of it, with blanks inside.
QUOTED = st.builds(lambda name, words: f'{name}="{" ".join(words)}"', WORD, st.lists(WORD, max_size=3)) | st.builds(
    lambda words: f'"{" ".join(words)}"', st.lists(WORD, min_size=1, max_size=3)
)
WORDS = st.lists(WORD | QUOTED, max_size=8)


@given(WORDS, st.sampled_from([" ", "  ", "\t", " \t "]))
def test_any_parameters_come_out_of_a_command_line_as_they_went_in(words: list[str], blank: str) -> None:
    assert tokenize(blank.join(["", *words, ""])) == tuple(words)


@given(WORDS)
def test_the_dump_kernels_command_line_inherits_nothing_that_hurts_and_invents_nothing(words: list[str]) -> None:
    line = tokenize(dump_command_line(" ".join(words)))
    added = added_parameters(DumpKernelPolicy(), PC)

    assert line[-len(added) :] == added
    assert all(word in words for word in line[: -len(added)])
    hurts = {parameter_name(name) for removal in REMOVALS for name in removal.names}
    assert not hurts.intersection(parameter_name(word) for word in line[: -len(added)])
