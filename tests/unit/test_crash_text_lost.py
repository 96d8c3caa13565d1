# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logs that begin or end in the middle of a fault, as pstore's records and a full ring leave them: what is left decides."""

from pathlib import Path

import pytest

from kdumpd.crashes.text.model import CrashText, Kind
from kdumpd.crashes.text.reader import read_pieces

LOGS = Path(__file__).parents[1] / "data/crash-text"


def read(text: str) -> CrashText:
    found = read_pieces([text.encode()])
    assert found is not None
    return found


def without_beginning(log: str, first: str) -> CrashText:
    """The log from the first line that has these words."""
    lines = (LOGS / f"{log}.txt").read_text(errors="replace").splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if first in line)
    return read("".join(lines[start:]))


@pytest.mark.parametrize(
    ("log", "first", "kind", "function"),
    [
        ("arm64-6.1-softlockup", "Modules linked in", Kind.SOFT_LOCKUP, "acme_wait_hw"),
        ("rhel8-4.18-softlockup-journal", "CPU: 12", Kind.SOFT_LOCKUP, "native_queued_spin_lock_slowpath"),
        ("hard-lockup-6.1-nmi-backtraces", "Modules linked in", Kind.HARD_LOCKUP, "acme_spin"),
        ("hung-task-rhel8-4.18", "task:rsync", Kind.HUNG_TASK, "cv_wait_common"),
        ("rcu-stall-6.12-panic", "CPU: 2 UID", Kind.RCU_STALL, "acme_bio_scan"),
        ("refcount-6.8-panic-on-warn", "Modules linked in", Kind.WARN_PANIC, "refcount_warn_saturate"),
        ("kasan-6.8-uaf", "Read of size", Kind.WARN_PANIC, "tcp_reset"),
        # A panic says what it was of.
        ("ubuntu-5.15-gpf-noncanonical", "CPU: 21", Kind.GPF, "nf_ct_unlink_expect_report"),
        ("rhel8-4.18-null", "RIP: 0010", Kind.NULL_DEREF, "acme_queue_free"),
        ("interleaved-console-6.1", "CPU: 9", Kind.NULL_DEREF, "cls_bpf_classify"),
        ("arm64-6.12-execute", "Internal error", Kind.WILD_JUMP, "vuln_init"),
        ("nx-execute-6.1", "Oops: 0011", Kind.WILD_JUMP, "vuln_ioctl"),
        ("arm64-6.1-null", "pgd=", Kind.NULL_DEREF, "brcmf_sdio_dpc"),
    ],
)
def test_the_rest_of_a_fault_tells_its_kind_and_place(log: str, first: str, kind: Kind, function: str) -> None:
    found = without_beginning(log, first)

    assert (found.kind, found.function, found.fatal) == (kind, function, True)


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("x86_64-6.1.192-kdump-sysrq", Kind.SYSRQ),
        ("x86_64-6.12.117-kdump-hung", Kind.HUNG_TASK),
        ("x86_64-6.1.192-kdump-soft", Kind.SOFT_LOCKUP),
    ],
)
def test_the_trace_of_a_panic_tells_its_kind_when_its_message_is_lost(log: str, kind: Kind) -> None:
    text = (LOGS.parent / f"dmesg/{log}.txt").read_text()
    found = read(text[text.index("CPU: ", text.index("Kernel panic")) :])

    assert (found.kind, found.fatal) == (kind, True)


def test_the_last_line_of_a_panic_says_once_more_what_it_was() -> None:
    trace = "Call Trace:\n dump_stack_lvl+0x44/0x5c\n panic+0x118/0x2ed\n mount_root+0x10/0x20\n"
    found = read(f"{trace}---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---\n")

    assert found.panic == "VFS: Unable to mount root fs on unknown-block(0,0)"
    assert [frame.function for frame in found.trace] == ["dump_stack_lvl", "panic", "mount_root"]


def test_the_registers_that_an_oops_says_last_tell_its_place() -> None:
    tail = " vfs_read+0x1/0x2\nCR2: 0000000000000010\n---[ end trace 0 ]---\nRIP: 0010:acme_read+0x1/0x2 [acme]\n"
    found = read(f"Call Trace:\n{tail}Kernel panic - not syncing: Fatal exception\n")

    assert (found.kind, found.function, found.module) == (Kind.NULL_DEREF, "acme_read", "acme")


def test_a_trace_that_no_fault_goes_with_is_no_crash() -> None:
    assert (
        read_pieces([b"CPU: 1 PID: 2 Comm: x Not tainted 6.1.0 #1\nCall Trace:\n dump_stack+0x1/0x2\n dump_header+0x1/0x2\n"])
        is None
    )


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("BUG: kernel NULL poin", Kind.NULL_DEREF),
        ("BUG: unable to handle kernel NULL", Kind.NULL_DEREF),
        ("BUG: unable to handle page fau", Kind.PAGE_FAULT),
        ("general protection fau", Kind.GPF),
        ("Unable to handle kernel pag", Kind.PAGE_FAULT),
        ("kernel BUG at mm/sl", Kind.BUG),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]\nKernel panic - not syncing", Kind.SOFT_LOCKUP),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]\nKernel panic - not syncing: so", Kind.SOFT_LOCKUP),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a:1]\nKernel panic - not syncing: softlo", Kind.SOFT_LOCKUP),
        ("WARNING: CPU: 1 PID: 2 at a.c:1 f+0x1/0x2\nKernel panic - not syncing: kernel: pan", Kind.WARN_PANIC),
        # Not an address in the first page, but the beginning of another.
        ("BUG: unable to handle page fault for address: ff", Kind.PAGE_FAULT),
    ],
)
def test_a_log_that_ends_in_the_middle_of_a_line_is_read_as_far_as_it_goes(end: str, kind: Kind) -> None:
    assert read(f"usb 1-1: new device\n{end}").kind is kind


def test_half_a_name_is_no_place() -> None:
    oops = "BUG: kernel NULL pointer dereference, address: 0000000000000008\nRIP: 0010:acme_re"

    assert read(oops).function is None
    assert read(f"{oops}ad+0x1").function == "acme_read"


def test_a_list_of_modules_goes_on_after_what_others_said() -> None:
    others = "usb 1-1: new device\neth0: link is up\n"
    found = read(
        f"Oops: 0000 [#1] SMP\nModules linked in: one two\n{others} three(OE) four\nCPU: 1 PID: 2 Comm: x Not tainted 6.1.0 #1\n"
    )

    assert [module.name for module in found.modules] == ["one", "two", "three", "four"]


def test_the_registers_of_an_serror_are_its_place_without_its_first_line_too() -> None:
    found = without_beginning("arm64-5.15-serror", "CPU: 17")

    assert (found.kind, found.function) == (Kind.MACHINE_CHECK, "mlx5_health_check_fatal_sensors")


def test_a_trace_that_somebody_asked_for_is_not_what_killed_init() -> None:
    asked = "CPU: 1 PID: 9 Comm: kworker/1:0 Not tainted 6.1.0 #1\nCall Trace:\n dump_stack_lvl+0x1/0x2\n warn_alloc+0x1/0x2\n"
    found = read(f"{asked}Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n")

    assert (found.kind, found.process.comm) == (Kind.INIT_DIED, None)
