# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import struct
from pathlib import Path

import pytest

from kdumpd.host.luks import NEXT_TO_NOTHING, UnlockMemory, one_after_the_other, unlock_memory
from kdumpd.units import KIB, MIB

PBKDF2 = {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": "eA=="}


def argon2(memory: int) -> dict[str, object]:
    """A key as cryptsetup 2.6 writes it; `memory` is in KiB."""
    return {"type": "argon2id", "time": 4, "memory": memory, "cpus": 4, "salt": "eA=="}


def header(*kdfs: object, magic: bytes = b"LUKS\xba\xbe", version: int = 2, size: int = 16384) -> bytes:
    """The first of the two headers of a volume with these keys."""
    area = json.dumps({"keyslots": {str(number): {"type": "luks2", "kdf": kdf} for number, kdf in enumerate(kdfs)}})
    return struct.pack(">6sHQ", magic, version, size).ljust(4096, b"\0") + area.encode().ljust(12288, b"\0") + b"\xff" * 4096


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "vda2"


def test_a_volume_takes_what_its_keys_take(volume: Path) -> None:
    volume.write_bytes(header(argon2(65536), argon2(1048576), argon2(131072)))

    assert unlock_memory(volume) == UnlockMemory(least=64 * MIB, most=1024 * MIB)


def test_of_several_volumes_none_can_be_spared_and_none_needs_the_memory_of_another(tmp_path: Path) -> None:
    first, second = tmp_path / "vda2", tmp_path / "vdb2"
    first.write_bytes(header(PBKDF2, argon2(1048576)))
    second.write_bytes(header(argon2(65536)))

    assert one_after_the_other([first, second]) == UnlockMemory(least=64 * MIB, most=1024 * MIB)
    assert one_after_the_other([]) == NEXT_TO_NOTHING


def test_pbkdf2_takes_next_to_nothing(volume: Path) -> None:
    volume.write_bytes(header(PBKDF2))

    assert unlock_memory(volume) == NEXT_TO_NOTHING


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(32768),
        header(argon2(65536), version=1),
        header(argon2(65536), size=1 << 40),
        header(argon2(65536), size=4096),
        header(argon2(65536))[:4100],
        header("not an object"),
        header({"memory": "a lot"}),
        header(argon2(65536)).replace(b'"keyslots"', b'"something"'),
    ],
)
def test_what_is_no_header_of_luks2_takes_nothing(volume: Path, content: bytes) -> None:
    volume.write_bytes(content)

    assert unlock_memory(volume) == NEXT_TO_NOTHING


def test_a_volume_that_is_not_ours_to_read_takes_nothing(volume: Path) -> None:
    assert unlock_memory(volume) == NEXT_TO_NOTHING


def test_the_smallest_costs_are_exact(volume: Path) -> None:
    volume.write_bytes(header(argon2(32)))

    assert unlock_memory(volume) == UnlockMemory(least=32 * KIB, most=32 * KIB)
