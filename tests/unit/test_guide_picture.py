# SPDX-License-Identifier: LGPL-2.1-or-later
"""The picture of `make demo`: what it leaves out, and that it is one."""

from xml.etree import ElementTree

from tests.vm.picture import COLUMNS, PICTURE, draw, shortened, wrapped

SVG = "{http://www.w3.org/2000/svg}"


def shown(svg: str) -> list[str]:
    return ["".join(line.itertext()) for line in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_phase_is_never_left_out() -> None:
    lines = ["    guest  building … 39 s", "  capture  the dump kernel starts … 4 s", "power off  … 0 s"]

    assert list(shortened(lines)) == lines[1:]


def test_a_long_call_trace_a_log_and_a_long_block_are_shortened() -> None:
    block = [f"           | step {number}" for number in range(20)]
    trace = ["call trace:", *(f"  ? function_{number}" for number in range(9)), "signature: a"]
    log = [f"[   {number}.123456] message {number}" for number in range(9)]

    short = [line.strip(" |") for line in shortened([*block, *trace, *log])]
    assert short[:8] == ["step 0", "step 1", "step 2", "step 3", "…", "step 18", "step 19", "call trace:"]
    assert short[8:14] == ["? function_0", "? function_1", "? function_2", "? function_3", "…", "signature: a"]
    assert short[14:] == ["…", "[   7.123456] message 7", "[   8.123456] message 8"]


def test_no_line_is_longer_than_the_terminal() -> None:
    assert all(len(line) <= COLUMNS for line in wrapped(["word " * 100, ""]))


def test_what_a_log_holds_is_text_in_the_picture() -> None:
    assert "a <b> & c" in shown(draw("a <b> & c\n"))


def test_the_picture_in_the_repository_is_a_drawing_without_script_that_shows_the_whole_story() -> None:
    svg = PICTURE.read_text()

    assert {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()} == {
        "svg", "title", "style", "rect", "path", "circle", "text", "tspan",
    }  # fmt: skip
    told = "\n".join(shown(svg))
    assert all(part in told for part in ("# make demo", "ARMED: ", "power off  ", "what to do now:", "all of it took "))
