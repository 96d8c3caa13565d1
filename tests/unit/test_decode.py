# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from kdumpd.capture.settings import Settings
from kdumpd.capture.status import Status, Step
from kdumpd.decode import ANY_BYTES, parse_json, read_json
from kdumpd.host import layout
from kdumpd.host.original import Original, OriginalFile, read_original


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    points: tuple[Point, ...] = ()
    raw: str = field(default="", metadata=ANY_BYTES)


def test_named_tuples_and_data_classes_are_read_with_their_types() -> None:
    text = '{"name": "a", "points": [{"x": 1}, {"x": 2, "y": 3}], "of a newer kdumpd": 1}'
    assert parse_json(text, Shape) == Shape(name="a", points=(Point(1), Point(2, 3.0)))


def test_what_a_capture_writes_is_read_as_the_capture_reads_it() -> None:
    status = Status(started="now", kernel="6.1", steps=[Step(name="dmesg", ok=True, seconds=1.5)], milestones={"init": 1.0})

    assert parse_json(status.to_json(), Status) == status
    assert parse_json(Settings().to_json(), Settings) == Settings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"name": ' + "[" * 900 + "]" * 900 + "}", r"Shape.name is \[\[.*, not of type str"),
        ('{"name": 1}', "Shape.name is 1, not of type str"),
        ('{"name": "\\u0000"}', "which is no text"),
        ('{"name": "\\ud800"}', "which is no text"),
        ('{"name": "a", "points": 1}', r"Shape.points is 1, not of type tuple"),
        ('{"name": "a", "points": [{"x": true}]}', r"Shape.points\[0\].x is True, not of type int"),
        ('{"name": "a", "points": [{"x": 1' + "0" * 400 + "}]}", "is a number of 1329 bits"),
        ('{"name": "a", "points": [{"x": 1' + "0" * 5000 + "}]}", "4300"),
        ('{"name": "a", "points": [{"x": 1, "y": 1e999}]}', "is inf, not a number"),
        ('{"name": "a", "points": [{"x": 1, "y": 1' + "0" * 400 + "}]}", "is a number of 1329 bits"),
        ("{}", "Shape lacks a field"),
    ],
)
def test_whatever_is_wrong_ends_in_one_sort_of_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(text, Shape)


def test_another_version_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text('{"version": 2, "name": "a"}')
    assert read_json(file, Shape, version=2) == Shape(name="a")
    assert read_json(file, Shape, version=1) is None


def test_the_bytes_of_a_file_that_was_taken_over_come_back_as_they_were(tmp_path: Path) -> None:
    content = b"caf\xe9\0".decode(errors="surrogateescape")
    before = Original(files={"/etc/file": OriginalFile(content=content, mode=0o644)}, values={})
    path = tmp_path / layout.ORIGINAL
    path.parent.mkdir(parents=True)
    path.write_text(before.to_json())

    assert read_original(tmp_path) == before


def test_a_fifo_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert read_json(tmp_path / "file", Shape) is None


def test_a_list_needs_no_class() -> None:
    assert parse_json(json.dumps(["a", "b"]), tuple[str, ...]) == ("a", "b")
