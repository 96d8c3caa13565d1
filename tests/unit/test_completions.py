# SPDX-License-Identifier: LGPL-2.1-or-later
"""What bash and zsh offer when Tab is pressed: the real shells, with the completions that the package has."""

import argparse
import importlib.util
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from kdumpd.cli.main import main
from kdumpd.cli.parser import make_parser
from tests.unit.fakes import Stubs
from tests.unit.test_command_page import PARSERS
from tests.unit.test_crashes_cli import PANIC, Archive, archive

__all__ = ["archive"]

MAKER = Path(__file__).parents[2] / "packaging/completions/make_completions.py"
COMMANDS = list(make_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr,arg-type]
IDS = ["2026-11-01T03-04-05Z", "2026-11-02T03-04-05Z"]
PATIENCE = 60

# Sets what the shell sets, calls what the shell calls, and prints what the shell would offer. As bash-completion does, it reads the
# file within a function.
BASH = """\
load() { source "$1"; }
load "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$(complete -p kdumpd | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""
# As soon as there is a line to edit, types $LINE and a tab. All that a completion offers goes through compadd; those calls of it
# that only fill an array (-O, -A, -D) offer nothing.
ZSH = """\
fpath=($COMPLETIONS $fpath)
autoload -Uz compinit
compinit -D -u
offered=()
compadd() {
	local -a matches
	if [[ ${argv[1,(i)--]} != *-[OAD]* ]]; then
		builtin compadd -A matches "$@"
		offered+=($matches)
	fi
	builtin compadd "$@"
}
press-tab() {
	BUFFER=$LINE
	CURSOR=$#BUFFER
	zle complete-word
	print -rl -- $offered >$OFFERED
	exit
}
zle -N press-tab
zle-line-init() { zle press-tab }
zle -N zle-line-init
"""


@pytest.fixture(scope="module")
def completions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completions")
    subprocess.run([sys.executable, "-B", MAKER, folder], check=True)
    return folder


@pytest.fixture
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_completions", MAKER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Tab is pressed: with a file, and a folder with a blank in its name."""
    here = tmp_path / "here"
    (here / "a folder").mkdir(parents=True)
    (here / "policy.yaml").touch()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def kdumpd(archive: Archive, stubs: Stubs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stubs:
    """A kdumpd on the path that says of its crashes what the real one says."""
    archive.add(1, PANIC)
    archive.add(2, PANIC)
    assert main(["crashes", "list", "--json"]) == 0
    (tmp_path / "crashes.json").write_text(capsys.readouterr().out)
    stubs.add("kdumpd", f"cat {tmp_path}/crashes.json")
    return stubs


Offer = Callable[..., list[str]]


def bash_offers(completions: Path, _: Path, *words: str) -> list[str]:
    argv: list[str | Path] = ["bash", "--norc", "-c", BASH, "bash", completions / "kdumpd", "kdumpd", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stderr == ""
    return sorted(done.stdout.splitlines())


def zsh_offers(completions: Path, home: Path, *words: str) -> list[str]:
    (home / ".zshrc").write_text(ZSH)
    offered = home / "offered"
    given = {"ZDOTDIR": str(home), "COMPLETIONS": str(completions), "OFFERED": str(offered), "TERM": "vt100"}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "LINE": " ".join(["kdumpd", *words]), **given}
    terminal, its_end = pty.openpty()
    try:
        shell = ["zsh", "-d", "-i"]
        subprocess.run(shell, stdin=its_end, stdout=its_end, stderr=its_end, env=environment, check=False, timeout=PATIENCE)
    finally:
        os.close(its_end)
        os.close(terminal)
    return sorted(set(offered.read_text().split("\n")) - {""})


@pytest.fixture
def in_bash(completions: Path, tmp_path: Path) -> Offer:
    return partial(bash_offers, completions, tmp_path)


@pytest.fixture
def in_zsh(completions: Path, tmp_path: Path) -> Offer:
    return partial(zsh_offers, completions, tmp_path)


@pytest.fixture(params=["in_bash", "in_zsh"])
def offer(request: pytest.FixtureRequest) -> Offer:
    """Either shell."""
    found: Offer = request.getfixturevalue(request.param)
    return found


def test_the_commands_are_offered(offer: Offer) -> None:
    assert offer("") == sorted(COMMANDS)


def test_a_beginning_is_completed(offer: Offer) -> None:
    assert offer("es") == ["estimate"]


def test_the_commands_below_a_command_are_offered(offer: Offer) -> None:
    assert offer("policy", "") == ["check", "schema", "show"]


def test_the_options_of_a_command_are_offered(offer: Offer) -> None:
    assert offer("apply", "--") == ["--help", "--overwrite", "--policy", "--yes"]


def test_an_option_that_was_given_is_not_offered_again(offer: Offer) -> None:
    assert offer("apply", "--yes", "--") == ["--help", "--overwrite", "--policy"]


def test_a_file_is_offered_for_an_option(offer: Offer) -> None:
    assert offer("plan", "--policy", "pol") == ["policy.yaml"]


def test_a_file_is_offered_behind_an_equals_sign_in_bash(in_bash: Offer) -> None:
    # It takes the word apart before it asks.
    assert in_bash("plan", "--policy", "=", "pol") == ["policy.yaml"]
    assert "policy.yaml" in in_bash("plan", "--policy", "=")


def test_a_file_is_offered_behind_an_equals_sign_in_zsh(in_zsh: Offer) -> None:
    assert in_zsh("plan", "--policy=pol") == ["policy.yaml"]


def test_a_file_is_offered_for_an_argument(offer: Offer) -> None:
    assert offer("crashes", "parse", "pol") == ["policy.yaml"]


def test_only_folders_are_offered_where_one_is_asked_for(in_bash: Offer) -> None:
    assert in_bash("harvest", "--to", "") == ["a folder"]


def test_nothing_is_offered_for_what_only_a_person_knows(in_bash: Offer) -> None:
    assert in_bash("crashes", "list", "--since", "") == []


def test_crashes_are_offered(kdumpd: Stubs, offer: Offer) -> None:
    assert offer("crashes", "show", "") == [*IDS, "latest"]


def test_the_beginning_of_a_crash_is_completed(kdumpd: Stubs, offer: Offer) -> None:
    assert offer("crashes", "log", "2026-11-02") == [IDS[1]]


def test_crashes_are_offered_again_where_several_may_be_named(kdumpd: Stubs, offer: Offer) -> None:
    assert offer("crashes", "rm", IDS[0], IDS[1], "") == [*IDS, "latest"]


def test_what_comes_after_a_crash_is_a_file(kdumpd: Stubs, offer: Offer) -> None:
    assert offer("crashes", "export", "--redact", "latest", "pol") == ["policy.yaml"]


def test_kdumpd_is_not_asked_before_a_crash_is_due(kdumpd: Stubs, offer: Offer) -> None:
    offer("")
    offer("crashes", "show", "--")
    offer("crashes", "parse", "")

    assert kdumpd.calls == []


def test_a_machine_without_crashes_offers_the_latest(stubs: Stubs, offer: Offer) -> None:
    stubs.add("kdumpd", "echo 'kdumpd: no' >&2; exit 1")

    assert offer("notify", "") == ["latest"]


def test_zsh_does_not_offer_what_excludes_what_was_given(in_zsh: Offer) -> None:
    assert in_zsh("status", "--json", "--") == ["--help", "--policy"]


def test_the_kernels_of_this_machine_are_offered(offer: Offer) -> None:
    modules = Path("/lib/modules")
    kernels = sorted(path.name for path in modules.iterdir()) if modules.exists() else []

    assert offer("kernel", "add", "") == kernels


@pytest.mark.parametrize("command", PARSERS)
def test_bash_offers_every_option_of_every_command(command: str, in_bash: Offer) -> None:
    options = {option for action in PARSERS[command]._actions for option in action.option_strings}

    assert set(in_bash(*command.split(), "-")) == options


@pytest.mark.parametrize("offers", [bash_offers, zsh_offers])
def test_choices_are_offered(offers: Offer, maker: ModuleType, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--then", choices=["reboot", "halt"], help="how it ends")
    parser.add_argument("what", choices=["this", "that"], nargs="*")
    commands = list(maker.walk(parser, ("kdumpd",)))
    for name, make in maker.FILES.items():
        (tmp_path / name).write_text(make(commands))

    assert offers(tmp_path, tmp_path, "--then", "") == ["halt", "reboot"]
    assert offers(tmp_path, tmp_path, "this", "th") == ["that", "this"]


def test_an_argument_of_a_new_kind_has_to_be_made_known(maker: ModuleType) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("colour", metavar="COLOUR")

    with pytest.raises(KeyError, match="COLOUR"):
        list(maker.walk(parser, ("kdumpd",)))
