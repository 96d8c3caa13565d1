# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes export`: what leaves the house, and what does not."""

import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdumpd import __version__
from kdumpd.cli.main import main
from kdumpd.crashes import redact
from kdumpd.crashes.export import export_crash
from kdumpd.crashes.make import record_report
from kdumpd.crashes.redact import Redactor, pieces
from kdumpd.crashes.report import Report
from kdumpd.crashes.secrets import NO_HOST
from tests.unit.fakes import FakeMachine

NAME = "2026-11-22T03-04-05Z"
LOG = """\
[    1.0] Command line: root=UUID=0a1b2c3d-1111-2222-3333-444455556666 ip=10.0.0.5::10.0.0.1:255.255.255.0:nfsbox:eth0:off
[    2.0] virtio_net virtio0 enp1s0: link up, address 52:54:00:12:34:56, was enx525400123456
[    2.1] usb 1-1: SerialNumber: AB12CD34
[    2.2] usb usb1: SerialNumber: 0000:00:14.0
[    2.3] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled
[    3.0] systemd[1]: Hostname set to <db7>.
[    4.0] nfs: server files.example.org not responding, still trying
[    5.0] BUG: unable to handle page fault for address: ffffffffc0000000
[    5.0] CPU: 1 PID: 141 Comm: db7-AB12CD34 Not tainted 6.1.0-56-amd64 #1 Debian 6.1.192-2
[    5.0] Code: 48 8b 05 00 11 22 33 44 55 66
[    5.1] web-1: 52-54-00-12-34-56 fe80::1 127.0.0.1 vg-web--1-root WEB-1.example.org website
"""


@pytest.fixture
def folder(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("kdumpd.cli.crash_files.ROOT", machine.root)
    machine.write("etc/hostname", "web-1.example.org\n")
    folder = machine.root / "var/crash" / NAME
    folder.mkdir(parents=True)
    (folder / "dmesg.txt").write_text(LOG)
    (folder / "capture.log").write_text("saved on web-1\n")
    (folder / "vmcore").write_bytes(b"KDUMP   web-1\0")
    (folder / "pstore").mkdir()
    (folder / "pstore/dmesg-efi-1").write_text("Panic#1 Part1\nlink 52:54:00:12:34:56\n")
    (folder / "pstore/dmesg-efi-2.enc.z").write_bytes(b"x\x9c\0\0")
    record_report(folder)
    return folder


def unpacked(packed: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of an archive, and its manifest."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            files[member.name.removeprefix(f"kdumpd-{NAME}/")] = content.read()
    return files, json.loads(files.pop("manifest.json"))


def exported(folder: Path, redactor: Redactor | None = None) -> tuple[dict[str, bytes], dict[str, Any]]:
    output = io.BytesIO()
    export_crash(folder, output, redactor)
    return unpacked(output.getvalue())


def test_an_export_has_each_file_as_it_is_and_a_manifest_of_them(folder: Path) -> None:
    files, manifest = exported(folder)

    names = ["capture.log", "dmesg.txt", "pstore/dmesg-efi-1", "pstore/dmesg-efi-2.enc.z", "report.json", "vmcore"]
    assert files == {name: (folder / name).read_bytes() for name in names}
    assert manifest == {
        "crash": NAME,
        "redacted": False,
        "version": 1,
        "kdumpd": __version__,
        "files": [{"name": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()} for name in names],
        "left_out": [],
        "masked": {},
    }


def test_the_export_goes_to_a_file_that_only_its_owner_may_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["crashes", "export", "latest"]) == 0
    file = tmp_path / f"kdumpd-{NAME}.tar.gz"
    assert file.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out == f"kdumpd-{NAME}.tar.gz: 6 files of {NAME}, and a manifest\n"
    assert unpacked(file.read_bytes())[0]["dmesg.txt"] == LOG.encode()


def test_nothing_is_overwritten(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").write_text("precious")
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("old", "link"):
        assert main(["crashes", "export", "latest", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err == (
            f"kdumpd: {tmp_path}/{name} exists, and is not overwritten\nhint: name another file, or remove this one\n"
        )
    assert (tmp_path / "old").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_an_export_that_fails_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdumpd.cli.crash_files.export_crash", fail)
    assert main(["crashes", "export", "latest", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_standard_output_can_be_the_archive(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["crashes", "export", "latest", "-", "--redact"]) == 0
    out, err = capfdbinary.readouterr()

    assert unpacked(out)[1]["redacted"] is True
    assert b"left out vmcore: the memory of a machine can't be redacted\n" in err
    assert b"MAC addresses: 1, " in err


def test_what_kdumpd_did_not_make_stays_at_home(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "notes.txt").write_text("mine")
    (folder / "analysis.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pstore/fifo")
    files, manifest = exported(folder)

    assert files.keys().isdisjoint({"notes.txt", "analysis.txt", "pstore/fifo"})
    assert manifest["left_out"] == [
        {"name": "analysis.txt", "reason": "it is not a file"},
        {"name": "notes.txt", "reason": "kdumpd did not make it"},
        {"name": "pstore/fifo", "reason": "it is not a file"},
    ]


def test_the_same_value_becomes_the_same_word_in_all_files(folder: Path) -> None:
    files, manifest = exported(folder, Redactor(["web-1.example.org"]))

    assert files["dmesg.txt"].decode().splitlines() == [
        "[    1.0] Command line: root=UUID=UUID-1 ip=IP-1::IP-2:255.255.255.0:HOST-2:eth0:off",
        "[    2.0] virtio_net virtio0 enp1s0: link up, address MAC-1, was enxMAC-1",
        "[    2.1] usb 1-1: SerialNumber: SERIAL-1",
        "[    2.2] usb usb1: SerialNumber: 0000:00:14.0",
        "[    2.3] Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled",
        "[    3.0] systemd[1]: Hostname set to <HOST-3>.",
        "[    4.0] nfs: server HOST-4 not responding, still trying",
        "[    5.0] BUG: unable to handle page fault for address: ffffffffc0000000",
        "[    5.0] CPU: 1 PID: 141 Comm: HOST-3-SERIAL-1 Not tainted 6.1.0-56-amd64 #1 Debian 6.1.192-2",
        "[    5.0] Code: 48 8b 05 00 11 22 33 44 55 66",
        "[    5.1] HOST-1: MAC-1 IP-3 127.0.0.1 vg-HOST-1-root HOST-5 website",
    ]
    assert files["capture.log"] == b"saved on HOST-1\n"
    assert files["pstore/dmesg-efi-1"] == b"Panic#1 Part1\nlink MAC-1\n"
    assert manifest["masked"] == {"HOST": 5, "UUID": 1, "IP": 3, "MAC": 1, "SERIAL": 1}


def test_a_redacted_report_is_a_report(folder: Path) -> None:
    files, _ = exported(folder, Redactor(["kind", "title"]))
    report = Report.from_text(files["report.json"].decode())

    assert report.told is not None
    assert report.told.process.comm == "HOST-2-SERIAL-1"


def test_what_can_not_be_redacted_is_left_out(folder: Path) -> None:
    files, manifest = exported(folder, Redactor())

    assert files.keys().isdisjoint({"vmcore", "pstore/dmesg-efi-2.enc.z"})
    assert manifest["left_out"] == [
        {"name": "pstore/dmesg-efi-2.enc.z", "reason": "it is not text, so it can't be redacted"},
        {"name": "vmcore", "reason": "the memory of a machine can't be redacted"},
    ]
    assert "vmcore" not in {file["name"] for file in manifest["files"]}


MACS = st.binary(min_size=6, max_size=6).map(bytes.hex)
HOSTS = st.from_regex(r"[a-z][a-z0-9-]{1,14}[a-z0-9](\.[a-z]{2,5}){0,2}", fullmatch=True)
AROUND = st.text(max_size=20)


@given(MACS, st.sampled_from(":-"), st.booleans(), AROUND, AROUND)
def test_no_mac_address_is_left_whatever_stands_around_it(mac: str, dash: str, upper: bool, before: str, after: str) -> None:
    written = dash.join(re.findall("..", mac.upper() if upper else mac))

    assert written not in Redactor().mask(f"{before}{written}{after}")


@given(
    HOSTS,
    st.sampled_from(["", " ", "[", "<", "=", "/", "@", "é", "_", "-"]),
    st.sampled_from(["", " ", ":", ">", ".", "-"]),
    AROUND,
)
def test_no_host_name_is_left_however_it_is_written(host: str, before: str, after: str, text: str) -> None:
    assume(NO_HOST.isdisjoint({host, host.partition(".")[0]}))
    redactor = Redactor([host])

    for written in (host, host.upper(), host.partition(".")[0]):
        masked = redactor.mask(f"{text} {before}{written}{after} {text}").lower()
        assert not re.search(rf"(?<![a-z0-9]){re.escape(written.lower())}(?![a-z0-9])", re.sub(r"[a-z]+-\d+", "", masked))


@given(st.text(), st.lists(HOSTS, max_size=3))
def test_any_text_can_be_learnt_from_and_masked(text: str, hosts: list[str]) -> None:
    redactor = Redactor(hosts)
    redactor.learn(text)

    assert redactor.mask(text) == redactor.mask(text)
    json.loads(redactor.mask_json(json.dumps({"a": [text, None, 1]})))


@given(st.binary(max_size=200), st.integers(1, 40))
def test_a_line_in_pieces_has_all_its_bytes(content: bytes, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redact, "PIECE", size)
        found = "".join(pieces(io.BytesIO(content)))

    # A character that was cut is two escapes.
    assert found.encode(errors="surrogateescape") == content


def test_no_value_is_cut_in_two_where_a_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "PIECE", 32)
    line = b"x " * 14 + b"52:54:00:12:34:56 " + b"y " * 30

    assert "52:54:00:12:34:56 " in "".join(list(pieces(io.BytesIO(line)))[1:2])
