# SPDX-License-Identifier: LGPL-2.1-or-later
import time
from pathlib import Path

import pytest

from kdumpd.errors import ToolError
from kdumpd.run import LONGEST_LINE, Said, run, run_aloud, run_limited


def failure(script: str, timeout: float = 10) -> str:
    with pytest.raises(ToolError) as caught:
        run(["sh", "-c", script], timeout=timeout)
    return str(caught.value)


def test_a_program_gets_its_words_unchanged_and_no_standard_input() -> None:
    result = run(["sh", "-c", 'cat; printf "%s\\n" "$@"', "sh", "a b", "$HOME", "*"], timeout=10)

    assert result.stdout == "a b\n$HOME\n*\n"


def test_a_failure_tells_the_command_its_exit_code_and_its_last_words() -> None:
    assert (
        failure("echo first; echo why >&2; exit 3") == "`sh -c 'echo first; echo why >&2; exit 3'` failed with exit code 3\n    why"
    )


def test_a_signal_is_told_by_its_name() -> None:
    assert "was killed by SIGKILL" in failure("kill -9 $$")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolError, match=r'^cannot run "no-such-program": No such file or directory\nhint: install the package'):
        run(["no-such-program"], timeout=10)


def test_a_program_that_hangs_is_killed_with_its_children() -> None:
    began = time.monotonic()

    assert failure("sleep 60 | sleep 60", timeout=0.3) == "`sh -c 'sleep 60 | sleep 60'` was still running after 0 s and was killed"
    assert time.monotonic() - began < 30


def test_a_limited_program_is_typed_to_and_all_that_it_prints_is_heard() -> None:
    said = run_limited(["sh", "-c", "cat; echo error >&2; exit 3"], timeout=10, limit=1 << 20, typed="question\n")

    assert said == Said(output=b"question\nerror\n", problem="failed with exit code 3")


def test_a_program_that_prints_without_end_is_cut_off() -> None:
    assert run_limited(["yes"], timeout=10, limit=1 << 20) == Said(output=b"y\n" * (1 << 19), problem="cut off after 1 MiB")


def test_a_limited_program_that_hangs_is_killed_with_its_children() -> None:
    said = run_limited(["sh", "-c", "echo begun; sleep 60 | sleep 60"], timeout=0.5, limit=100)

    assert said == Said(output=b"begun\n", problem="was still running after 0 s and was killed")


def test_a_program_that_does_not_listen_is_no_error() -> None:
    assert run_limited(["true"], timeout=10, limit=100, typed="hello\n").problem == ""


def aloud(script: str, timeout: float = 10) -> tuple[list[str], str]:
    """What a script printed, line by line, and how it ended."""
    said: list[str] = []
    return said, run_aloud(["sh", "-c", script], timeout=timeout, environment={"NAME": "x"}, say=said.append)


def test_a_program_that_is_run_aloud_says_each_line_of_both_outputs() -> None:
    assert aloud('echo "$NAME"; echo two >&2; echo; printf end') == (["x", "two", "", "end"], "")


def test_a_program_that_is_run_aloud_is_heard_while_it_runs() -> None:
    began, times = time.monotonic(), list[float]()
    run_aloud(["sh", "-c", "echo; sleep 1"], timeout=10, environment={}, say=lambda _: times.append(time.monotonic()))

    assert times[0] - began < 0.9


@pytest.mark.parametrize(
    ("script", "end"),
    [("exit 3", "failed with exit code 3"), ("kill -9 $$", "was killed by SIGKILL"), ("kill -40 $$", "was killed by signal 40")],
)
def test_how_a_program_that_was_run_aloud_has_ended_is_told_in_words(script: str, end: str) -> None:
    assert aloud(script) == ([], end)


def test_a_program_that_is_run_aloud_and_hangs_is_killed_with_its_children() -> None:
    said, end = aloud("sleep 60 & echo $!; exec >&- 2>&-; sleep 60", timeout=0.3)

    assert end == "was still running after 0 s and was killed"
    assert is_gone(said[0])


def test_what_a_program_leaves_in_the_background_is_not_waited_for_and_dies_with_it() -> None:
    began = time.monotonic()
    said, end = aloud("sleep 60 & echo $!")

    assert end == ""
    assert time.monotonic() - began < 5
    assert is_gone(said[0])


def is_gone(pid: str) -> bool:
    """Nobody reaps what was killed here but init, or nobody at all."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.05)
    return False


def test_a_line_without_end_is_cut_and_a_program_that_prints_for_ever_is_stopped() -> None:
    said, end = aloud("tr '\\0' x < /dev/zero", timeout=0.5)

    assert end == "was still running after 0 s and was killed"
    assert said == ["x" * LONGEST_LINE]


def test_a_program_that_can_not_be_run_aloud_is_named() -> None:
    with pytest.raises(ToolError, match=r'^cannot run "no-such-program": No such file or directory\n'):
        run_aloud(["no-such-program"], timeout=10, environment={}, say=print)
