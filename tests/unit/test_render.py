# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is rendered means to its reader what the policy says, and nothing else."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.apply.apply import apply_plan
from kdumpd.daemon.job import keep_armed
from kdumpd.errors import ApplyError, KdumpdError
from kdumpd.plan.kernel_values import SYSCTL_OF_FAULT, sysctls
from kdumpd.plan.make import make_plan
from kdumpd.plan.render import shell_word
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.model import DumpKernelPolicy, Fault, PanicPolicy, Policy, Sysrq
from kdumpd.policy.nodes import PolicyText
from kdumpd.policy.show import dump_policy
from tests.unit.fakes import POLICY, FakeMachine, Stubs

# Whatever can be in a policy, and what a shell or systemd might make more of.
SPECIAL = st.sampled_from("abc019 _-=.,:/\\\"'`$(){}[]<>|&;*?#!~%^+@\t")
HOSTILE = st.text(SPECIAL | st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=40)


def apply(machine: FakeMachine, policy: Policy) -> None:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None)


def read_by_sh(line: str, name: str) -> str:
    script = f'{line}\nprintf %s "${name}"'
    return subprocess.run(["sh", "-euc", script], check=True, capture_output=True).stdout.decode()


def read_by_systemd(text: str) -> dict[str, str]:
    """EnvironmentFile= by the rules of systemd.exec(5) and src/basic/env-file.c of systemd 252: quotes of both kinds, pieces
    one after the other, a backslash escapes anything outside of quotes, and " \\ ` $ inside of double ones."""
    found = {}
    position = 0
    while position < len(text):
        end = text.index("\n", position) if "\n" in text[position:] else len(text)
        if text[position] in "#;\n":
            position = end + 1
            continue
        name, _, _ = text[position:].partition("=")
        position += len(name) + 1
        value, position = _systemd_value(text, position)
        found[name] = value
    return found


def _systemd_value(text: str, position: int) -> tuple[str, int]:
    value = ""
    blanks = ""
    while position < len(text) and text[position] != "\n":
        char = text[position]
        if char == "'":
            end = text.index("'", position + 1)
            value, blanks, position = value + blanks + text[position + 1 : end], "", end + 1
        elif char == '"':
            position += 1
            value, blanks = value + blanks, ""
            while text[position] != '"':
                if text[position] == "\\" and text[position + 1] in '"\\`$':
                    position += 1
                value, position = value + text[position], position + 1
            position += 1
        elif char in " \t":
            blanks, position = blanks + char, position + 1
        else:
            if char == "\\":
                position += 1
            value, blanks, position = value + blanks + text[position], "", position + 1
    return value, position + 1


@given(HOSTILE)
@settings(max_examples=150)
def test_any_text_is_one_word_to_a_shell_and_to_systemd(text: str) -> None:
    line = f"WORD={shell_word(text)}\n"

    assert read_by_sh(line, "WORD") == text
    assert read_by_systemd(line) == {"WORD": text}


@given(HOSTILE)
@settings(max_examples=60)
def test_no_policy_breaks_out_of_the_kdump_tools_file(text: str) -> None:
    """The whole way, from YAML: what the policy refuses can't be rendered, and what it takes comes out as it went in."""
    quoted = "'" + text.replace("'", "''") + "'"
    try:
        policy = decode_policy([PolicyText(source="p.yaml", content=f"dump_kernel: {{append: {quoted}}}\n".encode())])
    except KdumpdError:
        return
    line = f"APPEND={shell_word(policy.dump_kernel.append)}\n"

    assert read_by_sh(line, "APPEND") == read_by_systemd(line)["APPEND"] == policy.dump_kernel.append


def test_the_kdump_tools_file_is_the_same_to_a_shell_and_to_systemd(machine: FakeMachine) -> None:
    apply(machine, Policy(crashkernel=POLICY.crashkernel, dump_kernel=DumpKernelPolicy(append="a='$(reboot)' b=`id` \"c d\"")))
    text = machine.read("etc/default/kdump-tools")

    append = read_by_systemd(text)["KDUMP_CMDLINE_APPEND"]
    assert append.endswith("nr_cpus=1 a='$(reboot)' b=`id` \"c d\"")
    assert read_by_sh(text, "KDUMP_CMDLINE_APPEND") == append
    assert read_by_systemd(text)["USE_KDUMP"] == "0"


def test_every_fault_has_its_sysctl_and_what_is_not_named_is_survived(machine: FakeMachine) -> None:
    apply(
        machine, Policy(crashkernel=POLICY.crashkernel, panic=PanicPolicy(on=(Fault.HUNG_TASK, Fault.OOM), hung_task_timeout=300))
    )
    found = dict(re.findall(r"^-(\S+) = (\S+)$", machine.read("etc/sysctl.d/60-kdumpd.conf"), re.MULTILINE))

    assert set(SYSCTL_OF_FAULT.values()) < set(found)
    assert {name for name, value in found.items() if value == "1"} == {"kernel.hung_task_panic", "vm.panic_on_oom"}
    assert found["kernel.hung_task_timeout_secs"] == "300"
    assert machine.read("proc/sys/kernel/hung_task_timeout_secs") == "300\n"
    assert machine.read("proc/sys/vm/panic_on_oom") == "1\n"


@pytest.mark.parametrize(
    ("words", "mask"),
    [
        ((), 0),
        (tuple(Sysrq), 1),
        ((Sysrq.LOGLEVEL,), 2),
        ((Sysrq.KEYBOARD,), 4),
        ((Sysrq.DUMPS,), 8),
        ((Sysrq.SYNC,), 16),
        ((Sysrq.REMOUNT,), 32),
        ((Sysrq.SIGNAL,), 64),
        ((Sysrq.REBOOT,), 128),
        ((Sysrq.NICE,), 256),
        ((Sysrq.SYNC, Sysrq.REMOUNT, Sysrq.REBOOT), 176),
    ],
)
def test_sysrq_words_become_the_bits_of_the_kernel(words: tuple[Sysrq, ...], mask: int) -> None:
    assert sysctls(Policy(sysrq=words))["kernel.sysrq"] == mask


def test_sysrq_default_is_somebody_elses(machine: FakeMachine) -> None:
    apply(machine, POLICY)

    assert "sysrq" not in machine.read("etc/sysctl.d/60-kdumpd.conf")
    assert machine.read("proc/sys/kernel/sysrq") == "438\n"


def test_early_pstore_is_set_now_and_at_every_boot_and_let_go_of_again(machine: FakeMachine) -> None:
    parameter = "sys/module/kernel/parameters/crash_kexec_post_notifiers"
    machine.write(parameter, "N\n")
    early = Policy(crashkernel=POLICY.crashkernel, panic=PanicPolicy(early_pstore=True))
    plan = make_plan(early, machine.facts(early))
    assert plan.notes[-1] == (
        "early_pstore lets a broken kernel run more code before the dump kernel starts: a dump may fail that would not have"
    )

    apply(machine, early)
    assert machine.read(parameter) == "Y\n"
    assert f"\nw /{parameter} - - - - Y\n" in machine.read("etc/tmpfiles.d/kdumpd.conf")

    apply(machine, POLICY)
    assert machine.read(parameter) == "N\n"
    assert not (machine.root / "etc/tmpfiles.d/kdumpd.conf").exists()


def test_where_kdumpd_never_asked_for_early_pstore_the_kernels_own_choice_stays(machine: FakeMachine) -> None:
    machine.write("sys/module/kernel/parameters/crash_kexec_post_notifiers", "Y\n")
    apply(machine, POLICY)

    assert machine.read("sys/module/kernel/parameters/crash_kexec_post_notifiers") == "Y\n"


def test_a_fault_that_this_kernel_can_not_turn_into_a_panic_is_named(machine: FakeMachine) -> None:
    (machine.root / "proc/sys/kernel/hardlockup_panic").unlink()
    policy = Policy(crashkernel=POLICY.crashkernel, panic=PanicPolicy(on=(Fault.HARD_LOCKUP,)))

    assert (
        "this kernel has no kernel.hardlockup_panic: hard_lockup in panic.on has no effect"
        in make_plan(policy, machine.facts(policy)).notes
    )


def test_an_administrators_template_is_used_instead_of_ours(machine: FakeMachine) -> None:
    machine.write("etc/kdumpd/templates/sysctl.conf.j2", "# mine\nkernel.panic = {{ sysctls['kernel.panic'] }}\n")
    apply(machine, POLICY)

    assert machine.read("etc/sysctl.d/60-kdumpd.conf") == "# mine\nkernel.panic = 30\n"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ no_such_value }}\n", "'no_such_value' is undefined"),
        ("one\n{% if %}\n", "line 2: Expected an expression, got 'end of statement block'"),
        ("{{ none }}\n", "a value is None"),
    ],
)
def test_a_template_that_is_wrong_is_refused_before_anything_changes(machine: FakeMachine, template: str, message: str) -> None:
    machine.write("etc/kdumpd/templates/sysctl.conf.j2", template)
    with pytest.raises(KdumpdError) as caught:
        make_plan(POLICY, machine.facts())

    assert str(caught.value) == (
        f"the template sysctl.conf.j2 can't be rendered: {message}\n"
        "hint: mend or remove /etc/kdumpd/templates/sysctl.conf.j2, if there is one"
    )


def test_a_template_that_a_shell_could_not_read_is_put_back(machine: FakeMachine, stubs: Stubs) -> None:
    machine.write("etc/kdumpd/templates/kdump-tools.j2", "USE_KDUMP='0\n")
    before = {path: path.read_bytes() for path in (machine.root / "etc").rglob("*") if path.is_file()}

    with pytest.raises(ApplyError) as caught:
        apply(machine, POLICY)

    assert str(caught.value).startswith(
        "/etc/default/kdump-tools would be nothing that a shell can read; every file was put back\n"
    )
    assert str(caught.value).endswith("hint: mend or remove the template in /etc/kdumpd/templates")
    assert {path: path.read_bytes() for path in (machine.root / "etc").rglob("*") if path.is_file()} == before
    assert stubs.calls == []


@pytest.mark.parametrize("name", ["etc/kdumpd/templates/sysctl.conf.j2", "etc/kdumpd/templates", "etc/kdumpd", "etc"])
@pytest.mark.parametrize(
    ("owner", "mode", "fact", "remedy"),
    [
        (1000, 0o755, "belongs to user 1000, not to root", "chown root"),
        (0, 0o775, "may be written by others than root (mode 0775)", "chmod go-w"),
        (0, 0o757, "may be written by others than root (mode 0757)", "chmod go-w"),
    ],
)
def test_a_template_that_others_may_have_written_is_refused(
    machine: FakeMachine, name: str, owner: int, mode: int, fact: str, remedy: str
) -> None:
    machine.write("etc/kdumpd/templates/sysctl.conf.j2", "# mine\n")
    path = machine.root / name
    os.chown(path, owner, -1)
    path.chmod(mode)
    with pytest.raises(KdumpdError) as caught:
        make_plan(POLICY, machine.facts())

    template = machine.root / "etc/kdumpd/templates/sysctl.conf.j2"
    assert str(caught.value) == f"the template {template} is not used: {path} {fact}\nhint: {remedy} {path}"


def test_a_template_is_judged_where_it_really_is(machine: FakeMachine) -> None:
    machine.write("srv/others/mine.j2", "# mine\n")
    machine.write("etc/kdumpd/templates/README", "")
    (machine.root / "srv/others").chmod(0o777)
    (machine.root / "etc/kdumpd/templates/sysctl.conf.j2").symlink_to(machine.root / "srv/others/mine.j2")

    with pytest.raises(KdumpdError, match="/srv/others may be written by others than root"):
        make_plan(POLICY, machine.facts())


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop"])
def test_a_template_that_is_no_file_is_refused_and_waits_for_nothing(machine: FakeMachine, kind: str) -> None:
    machine.write("etc/kdumpd/templates/README", "")
    path = machine.root / "etc/kdumpd/templates/sysctl.conf.j2"
    makers: dict[str, Callable[[], None]] = {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path.name),
    }
    makers[kind]()

    with pytest.raises(KdumpdError) as caught:
        make_plan(POLICY, machine.facts())
    assert str(caught.value).startswith(f"the template {path} ")
    assert caught.value.hint == f"rm {path}"


def test_a_template_that_is_refused_disarms_nothing(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    apply(machine, POLICY)
    machine.write("etc/kdumpd.yaml", dump_policy(POLICY))
    machine.write("sys/kernel/kexec_crash_loaded", "0\n")
    machine.write("etc/kdumpd/templates/sysctl.conf.j2", "# mine\n")
    (machine.root / "etc/kdumpd/templates").chmod(0o777)
    before = machine.read("etc/sysctl.d/60-kdumpd.conf")

    assert keep_armed(machine.root, machine.root / "etc/kdumpd.yaml").startswith(
        "armed with the last good dump kernel; the template "
    )
    assert machine.read("etc/sysctl.d/60-kdumpd.conf") == before
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_templates_are_shipped_for_every_file_that_has_one() -> None:
    names = {path.name for path in (Path(__file__).parents[2] / "templates").iterdir()}

    assert names == {
        "capture-service.conf.j2",
        "crash-report.html.j2",
        "grub.cfg.j2",
        "header.j2",
        "kdump-tools.j2",
        "modprobe.conf.j2",
        "sysctl.conf.j2",
        "tmpfiles.conf.j2",
        "udev.rules.j2",
    }
