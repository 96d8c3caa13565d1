# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kdumpd import __version__
from kdumpd.cli.main import main
from kdumpd.crashes.make import record_report
from tests.unit.fakes import FakeMachine, Stubs

KERNEL_CONFIGS = Path(__file__).parents[1] / "data/kernel-config"
COMMANDS = [
    "status",
    "plan",
    "apply",
    "arm",
    "disarm",
    "crashes",
    "crashes list",
    "crashes show",
    "crashes log",
    "crashes export",
    "crashes rm",
    "crashes stats",
    "crashes parse",
    "harvest",
    "taint",
    "capture",
    "daemon",
    "policy",
    "policy check",
    "policy show",
    "policy schema",
    "rollback",
    "withdraw",
    "estimate",
    "early",
    "kernel add",
    "kernel remove",
    "test",
    "check",
]


@pytest.fixture
def policy_file(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid policy; commands look at the fake machine instead of this one."""
    for module in ("plan", "apply", "arm", "disarm", "crashes", "status", "rollback", "estimate", "check", "test"):
        monkeypatch.setattr(f"kdumpd.cli.{module}.ROOT", machine.root)
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    return machine.root / "etc/kdumpd.yaml"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])

    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: kdumpd {command}" in text
    assert len(text) > 250


def test_the_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    text = capsys.readouterr().out
    assert all(f"\n    {command} " in text for command in COMMANDS if " " not in command)
    assert "3  not armed" in text


def test_a_wrong_word_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stauts"])

    assert ended.value.code == 2


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"kdumpd {__version__}\n"


@pytest.mark.parametrize("command", ["status", "plan", "apply", "arm", "estimate", "check"])
def test_a_broken_policy_exits_with_1_and_changes_nothing(
    command: str, policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    policy_file.write_text("crashkernel: 192M\ncrashkernl: 1\n")
    before = lasting_files(machine)

    assert main([command, "--policy", str(policy_file)]) == 1
    assert capsys.readouterr().err == (
        f'{policy_file}:2:1: unknown key "crashkernl"\n    crashkernl: 1\n    ^\nhint: did you mean "crashkernel"?\n'
    )
    assert lasting_files(machine) == before


def lasting_files(machine: FakeMachine) -> dict[Path, int]:
    """When each was changed; /run has what the journal and the monitoring were told."""
    run = machine.root / "run"
    return {
        path: path.stat().st_mtime_ns for path in machine.root.rglob("*") if not path.is_relative_to(run) and path != machine.root
    }


def test_a_missing_policy_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--policy", str(tmp_path / "none.yaml")]) == 1
    assert f"{tmp_path}/none.yaml:1:1: cannot read the policy: no such file or directory\n" in capsys.readouterr().err


def test_plan_exits_with_2_when_something_would_change_and_with_0_when_not(policy_file: Path, machine: FakeMachine) -> None:
    assert main(["plan", "--policy", str(policy_file)]) == 2
    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    assert main(["plan", "--policy", str(policy_file)]) == 0


def test_plan_speaks_json(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--json", "--policy", str(policy_file)])

    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"][0]["kind"] == "WriteFile"
    assert plan["steps"][0]["summary"] == "create /etc/default/grub.d/kdumpd.cfg"


def test_status_exits_with_3_while_not_armed(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--policy", str(policy_file)]) == 3
    assert capsys.readouterr().out.startswith("NOT ARMED, a crash now would leave nothing: the command line has no crashkernel=\n")


def test_status_exits_with_0_when_armed(policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    capsys.readouterr()

    assert main(["status", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out.startswith("ARMED: ")


def test_status_speaks_json(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--policy", str(policy_file)]) == 3

    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["armed"]) == ("not-armed", False)
    assert status["crashkernel"] == {"policy": "192M", "command_line": [], "needed": 192 << 20, "reserved": 0}
    assert status["problems"][0]["way_out"] == "kdumpd apply, then reboot"


def test_status_as_a_monitoring_check_is_one_line(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--check", "--policy", str(policy_file)]) == 3
    assert capsys.readouterr().out.startswith("KDUMP CRITICAL - NOT ARMED, a crash now would leave nothing: ")


def test_a_monitoring_check_of_a_broken_policy_is_one_line_too(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy_file.write_text("crashkernel: 1\nloader: nobody\n")

    assert main(["status", "--check", "--policy", str(policy_file)]) == 3
    assert capsys.readouterr().out == f'KDUMP UNKNOWN - {policy_file}:1:14: crashkernel: "1" has no unit\n'


def test_status_speaks_to_prometheus(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--prometheus", "--policy", str(policy_file)]) == 3
    assert "\nkdumpd_armed 0\n" in capsys.readouterr().out


def test_status_speaks_one_language_at_a_time(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", "--json", "--check", "--policy", str(policy_file)])

    assert ended.value.code == 2


def test_arm_says_why_it_can_not(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["arm", "--policy", str(policy_file)]) == 3
    assert capsys.readouterr().err == "kdumpd: the command line has no crashkernel=\nhint: kdumpd apply, then reboot\n"


def test_arm_does_nothing_on_an_armed_machine_unless_it_shall_rebuild(
    policy_file: Path, machine: FakeMachine, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    main(["arm", "--policy", str(policy_file)])
    before = stubs.calls
    assert main(["arm", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out.endswith("armed already: nothing to do\n")
    assert stubs.calls == before

    assert main(["arm", "--rebuild", "--policy", str(policy_file)]) == 0
    programs = [call.split()[0] for call in stubs.calls[len(before) :]]
    assert "mkinitramfs" in programs
    assert programs[-1] == "kexec"


def test_disarm_of_an_unarmed_machine_is_no_error(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disarm"]) == 0
    assert capsys.readouterr().out == "nothing is loaded: this machine was not armed\n"


def test_no_crashes_is_said_in_words(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crashes", "list"]) == 0
    assert capsys.readouterr().out == "no crashes in /var/crash\n"


def test_capture_refuses_a_living_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture"]) == 1
    assert capsys.readouterr().err.startswith("kdumpd: this is not a dump kernel")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m kdumpd status --json --policy {tmp_path}/policy.yaml | true"
    (tmp_path / "policy.yaml").touch()
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)

    assert "Traceback" not in done.stderr


def test_policy_check_and_show_read_the_policy_only(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out == f"no problem in {policy_file}\n"
    assert main(["policy", "show", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out.startswith("crashkernel: 192M ")

    policy_file.write_text("crashkernel: 1\n")
    assert main(["policy", "check", "--policy", str(policy_file)]) == 1
    assert capsys.readouterr().err.startswith(f'{policy_file}:1:14: crashkernel: "1" has no unit\n')


@pytest.mark.parametrize("command", ["apply", "rollback"])
def test_what_changes_something_asks_first_and_refuses_where_nobody_can_answer(
    command: str, policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["apply", "--yes", "--policy", str(policy_file)])
    policy_file.write_text("crashkernel: 256M\n")
    capsys.readouterr()

    assert main([command, "--policy", str(policy_file)]) == 1
    assert capsys.readouterr().err == (
        "kdumpd: something would change, and there is no terminal to ask at\nhint: see it: kdumpd plan; do it: add --yes\n"
    )
    assert "crashkernel=192M" in machine.read("boot/grub/grub.cfg")


@pytest.mark.parametrize(("answer", "code", "crashkernel"), [("y", 0, "256M"), ("", 2, "192M"), ("no", 2, "192M")])
def test_at_a_terminal_the_plan_is_shown_and_the_answer_counts(
    policy_file: Path,
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    code: int,
    crashkernel: str,
) -> None:
    main(["apply", "--yes", "--policy", str(policy_file)])
    policy_file.write_text("crashkernel: 256M\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)

    assert main(["apply", "--policy", str(policy_file)]) == code
    out = capsys.readouterr().out
    assert "would:\n* change /etc/default/grub.d/kdumpd.cfg\n" in out
    assert "do it? [y/N]" in out
    assert f"crashkernel={crashkernel}" in machine.read("boot/grub/grub.cfg")


def test_an_apply_that_has_nothing_to_do_asks_nothing(
    policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    capsys.readouterr()

    assert main(["apply", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out == "nothing to change: this machine is as the policy says\n"


def test_policy_check_takes_the_file_that_it_is_given(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = policy_file.with_name("other.yaml")
    other.write_text("panic:\n  on: [ops]\n")

    assert main(["policy", "check", str(other)]) == 1
    assert capsys.readouterr().err.startswith(f'{other}:2:8: panic.on: "ops" is not one of ')


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "kdumpd.yaml"


def test_estimate_explains_the_sum_and_what_is_asked_for_instead(
    policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", "--policy", str(policy_file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("kernel image ")
    assert out.endswith("crashkernel=160M\nnote: the policy says 192M, not auto\n")

    policy_file.write_text("")
    machine.write("var/lib/kdumpd/boot-parameters", "crashkernel=192M\n")
    main(["estimate", "--policy", str(policy_file)])
    assert capsys.readouterr().out.endswith(
        "crashkernel=160M\nnote: crashkernel=192M is asked for now, and is kept: it is enough, and a change takes a reboot\n"
    )


def test_status_with_a_policy_that_has_errors_tells_of_the_one_in_force(
    policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    policy_file.write_text("crashkernel: 1\nloader: nobody\n")
    capsys.readouterr()

    assert main(["status", "--policy", str(policy_file)]) == 0
    assert (
        f"problem: {policy_file} has 2 problems, the policy that was applied last stays in force\n"
        "    way out: see them: kdumpd policy check\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("policy check", ["gi", "pydbus", "dbus", "pyudev", "jinja2"]),
        ("plan", ["gi", "pydbus", "dbus", "pyudev"]),
        # Monitoring asks often.
        ("status --check", ["gi", "pydbus", "dbus", "pyudev", "jinja2", "asyncio", "logging", "kdumpd.capture.main"]),
    ],
)
def test_a_command_imports_nothing_that_it_has_no_use_for(command: str, modules: list[str], tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").touch()
    script = (
        "import sys; from kdumpd.cli.main import main\n"
        f"main([*{command.split()!r}, '--policy', {str(tmp_path / 'policy.yaml')!r}])\n"
        f"print([name for name in {modules!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["crashes list", "crashes show", "crashes stats"])
def test_who_looks_at_reported_crashes_does_not_load_the_reader_of_logs(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "var/crash/2026-11-22T03-04-05Z"
    folder.mkdir(parents=True)
    (folder / "dmesg.txt").write_text("[ 1.0] Kernel panic - not syncing: x\n")
    record_report(folder)
    unwanted = ["kdumpd.crashes.text.reader", "kdumpd.apply.look", "kdumpd.plan.make", "jinja2", "yaml", "tarfile", "hashlib"]
    script = (
        f"import sys; from pathlib import Path; from kdumpd.host import layout; layout.ROOT = Path({str(tmp_path)!r})\n"
        f"from kdumpd.cli.main import main; assert main({command.split()!r}) == 0\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "Kernel panic" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_check_has_a_line_for_each_thing_with_the_way_out_and_a_sum(
    policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--policy", str(policy_file)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "fail  reservation: the command line has no crashkernel=" in lines
    assert lines[lines.index("fail  reservation: the command line has no crashkernel=") + 1] == (
        "      way out: kdumpd apply, then reboot"
    )
    assert "ok    watchdog: none is running" in lines
    assert lines[-1].endswith(", fail 1: a crash now would NOT be saved")

    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    capsys.readouterr()
    assert main(["check", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out.endswith(", fail 0: a crash now would be saved, as far as can be seen from here\n")


def test_check_tells_of_a_policy_with_errors_and_judges_by_the_one_in_force(
    policy_file: Path, machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.reserve()
    main(["apply", "--yes", "--policy", str(policy_file)])
    policy_file.write_text("crashkernel: 1\n")
    capsys.readouterr()

    assert main(["check", "--policy", str(policy_file)]) == 0
    assert capsys.readouterr().out.startswith(
        f"warn  policy: {policy_file} has 1 problem, the policy that was applied last stays in force\n"
        "      way out: see them: kdumpd policy check\n"
    )


def test_check_speaks_json(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--json", "--policy", str(policy_file)])

    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail"
    assert {
        "verdict": "fail",
        "subject": "reservation",
        "fact": "the command line has no crashkernel=",
        "way_out": "kdumpd apply, then reboot",
    } in told["findings"]


def test_check_of_a_kernel_configuration_prints_a_fragment_and_looks_at_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config"
    config.write_text("# Linux/x86 6.1.0 Kernel Configuration\n" + (KERNEL_CONFIGS / "debian-6.1-amd64").read_text())

    assert main(["check", "--kernel-config", str(config)]) == 0
    assert capsys.readouterr().out == (
        f"# Missing in {config} (Linux 6.1)\n"
        "# Merge it, in the kernel's source: scripts/kconfig/merge_config.sh -m .config THIS_FILE && make olddefconfig\n"
        "\n"
        "# system kernel, for the console in ramoops only: it keeps what was printed before a hang that never became a panic\n"
        "CONFIG_PSTORE_CONSOLE=y\n"
    )


def test_check_of_a_kernel_configuration_without_what_a_dump_needs_exits_with_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = str(KERNEL_CONFIGS / "i386-5.10-without-highmem")

    assert main(["check", "--kernel-config", config]) == 3
    assert all(not line or line.startswith(("# ", "CONFIG_")) for line in capsys.readouterr().out.splitlines())
    assert main(["check", "--json", "--kernel-config", config]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail"
    assert "CONFIG_HIGHMEM4G=y\n" in told["fragment"]


def test_check_of_a_complete_kernel_configuration_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config"
    lines = (KERNEL_CONFIGS / "debian-6.1-amd64").read_text().splitlines()
    config.write_text("\n".join(line for line in [*lines, "CONFIG_PSTORE_CONSOLE=y"] if "# Linux/" not in line))

    assert main(["check", "--kernel-config", str(config)]) == 0
    assert capsys.readouterr().out == (
        f"# {config} (a kernel that does not tell its version) has every option that kdumpd knows of\n"
    )


def test_check_of_a_file_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--kernel-config", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"kdumpd: {tmp_path}/none: No such file or directory\n"


LOGS = Path(__file__).parents[1] / "data/dmesg"


def test_a_log_from_anywhere_is_parsed_to_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crashes", "parse", "--json", str(LOGS / "x86_64-6.12.117-kdump-hung.txt")]) == 0

    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in ("kind", "function", "module", "process", "release")} == {
        "kind": "hung-task",
        "function": "hung_thread",
        "module": "kcrash",
        "process": {"comm": "kc_hung", "pid": 190, "cpu": None},
        "release": "6.12.117+deb12-amd64",
    }
    assert told["signature"].startswith("hung-task-hung_thread-")
    assert (told["taint"]["string"], told["taint"]["flags"]) == ("G           OE", ["O", "E"])
    assert told["trace"][4] == {"function": "__pfx_schedule_timeout", "module": None, "reliable": False, "interrupt": False}
    assert told["modules"] == []


def test_a_parsed_log_is_told_to_people_with_the_verdict_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crashes", "parse", str(LOGS / "x86_64-6.1.192-kdump-warn.txt")]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "WARNING at /build/kcrash/kcrash.c:20: kcrash: a warning 7, in kc_warn() of module kcrash",
        "warn-panic: in kc_warn() of module kcrash",
        "signature: warn-panic-kc_warn-75f2b8da",
        "",
        "process:   insmod, PID 144, CPU 1",
    ]
    assert "  ? 0xffffffffc02cd000" in lines
    assert "  O  OOT_MODULE             a module from outside the kernel's tree was loaded: kcrash" in lines


def test_a_log_can_come_from_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from kdumpd.cli.main import main; sys.exit(main())", "crashes", "parse", "-"],
        input=b"[ 1.0] Kernel panic - not syncing: \xff\xfe",
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "utf-8"},
        cwd=Path(__file__).parents[2],
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Kernel panic - not syncing: ")


def test_a_log_without_a_crash_is_an_error_with_a_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text("[ 0.0] Linux version 6.1.0\n[ 1.0] all is well\n")

    assert main(["crashes", "parse", str(tmp_path / "log")]) == 1
    assert "tells of no crash\nhint: " in capsys.readouterr().err


def test_a_taint_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["taint", "12800"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "tainted: G        W  OE (12800)",
        "  W  WARN                   the kernel gave a warning before",
        "  O  OOT_MODULE             a module from outside the kernel's tree was loaded",
        "  E  UNSIGNED_MODULE        a module without a valid signature was loaded",
    ]
    assert main(["taint", "G        W  OE", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flags"] == ["W", "O", "E"]
    assert main(["taint", "0"]) == 0
    assert capsys.readouterr().out == "not tainted\n"
