# SPDX-License-Identifier: LGPL-2.1-or-later
"""What happens to the programs in notify.d. That systemd runs them after a crash, with its sandbox around them, is in tests/vm."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdumpd.cli.main import main
from kdumpd.crashes import notifiers
from kdumpd.crashes.archive import Crash, list_crashes
from kdumpd.crashes.make import record_report
from kdumpd.crashes.notifiers import find_notifiers, run_notifiers
from kdumpd.crashes.report import Captured, Source
from kdumpd.daemon.job import keep_armed
from kdumpd.host import layout
from kdumpd.run import LONGEST_LINE
from tests.unit.fakes import FakeMachine, Stubs

TOP = Path(__file__).parents[2]
ID = "2026-11-22T03-04-05Z"
OOPS = (TOP / "tests/data/dmesg/x86_64-6.1.192-kdump-null.txt").read_text()
# What a process of kdumpd-notify@.service has: a user of its own, and one capability.
IN_UNIT = (
    *("setpriv", "--reuid=61184", "--regid=61184", "--clear-groups", "--no-new-privs"),
    *("--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


@pytest.fixture
def folder(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notify.d of a machine that has crashed, still empty."""
    monkeypatch.setattr("kdumpd.cli.notify.ROOT", machine.root)
    machine.write(f"var/crash/{ID}/dmesg.txt", OOPS)
    folder = machine.root / layout.NOTIFIERS
    folder.mkdir(parents=True)
    return folder


def add(folder: Path, name: str, script: str = "", mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


def crash_of(machine: FakeMachine) -> Crash:
    (crash,) = list_crashes(machine.root, ["/var/crash"])
    return crash


def ran(machine: FakeMachine) -> tuple[list[str], list[str], bool]:
    """What was said, what was warned of, and whether all went well."""
    said, warned = list[str](), list[str]()
    return said, warned, run_notifiers(machine.root, crash_of(machine), said.append, warned.append)


def test_they_run_in_the_order_of_their_names_with_the_path_of_the_report(machine: FakeMachine, folder: Path) -> None:
    for name in ("20-second", "10-first", "A-third.sh"):
        add(folder, name, 'echo "$# $1"')

    report = f"1 {machine.root}/var/crash/{ID}/report.json"
    said = [line for name in ("10-first", "20-second", "A-third.sh") for line in (f"{name}: {report}", f"{name}: done")]
    assert ran(machine) == (said, [], True)


def test_the_environment_tells_what_a_script_wants_to_know(
    machine: FakeMachine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(folder, "tell", 'env | grep ^KDUMPD_ | sort; cat; test -f "$1"')

    assert main(["notify"]) == 0
    crash = crash_of(machine)
    assert crash.signature
    assert capsys.readouterr().out.splitlines() == [
        f"tell: KDUMPD_FOLDER={machine.root}/var/crash/{ID}",
        f"tell: KDUMPD_ID={ID}",
        f"tell: KDUMPD_SIGNATURE={crash.signature}",
        "tell: KDUMPD_TEST=no",
        f"tell: KDUMPD_VERDICT={crash.verdict}",
        "tell: done",
    ]


def test_a_hostile_verdict_is_one_harmless_line_and_no_command(machine: FakeMachine, folder: Path) -> None:
    report = dataclasses.replace(record_report(machine.root / f"var/crash/{ID}"), told=None, source=Source.NONE)
    report = dataclasses.replace(report, capture=Captured(seconds=1, problem="$(id)\x1b[2J\n`id`"))
    machine.write(f"var/crash/{ID}/report.json", report.to_text())
    add(folder, "tell", 'printf "%s\\n" "$KDUMPD_VERDICT" | cat -v')

    assert ran(machine)[0] == ["tell: no log was saved: $(id) [2J `id`", "tell: done"]


def test_a_test_is_told_as_one(machine: FakeMachine, folder: Path) -> None:
    panic = "[    2.0] sysrq: Trigger a crash\n[    2.0] Kernel panic - not syncing: sysrq triggered crash\n"
    machine.write(f"var/crash/{ID}/dmesg.txt", f"[    1.0] kdumpd: test 0123456789abcdef: crashing this machine now\n{panic}")
    add(folder, "tell", 'echo "$KDUMPD_TEST"')

    assert ran(machine)[0] == ["tell: yes", "tell: done"]


def test_one_that_fails_is_told_and_keeps_no_other_from_running(machine: FakeMachine, folder: Path) -> None:
    add(folder, "1", "echo no network >&2; exit 7")
    add(folder, "2", "kill -9 $$")
    (folder / "3").write_text("#!/no/such/interpreter\n")
    (folder / "3").chmod(0o755)
    add(folder, "4")

    assert ran(machine) == (
        ["1: no network", "4: done"],
        [
            "1: failed with exit code 7",
            "2: was killed by SIGKILL",
            f'3: cannot run "{folder}/3": No such file or directory',
        ],
        False,
    )


def test_one_that_hangs_is_killed_with_its_children(machine: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifiers, "TIMEOUT", 0.5)
    add(folder, "1", f"sleep 60 & echo $! > {folder}/.child; wait")
    add(folder, "2")
    began = time.monotonic()

    assert ran(machine) == (["2: done"], ["1: was still running after 0 s and was killed"], False)
    assert time.monotonic() - began < 10
    child = Path("/proc") / (folder / ".child").read_text().strip() / "status"
    time.sleep(0.2)
    assert not child.exists() or "State:\tZ" in child.read_text()


def test_what_it_prints_is_bounded_and_does_not_speak_to_the_terminal(machine: FakeMachine, folder: Path) -> None:
    add(folder, "loud", "printf '\\033[2Jhello\\377\\n'; head -c 100000 /dev/zero | tr '\\0' x; echo; seq 1000")

    said, _, went_well = ran(machine)
    assert went_well
    assert said[0] == "loud:  [2Jhello\ufffd"
    assert said[1] == "loud: " + "x" * LONGEST_LINE
    assert said[-2:] == ["loud: … and 802 more lines", "loud: done"]
    assert len(said) == notifiers.MOST_LINES + 2


@pytest.mark.parametrize(
    "name",
    [".hidden", "mail~", "mail.bak", "mail.dpkg-dist", "mail.ucf-old", "mail.rpmsave", "mail.swp", "README", "README.Debian"],
)
def test_what_an_editor_or_a_package_has_left_is_not_mentioned(machine: FakeMachine, folder: Path, name: str) -> None:
    add(folder, name, "echo here")

    assert find_notifiers(machine.root) == ()
    assert ran(machine) == (["there is no program in /etc/kdumpd/notify.d"], [], True)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o644, "it is not executable for everybody (mode 0644; chmod a+x)"),
        (0o700, "it is not executable for everybody (mode 0700; chmod a+x)"),
        (0o775, "it may be written by others than root (mode 0775; chmod go-w)"),
        (0o757, "it may be written by others than root (mode 0757; chmod go-w)"),
    ],
)
def test_one_whose_mode_is_not_right_is_not_run_and_told(machine: FakeMachine, folder: Path, mode: int, why: str) -> None:
    add(folder, "mail", "echo here", mode)
    add(folder, "other")

    assert ran(machine) == (["other: done"], [f"mail: not run: {why}"], True)


def test_one_that_belongs_to_somebody_else_is_not_run_and_told(machine: FakeMachine, folder: Path) -> None:
    os.chown(add(folder, "mail", "echo here"), 1000, 0)

    assert ran(machine)[1] == ["mail: not run: it belongs to user 1000, not to root (chown root)"]


def test_what_is_no_file_is_not_run_and_told(machine: FakeMachine, folder: Path) -> None:
    (folder / "link").symlink_to("/bin/true")
    (folder / "folder").mkdir()

    assert ran(machine)[1] == ["folder: not run: it is no regular file", "link: not run: it is no regular file"]


@pytest.mark.parametrize(
    ("owner", "mode", "why"),
    [
        (1000, 0o755, "belongs to user 1000, not to root (chown root)"),
        (0, 0o777, "may be written by others than root (mode 0777; chmod go-w)"),
    ],
)
def test_in_a_folder_that_is_not_only_roots_nothing_is_run(
    machine: FakeMachine, folder: Path, owner: int, mode: int, why: str
) -> None:
    add(folder, "mail", "echo here")
    folder.chmod(mode)
    os.chown(folder, owner, 0)

    assert ran(machine) == ([], [f"mail: not run: its folder {folder} {why}"], True)


def test_by_hand_it_may_be_any_crash_and_the_report_is_there_before(
    machine: FakeMachine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.write("var/crash/2026-11-23T00-00-00Z/dmesg.txt", OOPS)
    add(folder, "tell", 'echo "$KDUMPD_ID"; test -s "$1" || exit 1')

    assert main(["notify", ID]) == 0
    assert capsys.readouterr().out.startswith(f"tell: {ID}\n")
    assert main(["notify", "latest"]) == 0
    assert capsys.readouterr().out.startswith("tell: 2026-11-23T00-00-00Z\n")


def test_by_hand_a_failure_is_on_standard_error_and_the_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(folder, "mail", "exit 1")

    assert main(["notify", ID]) == 1
    assert capsys.readouterr().err == "mail: failed with exit code 1\n"


def test_a_crash_that_is_not_there_is_an_error(machine: FakeMachine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notify", "2027"]) == 1
    assert 'kdumpd: there is no crash "2027"' in capsys.readouterr().err
    shutil.rmtree(machine.root / "var/crash")
    assert main(["notify"]) == 1
    assert capsys.readouterr().err == "kdumpd: there is no crash\nhint: would one be saved? kdumpd status\n"


def test_what_goes_to_the_journal_has_priorities(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    add(folder, "mail", "echo hello; exit 1")
    journal = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{journal.st_dev}:{journal.st_ino}")

    assert main(["notify"]) == 1
    assert capfd.readouterr().err == "<6>mail: hello\n<4>mail: failed with exit code 1\n"


def test_the_user_of_the_unit_may_run_them_and_they_may_read_the_crash_and_write_nothing(
    machine: FakeMachine, folder: Path, tmp_path: Path
) -> None:
    token = folder / ".token"
    token.write_text("secret\n")
    token.chmod(0o600)
    script = f'cat {token}; head -c 1 "$1"; echo; touch "$KDUMPD_FOLDER/x" && echo written; touch {folder}/x && echo written; id -u'
    add(folder, "tell", script, 0o711)
    record_report(machine.root / f"var/crash/{ID}")
    (machine.root / f"var/crash/{ID}").chmod(0o700)
    code = (
        "import sys; from pathlib import Path; from kdumpd.cli import main, notify\n"
        "notify.ROOT = Path(sys.argv[1]); sys.exit(main.main(['notify']))"
    )
    done = subprocess.run(
        [*IN_UNIT, sys.executable, "-B", "-c", code, str(machine.root)], cwd=TOP, capture_output=True, text=True, check=True
    )

    said = done.stdout.splitlines()
    assert [line for line in said if "touch" not in line] == ["tell: secret", "tell: {", "tell: 61184", "tell: done"]
    assert len([line for line in said if "Permission denied" in line]) == 2


@pytest.fixture
def policy_file(machine: FakeMachine) -> Path:
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    return machine.root / "etc/kdumpd.yaml"


def test_the_daemon_has_systemd_run_them_once_for_each_crash(
    machine: FakeMachine, folder: Path, policy_file: Path, stubs: Stubs
) -> None:
    stubs.add("systemctl")
    add(folder, "mail")
    machine.write(f"var/crash/{ID}-1/dmesg.txt", OOPS)
    keep_armed(machine.root, policy_file)
    keep_armed(machine.root, policy_file)

    assert [call for call in stubs.calls if call.startswith("systemctl")] == [
        f"systemctl start --no-block kdumpd-notify@{ID}.service",
        f"systemctl start --no-block kdumpd-notify@{ID}-1.service",
    ]
    assert json.loads(machine.read(f"var/crash/{ID}/report.json"))["id"] == ID


def test_without_a_program_nothing_is_started(machine: FakeMachine, folder: Path, policy_file: Path, stubs: Stubs) -> None:
    stubs.add("systemctl")
    keep_armed(machine.root, policy_file)

    assert not any(call.startswith("systemctl") for call in stubs.calls)


def test_a_systemd_that_does_not_start_them_keeps_no_machine_from_being_armed(
    machine: FakeMachine, folder: Path, policy_file: Path, stubs: Stubs, capfd: pytest.CaptureFixture[str]
) -> None:
    stubs.add("systemctl", "echo Unit not found. >&2; exit 5")
    add(folder, "mail")
    machine.reserve()

    assert keep_armed(machine.root, policy_file) == "armed"
    told = capfd.readouterr().err
    assert f"<4>nobody was notified of this crash: `systemctl start --no-block kdumpd-notify@{ID}.service` failed with" in told
    assert f"<4>by hand: kdumpd notify {ID}\n" in told


def test_the_readme_names_all_that_a_program_is_told() -> None:
    readme = (TOP / "packaging/notify.d/README").read_text()
    crash = Crash(folder=Path("/x"), time="")

    assert all(f"\n  {name} " in readme for name in notifiers._environment(crash))


def test_the_example_mails_the_verdict_of_a_crash_but_not_of_a_test(machine: FakeMachine, folder: Path, stubs: Stubs) -> None:
    stubs.add("curl", f"cat > {machine.root}/mail")
    shutil.copy(TOP / "packaging/examples/notify-mail", folder / "mail")

    assert ran(machine) == (["mail: done"], [], True)
    head, _, body = machine.read("mail").partition("\n\n")
    assert f"\nSubject: {os.uname().nodename} has crashed\n" in head
    assert body.startswith(f"{crash_of(machine).verdict}\n\nWhat was saved: {machine.root}/var/crash/{ID}\n")
    (machine.root / "mail").unlink()
    subprocess.run([folder / "mail", "/x"], env={**os.environ, "KDUMPD_TEST": "yes"}, check=True)
    assert not (machine.root / "mail").exists()


def test_the_example_posts_the_report(machine: FakeMachine, folder: Path, stubs: Stubs) -> None:
    stubs.add("curl")
    shutil.copy(TOP / "packaging/examples/notify-webhook", folder / "webhook")

    assert ran(machine) == (["webhook: done"], [], True)
    assert f" --data-binary @{machine.root}/var/crash/{ID}/report.json https://example.com/crashes" in stubs.calls[-1]
