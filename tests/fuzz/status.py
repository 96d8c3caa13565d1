# SPDX-License-Identifier: LGPL-2.1-or-later
"""status.json as it decides how much memory is reserved, fed with anything."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kdumpd.capture.status import CrashFacts, Memory, Status, Step
from kdumpd.host.kernel_image import KernelImage
from kdumpd.host.sizing import read_captures
from kdumpd.plan.estimate import EstimateInputs, estimate, measured_peak
from kdumpd.units import GIB, MIB
from tests.fuzz.json_damage import spoilt

RELEASE = "6.1.0-56-amd64"
GOOD = Status(
    started="2026-11-23T01:02:03Z",
    kernel=RELEASE,
    crash=CrashFacts(release=RELEASE),
    doors=["initrd"],
    milestones={"python": 2.5, "end": 7.25},
    steps=[Step(name="dmesg", ok=True, seconds=0.25, bytes=70000, door="initrd")],
    memory_kib=Memory(given=192 << 10, total=155_144, peak_used=34_400, lowest_available=120_744),
)
MACHINE = EstimateInputs(
    kernel=KernelImage(file_size=14 * MIB, init_size=51 * MIB), initrd=6 * MIB, rootfs=15 * MIB, cpus=1, ram=2 * GIB
)
LEAST, MOST = 112 * MIB, GIB

_folder = tempfile.TemporaryDirectory(prefix="kdumpd-fuzz-")
_root = Path(_folder.name)
_file = _root / "var/crash/2026-11-23T01-02-03Z/status.json"
_file.parent.mkdir(parents=True, mode=0o700)


def check(data: bytes) -> None:
    """Whatever is in the file, what is reserved is enough to live with, and no more than the machine can spare."""
    _measure(data)
    _measure(json.dumps(spoilt(json.loads(GOOD.to_json()), data[:32])).encode())


def _measure(content: bytes) -> None:
    _file.write_bytes(content)
    captures = read_captures(_root, ["/var/crash"])
    assert captures is not None
    for status in captures:
        assert Status.from_json(status.to_json()) == status
    found = measured_peak(captures, RELEASE, ram=MACHINE.ram)
    assert LEAST <= estimate(replace(MACHINE, measured=found)).total <= MOST


def seeds() -> Iterator[bytes]:
    yield GOOD.to_json().encode()
