# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reader of crash text: real logs, and the forms of other kernels as their sources have them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from kdumpd.crashes.text.model import CrashText, Kind
from kdumpd.crashes.text.reader import read_log, read_pieces

DATA = Path(__file__).parents[1] / "data"
KCRASH = ("kc_init", "do_one_initcall", "do_init_module", "__do_sys_finit_module", "do_syscall_64")
KCRASH_612 = (*KCRASH[:3], "init_module_from_file", "idempotent_init_module", "__x64_sys_finit_module", "do_syscall_64")
ENTRY = "entry_SYSCALL_64_after_hwframe"


@dataclass(frozen=True)
class Sample:
    """A real log, and what a person reads in it. `trace` are the reliable frames."""

    name: str
    kind: Kind
    function: str
    module: str | None
    process: tuple[str, int, int | None]
    trace: tuple[str, ...]
    letters: str = "OE"


SAMPLES = (
    Sample("6.1.192-kdump-null", Kind.NULL_DEREF, "kc_null", "kcrash", ("insmod", 143, 1), (*KCRASH, ENTRY)),
    Sample("6.1.192-full-null", Kind.NULL_DEREF, "kc_null", "kcrash", ("insmod", 143, 1), (*KCRASH, ENTRY)),
    Sample("6.1.192-kdump-null-with-ftrace-dump", Kind.NULL_DEREF, "kc_null", "kcrash", ("insmod", 141, 1), (*KCRASH, ENTRY)),
    Sample("6.12.117-kdump-null", Kind.NULL_DEREF, "kc_null", "kcrash", ("insmod", 191, 1), (*KCRASH_612, ENTRY)),
    Sample("6.12.117-kdump-bug", Kind.BUG, "kc_bug", "kcrash", ("insmod", 190, 1), (*KCRASH_612, ENTRY)),
    Sample("6.1.192-kdump-warn", Kind.WARN_PANIC, "kc_warn", "kcrash", ("insmod", 144, 1), (*KCRASH, ENTRY)),
    Sample(
        "6.1.192-kdump-panic",
        Kind.PANIC_OTHER,
        "kc_init",
        "kcrash",
        ("insmod", 143, 0),
        ("dump_stack_lvl", "panic", *KCRASH, ENTRY),
    ),
    Sample(
        "6.1.192-kdump-soft",
        Kind.SOFT_LOCKUP,
        "kc_softlock",
        "kcrash",
        ("kc soft", 144, 0),
        ("soft_thread", "kthread", "ret_from_fork"),
    ),
    Sample(
        "6.12.117-kdump-hung",
        Kind.HUNG_TASK,
        "hung_thread",
        "kcrash",
        ("kc_hung", 190, None),
        (
            "__schedule",
            "schedule",
            "schedule_timeout",
            "__wait_for_common",
            "hung_thread",
            "kthread",
            "ret_from_fork",
            "ret_from_fork_asm",
        ),
    ),
    Sample(
        "6.1.192-kdump-sysrq",
        Kind.SYSRQ,
        "sysrq_handle_crash",
        None,
        ("init", 1, 0),
        (
            "dump_stack_lvl",
            "panic",
            "sysrq_handle_crash",
            "__handle_sysrq.cold",
            "write_sysrq_trigger",
            "proc_reg_write",
            "vfs_write",
            "ksys_write",
            "do_syscall_64",
            ENTRY,
        ),
        letters="E",
    ),
)


def sample(name: str) -> CrashText:
    found = read_log(DATA / f"dmesg/x86_64-{name}.txt")
    assert found is not None
    return found


def read(text: str) -> CrashText:
    found = read_pieces([text.encode()])
    assert found is not None
    return found


@pytest.mark.parametrize("expected", SAMPLES, ids=[expected.name for expected in SAMPLES])
def test_a_real_log_is_read_right(expected: Sample) -> None:
    found = sample(expected.name)

    assert found.kind is expected.kind
    assert (found.function, found.module) == (expected.function, expected.module)
    assert (found.process.comm, found.process.pid, found.process.cpu) == expected.process
    assert tuple(frame.function for frame in found.trace if frame.reliable) == expected.trace
    assert found.taint is not None
    assert "".join(blame.flag.letter for blame in found.taint.blames) == expected.letters
    assert found.release == ("6.1.0-56-amd64" if expected.name.startswith("6.1.") else "6.12.117+deb12-amd64")
    assert found.hardware == "QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014"
    assert found.fatal
    assert not found.low_confidence


@pytest.mark.parametrize("name", ["dmesg-ramoops-0", "dmesg-ramoops-1"])
def test_a_pstore_record_is_read_as_it_is(name: str) -> None:
    found = read_log(DATA / "pstore/6.1.192-ramoops" / name)

    assert found is not None
    assert (found.kind, found.function, found.module) == (Kind.NULL_DEREF, "kc_null", "kcrash")
    assert found.panic == ("Fatal exception" if name.endswith("1") else None)


def test_the_parts_of_efi_records_make_the_log_whatever_their_headers() -> None:
    records = sorted((DATA / "pstore/6.1.192-efi").iterdir(), key=lambda path: int(path.name[-5:-3]) % 100, reverse=True)
    found = read_pieces(path.read_bytes() for path in records if path.name.endswith("002"))

    assert found is not None
    assert (found.kind, found.function) == (Kind.NULL_DEREF, "kc_null")


def test_registers_code_and_address_are_those_of_the_kernel_not_of_the_program_that_called_it() -> None:
    found = sample("6.1.192-kdump-warn")

    assert found.registers["RSP"] == "ff4b98974040bc40"
    assert found.registers["EFLAGS"] == "00000282"
    assert found.code is not None
    assert "<0f> 0b c3" in found.code
    assert sample("6.1.192-kdump-null").address == "0000000000000008"
    assert "RAX" not in sample("6.1.192-kdump-sysrq").registers


def test_modules_have_the_flags_that_taint_the_kernel() -> None:
    found = sample("6.12.117-kdump-null")

    assert [(module.name, module.flags) for module in found.modules] == [
        ("kcrash", "OE+"),
        ("efi_pstore", "E"),
        ("ramoops", "E"),
        ("reed_solomon", "E"),
        ("virtio_blk", "E"),
    ]
    assert found.taint is not None
    assert found.taint.blames[0].modules == ("kcrash",)


def test_an_ftrace_dump_is_a_section_of_its_own() -> None:
    found = sample("6.1.192-kdump-null-with-ftrace-dump")

    assert found.ftrace_lines == len(found.ftrace) == 461
    assert found.ftrace[-1].endswith("next_comm=insmod next_pid=141 next_prio=120")
    assert found.signature == sample("6.1.192-kdump-null").signature


def test_the_same_fault_has_the_same_signature_on_two_kernels_and_two_boots() -> None:
    old, new = sample("6.1.192-kdump-null"), sample("6.12.117-kdump-null")

    assert old.signature == new.signature == "null-deref-kc_null-7d32a8e9"
    assert sample("6.12.117-kdump-bug").signature != new.signature


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("6.1.192-kdump-null", "BUG: kernel NULL pointer dereference, address: 0000000000000008, in kc_null() of module kcrash"),
        ("6.1.192-kdump-sysrq", "Kernel panic - not syncing: sysrq triggered crash"),
        ("6.1.192-kdump-warn", "WARNING at /build/kcrash/kcrash.c:20: kcrash: a warning 7, in kc_warn() of module kcrash"),
        ("6.12.117-kdump-hung", "INFO: task kc_hung:190 blocked for more than 5 seconds, in hung_thread() of module kcrash"),
    ],
)
def test_the_title_is_the_kernels_own_first_line_and_the_place(name: str, title: str) -> None:
    assert sample(name).title == title


def test_a_bug_is_named_by_its_first_line_where_the_kernel_has_no_lines_of_source_too() -> None:
    text = "Kernel BUG at kfree+0x3e3/0x490 [verbose debug info unavailable]\nOops: invalid opcode: 0000 [#1] SMP NOPTI\n"

    assert read(text).title == "Kernel BUG at kfree+0x3e3/0x490 [verbose debug info unavailable]"


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "[   12.345678] ",
        "[   12.345678][  T123] ",
        "[   12.345678] [   T123] ",
        "<4>[   12.345678] ",
        "<4>[   12.345678][    C1] ",
        "Nov 23 03:04:05 web1 kernel: ",
        "Nov 23 03:04:05 web1 kernel: [   12.345678] ",
        "2026-11-23T03:04:05.123456+01:00 web1 kernel: [   12.345678] ",
        "2026-11-23T03:04:05+0100 web1 kernel: ",
        "[   12.345678] web1 kernel: ",
        "[Mon Nov 23 03:04:05 2026] ",
        "kern  :alert : [   12.345678] ",
        "4,1234,12345678,-;",
        "4,1234,12345678,-,caller=T123;",
        "web1 console | [   12.345678] ",
        "[Nov23 03:04] ",
        "[  +0.000012] ",
        "[   12.345678 <    0.000012>] ",
        "Mon 2026-11-23 01:02:03 UTC web1 kernel: ",
        "1795358600.123456 web1 kernel: ",
        "<4>1 2026-11-23T01:02:03.123456+01:00 web1 kernel - - - ",
        "Jan  1 00:00:10 (none) kern.alert kernel: ",
        "Mon Jan  1 01:02:03 2024 kern.alert kernel: [   12.345678] ",
        "6.12.0-rc1,4,1234,12345678,-;",
        "Jan  1 01:02:03 192.168.1.5 ",
        "[2026-11-23 01:02:03] [   12.345678] ",
        "[01:02:03.123] [   12.345678] ",
        "<4>[   12.345678]  [3:    kworker/u16:1:   97] ",
        "<4>[   12.345678]  (1)[1203:mdlog]",
        "[   12.345678 / 09-26 13:22:37.704][2][662][ndroid.systemui] ",
        "<4>[   12.345678] \x01c",
        "> > ",
        "[RUN]\ta test of the program whose console this is [   12.345678] ",
        "кві 09 19:54:36 web1 kernel: ",
        "févr. 19 10:07:21 web1 kernel: ",
        "    MESSAGE=",
        "\x1b[33m[   12.345678] \x1b[0m",
    ],
)
def test_every_prefix_of_log_daemons_and_consoles_is_taken_off(prefix: str) -> None:
    plain = (DATA / "dmesg/x86_64-6.1.192-kdump-null.txt").read_text().splitlines()
    found = read("\r\n".join(prefix + line.partition("] ")[2] for line in plain))

    assert found.signature == sample("6.1.192-kdump-null").signature
    assert found.title == sample("6.1.192-kdump-null").title
    assert found.process.pid == 143
    assert [module.name for module in found.modules][:2] == ["kcrash", "efi_pstore"]


def test_without_uptimes_the_clock_of_the_log_daemon_tells_what_the_kernel_survived() -> None:
    oops = (
        "BUG: kernel NULL pointer dereference, address: 0000000000000008\nOops: 0000 [#1] SMP\n"
        "CPU: 0 PID: 7 Comm: a Not tainted 6.1.0 #1\nRIP: 0010:acme_probe+0x1/0x2\n---[ end trace 0000000000000000 ]---"
    )
    panic = "Kernel panic - not syncing: EXT4-fs (device sda2): panic forced after error"

    def told(later: str) -> Kind:
        return read(
            "\n".join(
                f"Nov 23 {time} web1 kernel: {line}"
                for time, text in (("03:04:05", oops), (later, panic))
                for line in text.split("\n")
            )
        ).kind

    assert told("03:04:06") is Kind.NULL_DEREF
    assert told("03:09:05") is Kind.PANIC_OTHER


def test_the_code_of_arm64_comes_after_its_trace() -> None:
    found = read_log(DATA / "crash-text/arm64-6.1-null.txt")

    assert found is not None
    assert found.code is not None
    assert "(" in found.code


SYNTHETIC = sorted((DATA / "crash-text").glob("*.txt"))


@pytest.mark.parametrize("log", SYNTHETIC, ids=[log.stem for log in SYNTHETIC])
def test_a_log_as_other_kernels_and_machines_write_it_is_read_right(log: Path) -> None:
    expected = json.loads(log.with_suffix(".json").read_text())
    found = read_log(log)

    assert found is not None
    assert found.fatal
    assert {
        "kind": found.kind,
        "function": found.function,
        "module": found.module,
        "process": asdict(found.process),
        "taint": found.taint.string.replace(" ", "") if found.taint else None,
        "release": found.release,
        "reliable": sum(frame.reliable for frame in found.trace),
    } == expected
