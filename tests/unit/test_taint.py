# SPDX-License-Identifier: LGPL-2.1-or-later
from pathlib import Path

import pytest

from kdumpd.crashes.taint import FLAGS, TaintError, decode, decode_letters, decode_value, read_running


def letters(text: str) -> str:
    return "".join(blame.flag.letter for blame in decode(text).blames)


def test_every_flag_of_the_kernel_is_known_in_the_kernels_order() -> None:
    assert "".join(flag.letter for flag in FLAGS) == "PFSRMBUDAWCIOELKXTNJ"
    assert [flag.bit for flag in FLAGS] == list(range(20))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0", ""),
        ("1", "P"),
        ("12288", "OE"),
        ("0x3000", "OE"),
        ("G           OE", "OE"),
        ("P        W  OE", "PWOE"),
        ("Tainted: G        W", "W"),
        ("OE", "OE"),
        ("G", ""),
        ("Not tainted", ""),
        ("524288", "J"),
    ],
)
def test_a_number_and_a_logs_letters_are_decoded(given: str, found: str) -> None:
    assert letters(given) == found


def test_a_number_is_shown_as_a_log_would_show_it() -> None:
    assert decode_value(12288).string == "G           OE"
    assert decode_value(4609).string == "P        W  O"
    assert decode_value(0).string == ""
    assert decode_letters("G           OE").value == 12288


def test_letters_and_bits_that_a_newer_kernel_has_are_kept() -> None:
    assert [blame.flag.name for blame in decode("OZ").blames] == ["OOT_MODULE", "UNKNOWN"]
    assert [blame.flag.name for blame in decode_value(1 << 25).blames] == ["BIT_25"]
    assert decode_value(1 << 25).value == 1 << 25


def test_the_modules_that_carry_a_taint_are_named() -> None:
    report = decode_letters("OE", [("kcrash", "OE+"), ("virtio", "E")])

    assert [blame.modules for blame in report.blames] == [("kcrash",), ("kcrash", "virtio")]


@pytest.mark.parametrize("given", ["", "maybe", "-1", "G!", "99999999999999999999", "0x"])
def test_what_is_no_taint_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(TaintError, match="is not a taint") as raised:
        decode(given)
    assert raised.value.hint is not None


def test_the_running_kernel_is_read_with_its_modules(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/tainted").write_text("4096\n")
    (tmp_path / "proc/modules").write_text(
        "nvidia 56823808 2 - Live 0x0000000000000000 (POE)\nvirtio 16384 1 virtio_blk, Live 0x0000000000000000\n"
    )

    (blame,) = read_running(tmp_path).blames
    assert (blame.flag.name, blame.modules) == ("OOT_MODULE", ("nvidia",))


def test_a_machine_that_does_not_tell_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaintError, match="can't be read"):
        read_running(tmp_path)
