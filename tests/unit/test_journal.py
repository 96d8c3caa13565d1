# SPDX-License-Identifier: LGPL-2.1-or-later
"""Events: what goes over journald's socket, and what its catalogue says about them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kdumpd.daemon import journal
from kdumpd.daemon.journal import LONGEST_FIELD, PRIORITIES, Event, Priority, event, log
from tests.unit.fakes import CATALOG, Journald


def test_an_event_is_one_entry_with_its_id_and_fields(journald: Journald, capfd: pytest.CaptureFixture[str]) -> None:
    event(Event.CRASH_FOUND, "this machine crashed", folder="/var/crash/x", headline="two\nlines = hard")

    assert journald.entries() == [
        {
            "MESSAGE": "this machine crashed",
            "MESSAGE_ID": "af3d02e84b964dd69c48385f1fdee0ed",
            "PRIORITY": "2",
            "SYSLOG_IDENTIFIER": "kdumpd",
            "KDUMPD_FOLDER": "/var/crash/x",
            "KDUMPD_HEADLINE": "two\nlines = hard",
        }
    ]
    assert capfd.readouterr().err == ""


def test_a_field_is_cut_where_a_datagram_would_not_hold_it_and_stays_text(journald: Journald) -> None:
    event(Event.POLICY_REFUSED, "ä" * 200_000, odd="x" + "ä" * LONGEST_FIELD, surrogate="\udcff")

    (fields,) = journald.entries()
    assert fields["MESSAGE"] == "ä" * (LONGEST_FIELD // 2)
    assert fields["KDUMPD_ODD"] == "x" + "ä" * (LONGEST_FIELD // 2 - 1)
    assert fields["KDUMPD_SURROGATE"] == "?"


def test_without_a_journal_the_text_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    event(Event.NOT_ARMED, "not armed\nat all", problem="x")

    assert capfd.readouterr().err == "<3>not armed\n<3>at all\n"


def test_a_journald_that_hangs_does_not_hang_the_daemon(
    journald: Journald, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    # It reads nothing: the kernel takes max_dgram_qlen entries, usually 10, and then makes the sender wait.
    for _ in range(600):
        event(Event.ARMED, "armed")
        if told := capfd.readouterr().err:
            break

    assert told == "<5>armed\n"


def test_every_event_has_a_priority() -> None:
    assert set(PRIORITIES) == set(Event)


def test_the_catalogue_explains_every_event_and_no_other() -> None:
    ids = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE)

    assert sorted(ids) == sorted(event.value for event in Event)


def test_systemd_understands_the_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    command = ["journalctl", f"--root={tmp_path}"]

    subprocess.run([*command, "--update-catalog"], check=True)
    listed = subprocess.run([*command, "--list-catalog"], check=True, capture_output=True, text=True).stdout
    assert sorted(line.split()[0] for line in listed.splitlines()) == sorted(event.value for event in Event)
    crash = subprocess.run([*command, "--dump-catalog", Event.CRASH_FOUND], check=True, capture_output=True, text=True).stdout
    assert "Subject: This machine has crashed\n" in crash


def test_no_character_of_a_crash_begins_an_entry_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    log(Priority.INFO, "one\x85<0>two\u2028<0>three\x1b[2J\nfour\n")

    assert capfd.readouterr().err == "<6>one <0>two <0>three [2J\n<6>four\n"
