# SPDX-License-Identifier: LGPL-2.1-or-later
import time

import pytest

from kdumpd.errors import ToolError
from kdumpd.run import run


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
