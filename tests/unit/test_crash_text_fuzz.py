# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the bytes are, the reader comes to an end, soon, with an answer or with none."""

import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd.crashes.text.grammar import parse_header
from kdumpd.crashes.text.lines import MARKS, parse_line
from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.reader import read_pieces

TOP = Path(__file__).parents[2]
LOGS = sorted((TOP / "tests/data/dmesg").glob("*-kdump-*.txt"))
TEXTS = [log.read_bytes() for log in LOGS if "ftrace" not in log.name]
LINES = sorted({line for text in TEXTS for line in text.splitlines()})
FAST = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def read(text: bytes) -> None:
    found = read_pieces([text])
    if found is not None:
        assert CrashText.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@pytest.mark.parametrize("log", [log for log in LOGS if "ftrace" not in log.name], ids=lambda log: str(log.stem))
def test_a_log_that_is_cut_at_any_byte_is_read(log: Path) -> None:
    text = log.read_bytes()
    for cut in range(0, len(text), 7):
        read(text[:cut])
        read(text[cut:])


def test_where_a_log_is_cut_into_pieces_makes_no_difference() -> None:
    for text in TEXTS:
        whole = read_pieces([text])
        for size in (1, 13, 4096):
            assert read_pieces(text[start : start + size] for start in range(0, len(text), size)) == whole


@FAST
@given(st.binary(max_size=400), st.sampled_from(MARKS))
def test_random_bytes_are_read(noise: bytes, mark: bytes) -> None:
    read(noise + mark + noise + b"\n" + mark + noise)


@FAST
@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=60), max_size=80))
def test_lines_in_any_order_are_read(lines: list[bytes]) -> None:
    read(b"\n".join(lines))


@FAST
@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.data())
def test_two_logs_in_one_another_are_read(first: bytes, second: bytes, data: st.DataObject) -> None:
    cut, resume = (data.draw(st.integers(0, len(text))) for text in (first, second))
    read(first[:cut] + second[resume:] + first[cut:])


@FAST
@given(st.sampled_from(LINES), st.data())
def test_a_line_with_a_wrong_byte_is_read(line: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, max(0, len(line) - 1)))
    read(line[:place] + data.draw(st.binary(min_size=1, max_size=3)) + line[place + 1 :])


@pytest.mark.parametrize(
    "piece",
    [
        b"a ", b"a(", b"(E) ", b"[#", b"BUG: ", b" in ", b"+0x1/0x1", b"[<0>] ", b"Tainted: G ", b"- ", b"kernel: ",
        b"[ 1.0]", b"<4>", b"1,1,1,-;", b"task:a state:", b"R: 00 ", b"Comm: ", b"--", b"[", b" ", b"\x1b[", b"a:1 ",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "start",
    [b"", b"BUG: ", b"[ 1.0] CPU: 1 PID: 1 Comm: ", b"Modules linked in: ", b"RIP: 0010:", b"WARNING: ", b"INFO: task ", b"Oops: "],
)
def test_no_line_however_long_takes_long(piece: bytes, start: bytes) -> None:
    line = (start + piece * (20000 // len(piece))).replace(b"\n", b"")
    begin = time.process_time()
    read(b"BUG: kernel NULL pointer dereference, address: 0\n" + line + b"\n" + line)
    parse_header(parse_line(line).text)

    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    "lines",
    [
        # Ordinary words after a list of modules were tried in 2**length ways.
        b"Modules linked in: a(E)\n" + b"x" * 60 + b": loading out-of-tree module taints kernel.\n",
        b"Call Trace:\n f" + b".1" * 60 + b"x+0x1/0x2\n",
        b"watchdog: BUG: soft lockup - CPU#1 " + b"[:" * 8000 + b"\n",
        b"CPU: 1 PID: 1 Comm: x Tainted: " + b"- " * 8000 + b"!\n",
        b"task:a" + b" " * 16000 + b"\n",
        b"INFO: task a" + b":1<" * 5000 + b"\n",
    ],
    ids=["modules", "suffixes", "soft lockup", "taint", "task", "hung task"],
)
def test_no_line_is_tried_in_too_many_ways(lines: bytes) -> None:
    begin = time.process_time()
    read(b"BUG: kernel NULL pointer dereference, address: 0\n" + lines)

    assert time.process_time() - begin < 0.5


def test_an_address_that_is_none_is_left_alone() -> None:
    found = read_pieces([b"Oops: 0000 [#1] SMP\nCall Trace:\n f+0x1/0x2\nCR2: zzzz\n"])

    assert found is not None
    assert found.address is None


def test_a_time_that_is_none_is_left_alone() -> None:
    read(b"[" + b"9" * 400 + b".0] BUG: kernel NULL pointer dereference, address: 0\n")


def flood_of_warnings(number: int) -> bytes:
    block = b"".join(b"[ %d.0] WARNING: CPU: 1 PID: 2 at x.c:%d f%d+0x1/0x2\n" % (each, each, each) for each in range(100))
    ftrace = b"Dumping ftrace buffer:\n" + b"-" * 33 + b"\n" + b"some event of a trace\n" * 100
    return block + b"x" * 10000 + b"[ 9.0] mce: [Hardware Error]: again\n" + ftrace


# What comes again and again, each time with another number.
FLOODS = {
    "warnings": (100, flood_of_warnings),
    "headers": (3000, lambda number: b"BUG: unable to handle page fault for address: %x %s\n" % (number, b"x" * 2000)),
    "callers": (3000, lambda number: b"[1.0][ T%d] Oops: 0000 [#1]\n[1.0][ T%d] Code: %s\n" % (number, number, b"y" * 2000)),
    "callers of a lost fault": (3000, lambda number: b"[1.0][ T%d] RIP: 0010:f+0x1/0x2\n[1.0][ T%d] Code: 0f\n" % (number, number)),
    "callers of ftrace": (100_000, lambda number: b"[1.0][ T%d] Dumping ftrace buffer:\n" % number),
    "modules": (2000, lambda number: b"%s%d\n" % (b"m" * 12000 if number else b"BUG: x\nModules linked in:", number)),
    "frames": (2000, lambda number: b"f%s%d+0x1/0x2\n" % (b"f" * 12000 if number % 250 else b"\nBUG: x\nCall Trace:\n", number)),
    "boots": (3000, lambda number: b"Linux version 6.%d x\nBUG: x\nCall Trace:\n f+0x1/0x2\n" % number),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_memory_does_not_grow_with_the_log(flood: str) -> None:
    count, line = FLOODS[flood]
    tracemalloc.start()
    read_pieces(line(number) for number in range(count))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20


STREAM = """
import io, resource, sys
from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.reader import read_stream

class Log(io.RawIOBase):
    # The log of a machine that is never quiet.
    def __init__(self, size):
        self.lines = b"".join(b"[%5d.000000] usb 1-%d: new high-speed USB device number %d\\n" % (n, n, n) for n in range(2000))
        self.end = [b"BUG: kernel NULL pointer dereference, address: 0000000000000008\\nRIP: 0010:last+0x1/0x2\\n"]
        self.left = size
    def read(self, size):
        if self.left <= 0:
            return self.end.pop() if self.end else b""
        self.left -= len(self.lines)
        return self.lines

assert read_stream(Log(1 << 20)).function == "last"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert read_stream(Log(int(sys.argv[1]))).function == "last"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_log_of_100_mb_takes_no_more_memory_than_one_of_1_mb() -> None:
    grown = subprocess.run(
        [sys.executable, "-c", STREAM, str(100 << 20)], cwd=TOP, capture_output=True, check=True, text=True
    ).stdout

    assert int(grown) < 4096
