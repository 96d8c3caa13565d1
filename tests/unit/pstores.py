# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records of pstore, as a crash leaves them, real ones and made ones."""

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from kdumpd.crashes.records import PstoreRecord, read_record

DATA = Path(__file__).parents[1] / "data/pstore"
EFI, RAMOOPS = DATA / "6.1.192-efi", DATA / "6.1.192-ramoops"
TIME = 1795358600


def record(file: str, content: bytes, *, time: float = TIME) -> PstoreRecord:
    """A record whose name must be one."""
    found = read_record(file, time, lambda: iter([content[at : at + 1000] for at in range(0, len(content), 1000)]))
    assert found is not None
    return found


def records_of(folder: Path) -> list[PstoreRecord]:
    return [record(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def deflate(content: bytes) -> bytes:
    """As pstore does: without a header."""
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(content) + engine.flush()


def lines(first: int, last: int, *, text: str = "line") -> str:
    """One line in each second of uptime."""
    return "".join(f"<6>[{second:5}.000001] {text} {second}\n" for second in range(first, last + 1))


def oops(second: int) -> str:
    """An oops that the kernel survives."""
    said = (
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "Oops: 0002 [#1] PREEMPT SMP PTI",
        "CPU: 1 PID: 77 Comm: insmod Tainted: G           OE      6.1.0-56-amd64 #1  Debian 6.1.192-2",
        "RIP: 0010:kc_null+0x5/0x20 [kcrash]",
        "---[ end trace 0000000000000000 ]---",
    )
    return "".join(f"<4>[{second:5}.00000{number}] {line}\n" for number, line in enumerate(said))


def panic(second: int, why: str = "sysrq triggered crash") -> str:
    return f"<0>[{second:5}.000009] Kernel panic - not syncing: {why}\n"


def efi(time: int, part: int, count: int, reason: str, text: str) -> PstoreRecord:
    """A part of a dump in EFI's variables."""
    file = f"dmesg-efi_pstore-{(time * 100 + part) * 1000 + count}"
    return record(file, f"{reason}#{count} Part{part}\n{text}".encode(), time=time)


def dump(time: int, count: int, reason: str, *texts: str) -> list[PstoreRecord]:
    """All parts of a dump, the oldest text first; each second brings a part."""
    parts = list(enumerate(reversed(texts), 1))
    return [efi(time + part // 2, part, count, reason, text) for part, text in parts]


def text_of(pieces: Iterable[bytes]) -> str:
    return b"".join(pieces).decode(errors="replace")


def put(folder: Path, *found: PstoreRecord) -> None:
    """Writes records into a folder, as pstore shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in found:
        path = folder / each.file
        path.write_bytes(b"".join(each.raw()))
        os.utime(path, (each.time, each.time))
