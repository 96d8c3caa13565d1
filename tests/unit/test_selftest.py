# SPDX-License-Identifier: LGPL-2.1-or-later
import dataclasses
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from kdumpd.capture.settings import Settings, StoreSettings, VmcoreSettings
from kdumpd.capture.status import Memory, Status, Step
from kdumpd.cli.main import main
from kdumpd.crashes import provoke, selftest
from kdumpd.crashes.archive import Crash, list_crashes
from kdumpd.crashes.report import Captured, Report, Source
from kdumpd.crashes.selftest import StartedTest, conclude_test, judge_test, read_last_test, record_start
from kdumpd.crashes.text.reader import read_stream
from kdumpd.daemon.selftest import report_test
from tests.unit.captures import changed
from tests.unit.fakes import FakeMachine

TOKEN = "00112233aabbccdd"
PANIC = "[   99.2] sysrq: Trigger a crash\n[   99.2] Kernel panic - not syncing: sysrq triggered crash\n"
LOG = f"[    0.0] Linux version 6.1\n[   99.1] kdumpd: test {TOKEN}: crashing this machine now, on purpose\n{PANIC}"
DMESG = Step(name="dmesg", ok=True, seconds=0.5, bytes=50_000)
# The capture began 7.1 s after the start of the dump kernel.
STATUS = Status(
    started="2026-11-22T21:07:30Z",
    kernel="6.1",
    store="/var/crash",
    steps=[DMESG, Step(name="pstore", ok=True, seconds=1.0)],
    memory_kib=Memory(given=196608, total=123904, peak_used=33792, lowest_available=90112),
    seconds=2.0,
    uptime=9.1,
)
STARTED = StartedTest(
    token=TOKEN,
    boot_id="boot-1",
    started="2026-11-22T21:07:05Z",
    kernel="6.1",
    dump_kernel="/boot/vmlinuz",
    stores=("/var/crash",),
    vmcore=False,
    known=("/var/crash/2026-11-20T00-00-00Z",),
)
FOLDER = "2026-11-22T21-07-30Z"


def crash(name: str = FOLDER, *, log: bool = True, test: str | None = TOKEN, status: Status | None = STATUS) -> Crash:
    told = read_stream(BytesIO(LOG.replace(TOKEN, test or "").encode()))
    captured = Captured(seconds=2.0, problem=next((step.detail for step in status.steps if not step.ok), "")) if status else None
    report = Report(id=name, time="", source=Source.DUMP if log else Source.NONE, told=told if log else None, capture=captured)
    return Crash(folder=Path("/var/crash") / name, time="", report=report, status=status)


def with_steps(*steps: Step) -> Status:
    return changed(STATUS, steps=list(steps))


OLD = crash("2026-11-20T00-00-00Z", test=None)
NO_SPACE = Step(name="vmcore", ok=False, seconds=0.1, detail="3 MiB are free, and 1024 MiB are to stay free")


def test_a_crash_whose_log_has_the_token_passes() -> None:
    result = judge_test(STARTED, [OLD, crash()])

    assert result.passed
    assert result.verdict == (
        "passed 2026-11-22T21:07Z: the log was safe 7.6 s after the dump kernel started, 33M of 121M memory used at the peak"
    )
    assert (result.folder, result.finished) == (f"/var/crash/{FOLDER}", "2026-11-22T21:07:32Z")
    assert (result.seconds_to_log, result.capture_seconds, result.peak_used_kib) == (7.6, 2.0, 33792)


def test_the_crash_with_the_token_is_the_one_that_counts_even_when_others_came_before_it() -> None:
    assert judge_test(STARTED, [OLD, crash("2026-11-22T21-07-29Z", test=None), crash()]).folder == f"/var/crash/{FOLDER}"


def test_a_store_that_failed_before_another_took_the_log_is_in_the_time() -> None:
    steps = (Step(name="dmesg", ok=False, seconds=1.0, detail="/a: no space left on device"), DMESG)
    status = changed(with_steps(*steps), seconds=1.5, uptime=8.6)

    assert judge_test(STARTED, [crash(status=status)]).seconds_to_log == 8.6


def test_a_capture_that_noted_when_the_log_was_safe_is_believed() -> None:
    status = changed(STATUS, milestones={"python": 3.1, "log_safe": 4.2})

    assert judge_test(STARTED, [crash(status=status)]).seconds_to_log == 4.2


def test_what_could_not_be_measured_is_left_out() -> None:
    result = judge_test(STARTED, [crash(status=changed(STATUS, memory_kib=Memory(), started="?"))])

    assert result.verdict == "passed 2026-11-22T21:07Z: the log was safe 7.6 s after the dump kernel started"
    assert (result.peak_used_kib, result.total_kib, result.finished) == (None, None, None)


def test_a_memory_dump_that_was_asked_for_and_is_there_passes() -> None:
    vmcore = Step(name="vmcore", ok=True, seconds=20.0, bytes=40 << 20)
    result = judge_test(dataclasses.replace(STARTED, vmcore=True), [crash(status=with_steps(DMESG, vmcore))])

    assert result.passed
    assert result.vmcore_bytes == 40 << 20


@pytest.mark.parametrize(
    ("left", "reason", "way_out"),
    [
        ([], selftest.NOTHING_SAVED, selftest.LOOK_AT_CONSOLE),
        ([OLD], selftest.NOTHING_SAVED, selftest.LOOK_AT_CONSOLE),
        (
            [crash(log=False, test=None, status=with_steps(Step(name="dmesg", ok=False, seconds=1, detail="makedumpfile hung")))],
            "no log was saved: makedumpfile hung",
            f"see /var/crash/{FOLDER}/status.json; then again: kdumpd test",
        ),
        (
            [crash(log=False, test=None, status=None)],
            "no log was saved: the capture did not get that far",
            selftest.LOOK_AT_CONSOLE,
        ),
        (
            [crash(test=None)],
            f"what was saved in /var/crash/{FOLDER} is another crash: its log does not tell of this test",
            "kdumpd test",
        ),
        (
            [crash(test="ffff")],
            f"what was saved in /var/crash/{FOLDER} is another crash: its log does not tell of this test",
            "kdumpd test",
        ),
        ([crash(status=None)], "the log was saved, but then the capture was cut off", selftest.LOOK_AT_CONSOLE),
    ],
)
def test_a_failure_is_told_with_its_reason_and_a_way_out(left: list[Crash], reason: str, way_out: str) -> None:
    result = judge_test(STARTED, left)

    assert not result.passed
    assert result.verdict == f"failed 2026-11-22T21:07Z: {reason}"
    assert result.way_out == way_out


@pytest.mark.parametrize(
    ("steps", "why"), [((DMESG, NO_SPACE), "3 MiB are free, and 1024 MiB are to stay free"), ((DMESG,), "the capture was cut off")]
)
def test_a_memory_dump_that_was_asked_for_and_is_missing_fails(steps: tuple[Step, ...], why: str) -> None:
    result = judge_test(dataclasses.replace(STARTED, vmcore=True), [crash(status=with_steps(*steps))])

    assert not result.passed
    assert result.reason == f"the log was saved, but not the memory: {why}"
    assert result.seconds_to_log == 7.6


@pytest.fixture
def tested(machine: FakeMachine) -> FakeMachine:
    """A machine in the boot after a test that left its log."""
    record(machine)
    machine.write(f"var/crash/{FOLDER}/dmesg.txt", LOG)
    machine.write(f"var/crash/{FOLDER}/status.json", STATUS.to_json())
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    return machine


def record(machine: FakeMachine) -> None:
    (machine.root / "var/lib/kdumpd").mkdir(exist_ok=True, parents=True)
    record_start(machine.root, STARTED)


def test_a_crash_of_a_test_is_told_from_a_real_one(tested: FakeMachine) -> None:
    tested.write("var/crash/2026-11-23T00-00-00Z/dmesg.txt", PANIC)
    oops = "[   99.3] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
    tested.write("var/crash/2026-11-24T00-00-00Z/dmesg.txt", LOG.replace(PANIC, oops))

    assert [(crash.test, crash.verdict) for crash in list_crashes(tested.root, ["/var/crash"])] == [
        (TOKEN, "Kernel panic - not syncing: sysrq triggered crash (kdumpd test)"),
        (None, "Kernel panic - not syncing: sysrq triggered crash"),
        (None, "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
    ]


def test_the_next_boot_puts_the_result_on_record_and_tells_it_once(tested: FakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    result = report_test(tested.root)

    assert result is not None
    assert capfd.readouterr().err == f"<5>kdumpd test {result.verdict}\n"
    assert report_test(tested.root) is None
    assert read_last_test(tested.root) == result
    assert not (tested.root / "var/lib/kdumpd/test.json").exists()


def test_a_failure_is_an_error_in_the_journal_with_its_way_out(machine: FakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    record(machine)
    machine.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    report_test(machine.root)

    assert capfd.readouterr().err == (
        f"<3>kdumpd test failed 2026-11-22T21:07Z: {selftest.NOTHING_SAVED}; way out: {selftest.LOOK_AT_CONSOLE}\n"
    )


def test_before_the_daemon_has_seen_it_the_result_is_known_already_and_nothing_is_written(tested: FakeMachine) -> None:
    result = read_last_test(tested.root)

    assert result is not None
    assert result.passed
    assert (tested.root / "var/lib/kdumpd/test.json").exists()
    assert not (tested.root / "var/lib/kdumpd/last-test.json").exists()


def test_a_test_is_not_over_before_the_next_boot(tested: FakeMachine) -> None:
    tested.write("proc/sys/kernel/random/boot_id", "boot-1\n")
    assert conclude_test(tested.root) is None

    tested.write("proc/sys/kernel/random/boot_id", "boot-3\n")
    tested.write("proc/cmdline", "root=UUID=1 kdumpd.capture\n")
    assert conclude_test(tested.root) is None


@pytest.mark.parametrize("name", ["test.json", "last-test.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "1"}', "7"])
def test_a_record_that_is_no_such_record_is_as_good_as_none(machine: FakeMachine, name: str, content: str) -> None:
    machine.write(f"var/lib/kdumpd/{name}", content)

    assert read_last_test(machine.root) is None


@pytest.fixture
def armed(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> FakeMachine:
    """An armed machine that `kdumpd` works on, with the door to its kernel's death."""
    for command in ("apply", "test", "status"):
        monkeypatch.setattr(f"kdumpd.cli.{command}.ROOT", machine.root)
    monkeypatch.setattr(provoke, "PATIENCE", 0)
    monkeypatch.setattr(provoke, "sync_with_patience", lambda: None)
    machine.write("proc/sysrq-trigger", "")
    machine.write("etc/kdumpd.yaml", "crashkernel: 192M\n")
    machine.reserve()
    assert kdumpd(machine, "apply", "--yes") == 0
    capsys.readouterr()
    return machine


def kdumpd(machine: FakeMachine, *words: str) -> int:
    return main([*words, "--policy", str(machine.root / "etc/kdumpd.yaml")])


def refused(machine: FakeMachine, capsys: pytest.CaptureFixture[str], *, yes: bool = True) -> tuple[int, str]:
    """How `kdumpd test` ended and what it said, once it is sure that it has done nothing."""
    code = kdumpd(machine, "test", *(["--yes"] if yes else []))
    assert machine.read("proc/sysrq-trigger") == ""
    assert not (machine.root / "var/lib/kdumpd/test.json").exists()
    return code, capsys.readouterr().err


def test_when_the_key_is_pressed_the_test_is_on_record_and_the_log_has_its_token(
    armed: FakeMachine, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    armed.write("var/crash/2026-11-20T00-00-00Z/dmesg.txt", PANIC)
    records = []
    # Where a real kernel is dead, this one sleeps.
    monkeypatch.setattr("time.sleep", lambda _: records.append(armed.read("var/lib/kdumpd/test.json")))
    kdumpd(armed, "test", "--yes")

    assert armed.read("proc/sysrq-trigger") == "c"
    (record,) = (json.loads(text) for text in records)
    assert said() == f"<2>kdumpd: test {record['token']}: crashing this machine now, on purpose\n"
    assert len(record["token"]) == 16
    assert record["boot_id"] == "boot-1"
    assert record["known"] == [f"{armed.root}/var/crash/2026-11-20T00-00-00Z"]


def test_a_kernel_that_does_not_crash_is_an_error_and_no_test(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert kdumpd(armed, "test", "--yes") == 1
    assert capsys.readouterr().err == (
        "kdumpd: the kernel was told to crash, and did not\nhint: see what it says: journalctl -k -b -g sysrq\n"
    )
    assert not (armed.root / "var/lib/kdumpd/test.json").exists()


def test_the_result_of_an_earlier_test_is_not_lost_by_the_next_one(armed: FakeMachine) -> None:
    record(armed)
    armed.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    kdumpd(armed, "apply", "--yes")
    kdumpd(armed, "test", "--yes")

    result = read_last_test(armed.root)
    assert result is not None
    assert result.reason == selftest.NOTHING_SAVED


def test_what_will_happen_is_said_before(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    kdumpd(armed, "test", "--yes")
    out = capsys.readouterr().out

    assert "everybody is thrown out" in out
    assert "  * the dump kernel saves the log to /var/crash, in 5min at most\n    (it is 6.1.0-" in out
    assert (
        "  * then this machine will power off: somebody must switch it on again\n    (if nothing could be saved, it will reboot)\n"
        in out
    )


def test_it_is_said_by_what_was_applied_not_by_a_policy_that_is_not_in_force_yet(
    armed: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    applied = Settings()._replace(stores=(StoreSettings(path="/a"), StoreSettings(path="/b")), vmcore=VmcoreSettings(), deadline=90)
    armed.write("var/lib/kdumpd/capture.json", applied.to_json())
    kdumpd(armed, "test", "--yes")

    assert "saves the log and the memory to /a, else to /b, else to /var/crash, in 90s at most\n" in capsys.readouterr().out


def test_without_a_terminal_and_without_yes_nobody_is_crashed(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(armed, capsys, yes=False) == (
        1,
        "kdumpd: this machine would crash, and there is no terminal to ask at\nhint: to crash it without being asked, add --yes\n",
    )


@pytest.mark.parametrize(("answer", "pressed"), [("y", "c"), ("", ""), ("no", "")])
def test_at_a_terminal_the_answer_counts(
    armed: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, pressed: str
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)

    assert kdumpd(armed, "test") == (1 if pressed else 2)
    assert armed.read("proc/sysrq-trigger") == pressed
    assert "crash this machine now? [y/N]" in capsys.readouterr().out


def test_a_machine_that_was_disarmed_while_the_question_was_open_is_not_crashed(
    armed: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def disarm_and_agree(question: str) -> str:
        armed.write("sys/kernel/kexec_crash_loaded", "0\n")
        return "y"

    monkeypatch.setattr("builtins.input", disarm_and_agree)

    assert kdumpd(armed, "test") == 3
    assert armed.read("proc/sysrq-trigger") == ""


def test_a_machine_that_is_not_armed_is_not_crashed(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    armed.write("sys/kernel/kexec_crash_loaded", "0\n")

    assert refused(armed, capsys) == (
        3,
        "kdumpd: this machine was not crashed, nothing would be saved: memory is reserved, but no dump kernel is loaded\n"
        "hint: kdumpd arm\n",
    )


def test_a_machine_whose_dump_kernel_is_somebody_elses_is_not_crashed(
    armed: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in ("last-loaded.json", "loaded-before.json"):
        (armed.root / "var/lib/kdumpd" / record).unlink()

    assert refused(armed, capsys) == (
        3,
        "kdumpd: this machine was not crashed, nothing would be saved: the dump kernel was loaded by another program\n"
        "hint: kdumpd apply\n",
    )


def test_a_trouble_that_does_not_cost_the_log_is_told_and_does_not_keep_from_testing(
    armed: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    armed.write("etc/sysctl.d/60-kdumpd.conf", "kernel.panic = 5\n")
    kdumpd(armed, "test", "--yes")

    assert "problem: /etc/sysctl.d/60-kdumpd.conf was changed by somebody else than kdumpd\n" in capsys.readouterr().out
    assert armed.read("proc/sysrq-trigger") == "c"


def test_a_machine_that_saves_no_log_is_not_crashed(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    armed.write("var/lib/kdumpd/capture.json", Settings(dmesg=False, vmcore=VmcoreSettings()).to_json())

    code, error = refused(armed, capsys)
    assert (code, error) == (
        1,
        "kdumpd: the log is not saved here, and without it a test proves nothing\nhint: set capture.dmesg: true\n",
    )


def test_a_kernel_that_throws_away_the_token_is_not_crashed(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    armed.write("proc/sys/kernel/printk_devkmsg", "off\n")

    code, error = refused(armed, capsys)
    assert code == 1
    assert error.startswith("kdumpd: kernel.printk_devkmsg is off: the log could not show that it is of this test\n")


def test_a_kernel_without_sysrq_is_told(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    (armed.root / "proc/sysrq-trigger").unlink()

    assert kdumpd(armed, "test", "--yes") == 1
    assert capsys.readouterr().err == (
        "kdumpd: this kernel has no /proc/sysrq-trigger\nhint: run a kernel with CONFIG_MAGIC_SYSRQ\n"
    )


def test_a_user_who_may_not_is_told_before_anything_else(
    armed: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As it is for everybody but root, who runs the tests.
    monkeypatch.setattr("os.access", lambda path, mode: path != armed.root / "proc/sysrq-trigger")

    code, error = refused(armed, capsys)
    assert (code, error) == (
        1,
        "kdumpd: this user may not write to /proc/sysrq-trigger\nhint: run this as root, and not in a container\n",
    )


def test_status_tells_of_a_failed_test_and_the_way_out(armed: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    record(armed)
    armed.write("proc/sys/kernel/random/boot_id", "boot-2\n")
    kdumpd(armed, "apply", "--yes")
    capsys.readouterr()

    assert kdumpd(armed, "status") == 0
    out = capsys.readouterr().out
    assert out.startswith("ARMED, BUT the last test failed\n")
    assert f"  last test     failed 2026-11-22T21:07Z: {selftest.NOTHING_SAVED}\n" in out
    assert f"problem: the last test failed\n    way out: {selftest.LOOK_AT_CONSOLE}\n" in out


def test_status_as_json_has_the_last_test(armed: FakeMachine, tested: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    kdumpd(armed, "status", "--json")

    last_test = json.loads(capsys.readouterr().out)["last_test"]
    assert last_test["passed"] is True
    assert last_test["verdict"].startswith("passed 2026-11-22T21:07Z: ")
    assert last_test["folder"] == f"{armed.root}/var/crash/{FOLDER}"
