# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes …` on an archive."""

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kdumpd.capture.status import Status, Step
from kdumpd.cli.crashes import parse_since
from kdumpd.cli.main import main
from kdumpd.crashes import analyse
from kdumpd.crashes.make import make_report, record_report
from kdumpd.crashes.report import Record, Report
from kdumpd.errors import KdumpdError
from tests.unit.fakes import FakeMachine

LOGS = Path(__file__).parents[1] / "data/dmesg"
NULL = "x86_64-6.12.117-kdump-null.txt"
PANIC = "x86_64-6.1.192-kdump-panic.txt"
SYSRQ = "x86_64-6.1.192-kdump-sysrq.txt"
NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


class Archive:
    """A store with crashes in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "var/crash"

    def add(self, day: int, log: str | bytes | None, *records: Record, status: Status | None = None) -> Path:
        folder = self.store / f"2026-11-{day:02}T03-04-05Z"
        folder.mkdir(parents=True, mode=0o700)
        if log is not None:
            (folder / "dmesg.txt").write_bytes(log if isinstance(log, bytes) else (LOGS / log).read_bytes())
        if status:
            (folder / "status.json").write_text(status.to_json())
        record_report(folder, records)
        return folder


@pytest.fixture
def archive(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Archive:
    for module in ("crashes", "crash_show", "crash_files"):
        monkeypatch.setattr(f"kdumpd.cli.{module}.ROOT", machine.root)
    return Archive(machine.root)


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["crashes", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["crashes", *arguments]) == 1
    return capsys.readouterr().err


def test_the_list_has_the_time_the_verdict_and_the_log_of_each(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive.add(1, PANIC)

    assert lines(capsys, "list") == [
        "2026-11-01T03:04:05Z  Kernel panic - not syncing: kcrash: asked for a panic, code 3, in kc_init() of module kcrash",
        f"                      {folder}/dmesg.txt",
    ]


def test_the_list_is_narrowed_by_time_and_by_signature(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(1, NULL)
    archive.add(2, PANIC)
    archive.add(3, NULL)

    assert [line[:10] for line in lines(capsys, "list", "--since", "2026-11-02")[::2]] == ["2026-11-02", "2026-11-03"]
    assert [line[:10] for line in lines(capsys, "list", "--signature", "null-deref-kc_null")[::2]] == ["2026-11-01", "2026-11-03"]
    found = json.loads("\n".join(lines(capsys, "list", "--json", "--since", "2026-11-02", "--signature", "null")))
    assert [(crash["id"], crash["kind"]) for crash in found] == [("2026-11-03T03-04-05Z", "null-deref")]
    assert lines(capsys, "list", "--signature", "gpf") == ["none of 3 crashes is like that"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22", "2026-11-22T00:00:00Z"),
        ("2026-11-22T03:04:05Z", "2026-11-22T03:04:05Z"),
        ("2026-11-22 03:04", "2026-11-22T03:04:00Z"),
        ("2026-11-22T03:04:05+02:00", "2026-11-22T01:04:05Z"),
        ("7d", "2026-11-16T12:30:00Z"),
        ("12h", "2026-11-23T00:30:00Z"),
        ("30min", "2026-11-23T12:00:00Z"),
    ],
)
def test_since_takes_a_day_a_time_or_how_long_ago(text: str, time: str) -> None:
    assert parse_since(text, NOW) == time


@pytest.mark.parametrize("text", ["yesterday", "7", "7x", "-7d", "999999w", "2026-13-01", ""])
def test_since_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(KdumpdError, match="is not a time"):
        parse_since(text, NOW)


def test_show_answers_in_three_lines_and_ends_with_what_to_do(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(1, NULL)
    archive.add(2, PANIC)
    archive.add(3, NULL)
    told = lines(capsys, "show")

    assert told[:4] == [
        "2026-11-03T03:04:05Z: kernel 6.12.117+deb12-amd64 died of the use of a NULL pointer: "
        "BUG: kernel NULL pointer dereference, address: 0000000000000008, in kc_null() of module kcrash",
        "in kc_null() of module kcrash, run by insmod, PID 191, CPU 1; suspect kcrash: not of the kernel's own modules",
        "null-deref-kc_null-7d32a8e9: it has happened 2 times, "
        "first 2026-11-01T03:04:05Z, the last time before 2026-11-01T03:04:05Z",
        "",
    ]
    assert "  ? __pfx_kc_init [kcrash]" in told
    assert "  O  OOT_MODULE             a module from outside the kernel's tree was loaded: kcrash" in told
    assert told[told.index("what to do now:") + 1 :] == [
        "  update kcrash, or do without; the maker, not the distribution, can tell what is wrong there",
        "  read the whole log: kdumpd crashes log 2026-11-03T03-04-05Z",
    ]


def test_what_happened_once_is_said_to_have(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(1, NULL)
    assert lines(capsys, "show")[2] == "null-deref-kc_null-7d32a8e9: it has not happened before; there is no other crash here"
    archive.add(2, PANIC)
    assert lines(capsys, "show")[2].endswith(": it has not happened before; there is 1 other crash here")


@pytest.mark.parametrize(("head", "command"), [(b"KDUMP   ", "crash"), (b"\x7fELF\x02", "gdb -ex")])
def test_show_has_the_command_for_this_very_dump(
    head: bytes, command: str, archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(analyse, "find_program", lambda name: name if name == "gdb" else None)
    folder = archive.add(1, NULL)
    (folder / "vmcore").write_bytes(head)

    analysis, by_hand = lines(capsys, "show")[-2:]
    assert analysis == f"  look into the memory: kdumpd crashes analyse {folder.name}"
    assert by_hand.startswith(f"  or by hand: {command} ")
    assert "/usr/lib/debug/boot/vmlinux-6.12.117+deb12-amd64" in by_hand
    assert f"{folder}/vmcore" in by_hand


def test_what_a_log_says_gets_into_a_command_only_quoted(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive.add(1, b"[ 1.0] Kernel panic - not syncing: x\n[ 1.0] CPU: 0 PID: 1 Comm: a Not tainted 6.1;reboot #1\n")
    (folder / "vmcore").write_bytes(b"KDUMP   ")

    assert f"  or by hand: crash '{archive.root}/usr/lib/debug/boot/vmlinux-6.1;reboot' {folder}/vmcore" in lines(capsys, "show")


def test_of_a_crash_by_hand_there_is_nothing_to_do(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(1, SYSRQ)
    told = lines(capsys, "show")

    assert told[1].endswith("; nobody's fault: it was asked for")
    assert told[told.index("what to do now:") + 1 :] == ["  nothing: somebody asked for this crash"]


def test_a_crash_without_a_log_is_told_with_what_the_capture_tried(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    failed = Step(name="dmesg", ok=False, seconds=1.0, detail="/proc/vmcore is empty")
    archive.add(1, None, status=Status(started="", kernel="6.1", steps=[failed], seconds=2.5))
    told = lines(capsys, "show")

    assert told[0] == "2026-11-01T03:04:05Z: no log was saved: /proc/vmcore is empty"
    assert "  failed dmesg: /proc/vmcore is empty" in told
    assert "capture:   took 2.5 s; /proc/vmcore is empty" in told
    assert refused(capsys, "log") == (
        "kdumpd: 2026-11-01T03-04-05Z has no log: no log was saved: /proc/vmcore is empty\n"
        "hint: what there is: kdumpd crashes show 2026-11-01T03-04-05Z\n"
    )


def test_gaps_in_what_pstore_kept_are_told(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.add(1, NULL, Record(backend="efi_pstore", reason="Oops", count=1, parts=5, missing=(2, 4)))

    assert "pstore:    Oops number 1 by efi_pstore, 5 parts, without 2, 4, which were lost" in lines(capsys, "show")


def test_show_speaks_json(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive.add(1, NULL)
    found = json.loads("\n".join(lines(capsys, "show", "--json", "latest")))

    assert {name: found[name] for name in ("id", "kind", "function", "log")} == {
        "id": folder.name,
        "kind": "null-deref",
        "function": "kc_null",
        "log": f"{folder}/dmesg.txt",
    }
    assert found["seen"] == {
        "signature": found["signature"],
        "count": 1,
        "first": "2026-11-01T03:04:05Z",
        "before": None,
        "others": 0,
    }
    assert (len(found["answer"]), len(found["next"])) == (3, 2)


def test_the_beginning_of_an_id_is_enough_where_only_one_begins_so(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = archive.add(1, NULL), archive.add(2, PANIC)
    (archive.store / f"{first.name}-1").mkdir()

    assert lines(capsys, "show", "2026-11-02")[0].startswith("2026-11-02T03:04:05Z: ")
    assert lines(capsys, "show", first.name)[0].startswith("2026-11-01T03:04:05Z: ")
    assert lines(capsys, "show", str(second))[0].startswith("2026-11-02T03:04:05Z: ")
    assert refused(capsys, "show", "2026-11") == (
        f'kdumpd: "2026-11" may be 3 crashes, from {first.name} to {second.name}\nhint: see them: kdumpd crashes list\n'
    )


@pytest.mark.parametrize("action", ["show", "log", "export", "rm"])
def test_an_unknown_id_is_an_error_with_what_there_is(action: str, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, action, "2025") == "kdumpd: there is no crash\nhint: would one be saved? kdumpd status\n"
    archive.add(1, NULL)
    archive.add(2, NULL)
    assert refused(capsys, action, "2025") == (
        'kdumpd: there is no crash "2025": there are 2, the latest is 2026-11-02T03-04-05Z\nhint: see them: kdumpd crashes list\n'
    )


def test_who_may_not_look_inside_is_told_so(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = archive.add(1, NULL)

    def refuse(folder: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("kdumpd.crashes.archive.read_report", refuse)
    assert refused(capsys, "show") == f"kdumpd: only root may look inside {folder}\nhint: run this as root\n"


EVIL = b"[ 1.0] Kernel panic - not syncing: \x1b[2J\x07evil\x9b\n[ 1.1] a\ttab \xff\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_control_character_of_a_log_reaches_a_terminal(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(1, EVIL)
    for action in ("list", "show", "stats"):
        assert all(line.isprintable() for line in lines(capsys, action))

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["crashes", "log"]) == 0
    printed = terminal.getvalue()
    assert printed.startswith("[ 1.0] Kernel panic - not syncing:  [2J evil")
    assert "a\ttab" in printed
    assert all(line.replace("\t", "").isprintable() for line in printed.splitlines())


EVIL_PROBLEM = "\x1b[2Jno\x9b space\x85\u2028left\u202eon\u2066 disk\x07"


def test_no_control_character_of_a_status_reaches_a_terminal(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    status = Status(started="", kernel="", steps=[Step("dmesg", False, 0.1, detail=EVIL_PROBLEM)])
    archive.add(1, None, status=status)

    assert refused(capsys, "log") == (
        "kdumpd: 2026-11-01T03-04-05Z has no log: no log was saved:  [2Jno  space  left on  disk \n"
        "hint: what there is: kdumpd crashes show 2026-11-01T03-04-05Z\n"
    )
    assert all(line.isprintable() for line in lines(capsys, "list"))


def test_a_verdict_is_one_line_that_can_be_shown_as_it_is(archive: Archive) -> None:
    log = "[ 1.0] Kernel panic - not syncing: a\x85b\u202ec\u2028d\u2066e\x9b2Jf\n".encode()
    status = Status(started="", kernel="", steps=[Step("dmesg", False, 0.1, detail=EVIL_PROBLEM)])

    for folder in (archive.add(1, log), archive.add(2, None, status=status)):
        report = make_report(folder)
        assert report.verdict.isprintable()
        assert Report.from_text(report.to_text()).verdict == report.verdict


@pytest.mark.parametrize("action", ["list", "show", "log"])
def test_a_locale_without_unicode_ends_no_command(archive: Archive, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    archive.add(1, "[ 1.0] Kernel panic - not syncing: caf\u00e9 \u2603\n".encode())
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    assert main(["crashes", action]) == 0
    sys.stdout.flush()
    assert b"Kernel panic" in written.getvalue()


def test_an_error_that_quotes_what_the_locale_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding="ascii", write_through=True))

    assert main(["crashes", "parse", "/nowhere/\u2603"]) == 1
    assert written.getvalue() == b"kdumpd: /nowhere/\\u2603: No such file or directory\n"


def test_a_log_that_does_not_go_to_a_terminal_stays_as_it_is(archive: Archive, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    archive.add(1, EVIL)

    assert main(["crashes", "log"]) == 0
    assert capfdbinary.readouterr().out == EVIL


def test_rm_removes_what_kdumpd_made(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = archive.add(1, NULL), archive.add(2, PANIC)
    (first / "pstore").mkdir()
    (first / "pstore/dmesg-efi-1").touch()
    for name in ("analysis.txt", ".report.json.new", "vmcore", "capture.log"):
        (first / name).touch()

    assert lines(capsys, "rm", "2026-11-01", "--yes") == [f"removed {first}"]
    assert [path for path in archive.store.iterdir() if path.is_dir()] == [second]


def test_rm_removes_nothing_when_one_of_them_has_something_of_somebody_else(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = archive.add(1, NULL), archive.add(2, PANIC)
    (second / "notes.txt").write_text("mine")

    assert refused(capsys, "rm", first.name, second.name, "--yes") == (
        f"kdumpd: {second} is not all from kdumpd, so it stays: it holds notes.txt\n"
        f"hint: look, then do it yourself: rm -r {second}\n"
    )
    assert first.exists()


def test_rm_follows_no_link_out_of_the_archive(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = archive.add(1, NULL)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").touch()
    (folder / "pstore").symlink_to(tmp_path / "elsewhere")

    assert "no plain file" in refused(capsys, "rm", "latest", "--yes")
    assert (tmp_path / "elsewhere/precious").exists()


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, False), ("", 2, True)])
def test_rm_shows_what_would_go_and_asks(
    answer: str,
    code: int,
    left: bool,
    archive: Archive,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = archive.add(1, NULL)
    assert "there is no terminal to ask at\nhint: do it: add --yes" in refused(capsys, "rm", "latest")

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert main(["crashes", "rm", "latest"]) == code
    assert capsys.readouterr().out.startswith(f"{folder}: BUG: kernel NULL pointer dereference")
    assert folder.exists() is left


def test_stats_count_each_signature_and_what_was_asked_for_apart(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    for day, log in enumerate((PANIC, NULL, SYSRQ, NULL, None), 1):
        archive.add(day, log)

    told = lines(capsys, "stats")
    signature = make_report(archive.store / "2026-11-02T03-04-05Z").told
    assert signature is not None
    assert told[0] == f"     2   67%  {signature.signature}"
    assert told[2] == "              first 2026-11-02T03:04:05Z, last 2026-11-04T03:04:05Z"
    assert told[6:] == [
        "     1        by hand: tests and SysRq",
        "     1        of which nothing is known: without a log, or for root only",
    ]
    found = json.loads("\n".join(lines(capsys, "stats", "--json")))
    assert [group["count"] for group in found["groups"]] == [2, 1]
    assert (found["by_hand"], found["unknown"]) == (1, 1)


def test_without_a_crash_stats_say_so(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, "stats") == ["no crashes in /var/crash"]
