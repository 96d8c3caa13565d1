# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever a fault is made of, what the kernel's grammar says is read back from it."""

import re
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd.crashes.text.model import Kind
from kdumpd.crashes.text.reader import read_pieces

FAST = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
PREFIXES = (
    "",
    "[   12.345678] ",
    "<4>[   12.345678] ",
    "[   12.345678][    T7] ",
    "Nov 23 03:04:05 web1 kernel: ",
    "2026-11-23T03:04:05.123456+01:00 web1 kernel: [   12.345678] ",
    "[Mon Nov 23 03:04:05 2026] ",
    "4,1234,12345678,-;",
)
# First lines, with the lines that follow at once.
HEADERS = {
    "BUG: kernel NULL pointer dereference, address: 0000000000000008\n#PF: supervisor read access in kernel mode": Kind.NULL_DEREF,
    "BUG: unable to handle kernel NULL pointer dereference at 0000000000000008\nOops: 0000 [#1] SMP PTI": Kind.NULL_DEREF,
    "BUG: unable to handle page fault for address: ffffdeadbeef0000\nOops: Oops: 0002 [#1] PREEMPT SMP NOPTI": Kind.PAGE_FAULT,
    "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP": Kind.GPF,
    "Oops: general protection fault, maybe for address 0x5a: 0000 [#2] SMP": Kind.GPF,
    "------------[ cut here ]------------\nkernel BUG at mm/slub.c:4321!\ninvalid opcode: 0000 [#1] SMP": Kind.BUG,
    "Kernel BUG at kfree+0x3e3/0x490 [verbose debug info unavailable]\nOops: invalid opcode: 0000 [#1] SMP NOPTI": Kind.BUG,
    "Oops: divide error: 0000 [#1] PREEMPT SMP NOPTI": Kind.DIVIDE,
    "traps: PANIC: double fault, error_code: 0x0\ndouble fault: 0000 [#1] SMP": Kind.DOUBLE_FAULT,
}
names = st.from_regex(r"[a-z_][a-z0-9_]{2,30}", fullmatch=True)
modules = st.none() | names


@dataclass(frozen=True)
class Fault:
    """What a fault is made of."""

    header: str
    functions: tuple[tuple[str, str | None], ...]
    unreliable: str
    comm: str
    pid: int
    cpu: int
    letters: str
    release: str

    def lines(self) -> list[str]:
        place, *frames = [f"{name}+0x1c/0x40" + (f" [{module}]" if module else "") for name, module in self.functions]
        taint = f"Tainted: {self.letters}" if self.letters.strip() else "Not tainted"
        return [
            *self.header.split("\n"),
            f"CPU: {self.cpu} PID: {self.pid} Comm: {self.comm} {taint} {self.release} #1",
            "Hardware name: Vendor Product/Board, BIOS 1.2 01/02/2026",
            f"RIP: 0010:{place}",
            "RSP: 0018:ffffb5f1c0b3fbc8 EFLAGS: 00010246",
            "Call Trace:",
            " <TASK>",
            f" ? {self.unreliable}+0x10/0x20",
            *(f" {frame}" for frame in frames),
            " </TASK>",
            "Modules linked in: one(OE) two three(E)",
        ]


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    letters = "".join(letter if draw(st.booleans()) else " " for letter in "FSRMBUDAWCIOELKXTN")
    return Fault(
        header=draw(st.sampled_from(sorted(HEADERS))),
        functions=tuple(draw(st.lists(st.tuples(names, modules), min_size=2, max_size=12))),
        unreliable=draw(names),
        # What prctl(PR_SET_NAME) takes, as far as it is printed.
        comm=draw(st.from_regex(r"[!-~]([ -~]{0,13}[!-~])?", fullmatch=True)),
        pid=draw(st.integers(0, 1 << 22)),
        cpu=draw(st.integers(0, 8191)),
        letters=f"G{letters}",
        release=draw(
            st.sampled_from(["6.1.0-56-amd64", "4.18.0-553.el8.x86_64", "5.15.0-122-generic", "6.12.0", "6.4.0-150600.23-default"])
        ),
    )


@FAST
@given(faults(), st.sampled_from(PREFIXES))
def test_what_stands_in_a_fault_is_what_is_read(fault: Fault, prefix: str) -> None:
    found = read_pieces([f"{prefix}{line}\n".encode() for line in fault.lines()])

    assert found is not None
    assert found.kind is HEADERS[fault.header]
    assert (found.function, found.module) == fault.functions[0]
    assert (found.process.comm, found.process.pid, found.process.cpu) == (fault.comm, fault.pid, fault.cpu)
    assert found.release == fault.release
    assert [(frame.function, frame.module) for frame in found.trace if frame.reliable] == list(fault.functions[1:])
    assert [frame.function for frame in found.trace if not frame.reliable] == [fault.unreliable]
    assert found.taint is not None
    assert {blame.flag.letter for blame in found.taint.blames} == set(fault.letters) - set("G ")
    assert [(module.name, module.flags) for module in found.modules] == [("one", "OE"), ("two", ""), ("three", "E")]


@FAST
@given(faults(), st.data())
def test_a_fault_that_is_cut_off_is_the_same_fault_as_far_as_it_goes(fault: Fault, data: st.DataObject) -> None:
    text = "\n".join(fault.lines()).encode()
    cut = data.draw(st.integers(len(fault.header) + 1, len(text)))
    found = read_pieces([text[:cut]])

    assert found is not None
    assert found.kind is HEADERS[fault.header]
    whole = [function for function, _ in fault.functions[1:]]
    assert [frame.function for frame in found.trace if frame.reliable] == whole[: sum(frame.reliable for frame in found.trace)]


@FAST
@given(faults(), faults(), st.data())
def test_of_two_cpus_that_speak_at_once_the_first_is_the_one_that_died(first: Fault, second: Fault, data: st.DataObject) -> None:
    queues = [[f"[    1.000000][  T{number}] {line}" for line in fault.lines()] for number, fault in enumerate((first, second))]
    begun = first.header.count("\n") + 1
    mixed, queues[0] = queues[0][:begun], queues[0][begun:]
    while any(queues):
        mixed.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))

    assert read_pieces(["\n".join(mixed).encode()]) == read_pieces(["\n".join(line for line in mixed if "[  T0]" in line).encode()])


@FAST
@given(faults(), st.binary(max_size=40).filter(lambda noise: not re.search(rb"[\n\[(<]", noise)))
def test_bytes_that_are_no_text_beside_a_fault_change_nothing(fault: Fault, noise: bytes) -> None:
    text = "\n".join(fault.lines()).encode()
    alone, between = read_pieces([text]), read_pieces([b"audit: name=" + noise + b"\xff\n" + text + b"\nusb: " + noise + b"\xff\n"])

    assert between == alone
