# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.cli import analyse as command
from kdumpd.cli.main import main
from kdumpd.crashes.analyse import Analysis, AnalysisError, analyse, analysis_command
from kdumpd.crashes.debugger import CRASH_QUESTIONS, Tool, choose_tool, questions
from kdumpd.crashes.dump import Format, find_dump, read_dump
from kdumpd.crashes.record import read_report
from kdumpd.crashes.sandbox import sandbox
from kdumpd.errors import HostError
from tests.unit.dumps import BUILD_ID, RELEASE, write_elf_dump, write_kdump, write_vmlinux
from tests.unit.fakes import Stubs

ID = "2026-11-22T03-04-05Z"
# As crash does: its commands come from standard input, and it ends with 0 whatever becomes of them.
CRASH = 'read question; echo "crash was asked: $question"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "var/crash" / ID
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def symbols(tmp_path: Path) -> Path:
    return write_vmlinux(tmp_path / f"usr/lib/debug/boot/vmlinux-{RELEASE}")


@pytest.fixture
def only(stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    """No tool but those that a test adds."""
    monkeypatch.setattr("kdumpd.run._search_path", lambda: f"{tmp_path / 'bin'}")
    for name in ("unshare", "prlimit", "setpriv", "env"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    # What runs in the sandbox is not root.
    (tmp_path / "bin/calls").touch()
    (tmp_path / "bin/calls").chmod(0o666)
    return stubs


def run(root: Path, folder: Path, vmlinux: Path | None = None, timeout: float = 30) -> Analysis:
    return analyse(root, folder, read_report(folder), vmlinux=vmlinux, say=lambda text: None, timeout=timeout)


def refusal(root: Path, folder: Path) -> str:
    with pytest.raises(AnalysisError) as caught:
        run(root, folder)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_compressed_dump_tells_its_kernel(folder: Path, order: str) -> None:
    dump = read_dump(write_kdump(folder / "vmcore", order=order))

    assert (dump.format, dump.kernel.release, dump.kernel.build_id) == (Format.KDUMP, RELEASE, BUILD_ID)


def test_an_elf_dump_tells_its_kernel(folder: Path) -> None:
    dump = read_dump(write_elf_dump(folder / "vmcore"))

    assert (dump.format, dump.kernel.release, dump.kernel.build_id) == (Format.ELF, RELEASE, BUILD_ID)


def test_what_is_no_dump_is_an_error(folder: Path) -> None:
    (folder / "vmcore").write_bytes(b"hello")

    with pytest.raises(HostError, match="is no dump of a kernel: it begins with b'hello'"):
        find_dump(folder)


@given(st.integers(8, 5000), st.binary(min_size=1, max_size=16))
def test_a_damaged_dump_is_read_without_a_fuss(tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes) -> None:
    path = write_kdump(tmp_path_factory.mktemp("dump") / "vmcore")
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])

    assert read_dump(path).format is Format.KDUMP


@pytest.mark.parametrize(
    ("installed", "form", "tool"),
    [
        (["crash", "drgn", "gdb"], Format.ELF, Tool.CRASH),
        (["drgn", "gdb"], Format.ELF, Tool.DRGN),
        (["gdb"], Format.ELF, Tool.GDB),
        (["gdb"], Format.KDUMP, None),
        ([], Format.ELF, None),
    ],
)
def test_the_best_tool_that_can_read_the_dump_is_taken(installed: list[str], form: Format, tool: Tool | None) -> None:
    assert choose_tool(form, lambda name: name if name in installed else None) is tool


def test_crash_is_asked_each_question_in_a_process_of_its_own(folder: Path) -> None:
    plan = questions(Tool.CRASH, read_dump(write_kdump(folder / "vmcore")), Path("/vmlinux"))

    assert [question.typed for question in plan] == [f"{name}\nexit\n" for name in ("log", "bt -a", "ps", "kmem -i", "mod -t")]
    assert {question.argv for question in plan} == {("crash", "-s", "/vmlinux", f"{folder}/vmcore")}


def test_gdb_runs_no_scripts_and_is_told_where_kaslr_has_put_the_kernel(folder: Path) -> None:
    (first, *_) = questions(Tool.GDB, read_dump(write_elf_dump(folder / "vmcore")), Path("/vm linux"))

    assert first.argv[:3] == ("gdb", "-nx", "-nh")
    assert "set auto-load no" in first.argv
    assert "symbol-file -o 0x1ca00000 '/vm linux'" in first.argv


def test_all_answers_are_kept_beside_the_dump_for_root_alone(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")
    only.add("crash", CRASH)
    made = run(tmp_path, folder)

    kept = folder / "analysis.txt"
    assert kept.read_text() == made.text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [f"==== {name} ====\ncrash was asked: {name}\n" in made.text for name in CRASH_QUESTIONS] == [True] * 5
    assert f"by hand: crash {symbols} {folder}/vmcore" in made.text


def test_a_later_analysis_replaces_the_first(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")
    (folder / "analysis.txt").write_text("the first")
    only.add("crash", CRASH)
    run(tmp_path, folder)

    assert "the first" not in (folder / "analysis.txt").read_text()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 3", "failed with exit code 3, without a word"),
        ('[ "$question" != ps ] || kill -SEGV $$', "was killed by SIGSEGV, without a word"),
        ('[ "$question" != ps ] || { echo "ps: invalid kernel virtual address: 0"; exit; }', "failed"),
        ('[ "$question" != ps ] || exec /usr/bin/sleep 60', "was still running after 3 s and was killed, without a word"),
        ('[ "$question" != ps ] || exec /usr/bin/yes', "cut off after 1 MiB"),
    ],
)
def test_a_question_that_fails_is_told_and_the_others_are_asked(
    tmp_path: Path, folder: Path, symbols: Path, only: Stubs, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    monkeypatch.setattr("kdumpd.crashes.analyse.MAX_OUTPUT", 1 << 20)
    write_kdump(folder / "vmcore")
    only.add("crash", f"read question; {script}; echo fine")
    made = run(tmp_path, folder, timeout=3)

    assert f"==== ps: {problem} ====" in made.text
    assert len(made.answers) == len(CRASH_QUESTIONS)


def test_where_crash_has_no_whole_answer_drgn_is_asked(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")
    lost = 'echo "WARNING: active task ffff8a17164b6000 on cpu 1 not found in PID hash"; echo "  279  -1  insmod"'
    only.add("crash", f'read question; [ "$question" != ps ] || {{ {lost}; }}; [ "$question" != "kmem -i" ] || exit 3; echo fine')
    only.add("drgn", 'for last; do :; done; echo "drgn was asked: $last"')
    made = run(tmp_path, folder)

    assert "==== ps: incomplete: this crash(8) does not find the tasks of this kernel; a newer one may, or drgn ====" in made.text
    # Of the memory drgn knows nothing.
    assert [answer.text for answer in made.answers if "drgn" in answer.question] == ["drgn was asked: ps"]


def test_nothing_in_an_answer_can_steer_the_terminal(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")
    only.add("crash", r"printf 'tab\there \033]0;title\007 \302\233 \377\n'")
    made = run(tmp_path, folder)

    assert made.answers[0].text == "tab\there �]0;title� � �"


def test_an_incomplete_dump_is_tried_with_a_word(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore.incomplete")
    only.add("crash", CRASH)

    assert "There was no room for all of it" in run(tmp_path, folder).text


def test_a_crash_without_its_memory_says_how_to_have_it_the_next_time(tmp_path: Path, folder: Path) -> None:
    said = refusal(tmp_path, folder)

    assert said.startswith(f"the memory of crash {ID} was not saved, so there is nothing to analyse: only its log was\nhint: ")
    assert "capture: {vmcore: {level: 31}}" in said
    assert f"kdumpd crashes show {ID}" in said


def test_without_a_tool_it_says_which_to_install(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\n")

    assert refusal(tmp_path, folder).startswith("neither crash nor drgn is installed")
    assert "hint: apt-get install crash" in refusal(tmp_path, folder)


def test_the_command_for_a_dump_is_the_one_to_type(tmp_path: Path, folder: Path, symbols: Path, only: Stubs) -> None:
    write_elf_dump(folder / "vmcore")
    report = read_report(folder)
    assert analysis_command(report, folder, tmp_path) == f"crash {symbols} {folder}/vmcore"

    only.add("drgn")
    assert analysis_command(report, folder, tmp_path) == f"drgn -c {folder}/vmcore -s {symbols}"


def test_the_command_names_where_symbols_would_be(folder: Path, only: Stubs) -> None:
    write_kdump(folder / "vmcore")

    assert (
        analysis_command(read_report(folder), folder, Path("/no"))
        == f"crash /no/usr/lib/debug/boot/vmlinux-{RELEASE} {folder}/vmcore"
    )


def test_there_is_no_command_without_a_dump(folder: Path) -> None:
    assert analysis_command(read_report(folder), folder) == ""


def test_where_systemd_runs_the_tool_is_a_service_that_can_reach_nothing(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    boxed = sandbox(tmp_path, ("/usr/bin/gdb", "-ex", "p $pc"), name="unit", reads=[Path('/a "b')], seconds=60)

    assert {"systemd-run", "--pipe", "--wait", "--property=PrivateNetwork=yes", "--property=ProtectSystem=strict"} <= set(
        boxed.argv
    )
    assert '--property=BindReadOnlyPaths="/a \\"b"' in boxed.argv
    # systemd would put a variable in the place of $pc.
    assert boxed.argv[-3:] == ("/usr/bin/gdb", "-ex", "p $$pc")
    assert boxed.stop == ("systemctl", "stop", "unit.service")


def test_without_systemd_the_tool_has_neither_network_nor_privilege(
    tmp_path: Path, folder: Path, symbols: Path, only: Stubs
) -> None:
    write_kdump(folder / "vmcore")
    only.add("crash", f"/usr/bin/cat /proc/net/dev /proc/self/status; kill -0 {os.getpid()} || echo harmless; ulimit -v")
    said = run(tmp_path, folder).answers[0].text

    assert [line.split(":")[0].strip() for line in said.splitlines() if ":" in line and line.startswith("  ")] == ["lo"]
    # CAP_DAC_READ_SEARCH, for the dump is root's alone.
    assert "CapEff:\t0000000000000004" in said
    assert "harmless" in said
    assert "NoNewPrivs:\t1" in said
    assert said.endswith(str((8 << 30) >> 10))


def test_the_command_line_prints_the_analysis_and_then_what_was_kept(
    tmp_path: Path, folder: Path, symbols: Path, only: Stubs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    write_kdump(folder / "vmcore")
    only.add("crash", CRASH)

    assert main(["crashes", "analyse"]) == 0
    first = capsys.readouterr().out
    assert "==== mod -t ====" in first
    (tmp_path / "bin/crash").unlink()
    assert main(["crashes", "analyse", ID, "--print"]) == 0
    assert capsys.readouterr().out == first


def test_a_dump_that_answers_nothing_is_an_error_and_its_words_are_kept(
    tmp_path: Path, folder: Path, symbols: Path, only: Stubs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    write_kdump(folder / "vmcore")
    only.add("crash", 'echo "crash: page excluded"; exit 1')

    assert main(["crashes", "analyse"]) == 1
    assert "kdumpd: nothing of this dump could be read" in capsys.readouterr().err
    assert "crash: page excluded" in (folder / "analysis.txt").read_text()


def test_an_unknown_crash_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)

    assert main(["crashes", "analyse", "yesterday"]) == 1
    assert 'there is no crash "yesterday"' in capsys.readouterr().err
