# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be typed. Imports nothing of kdumpd but its version, so that --help is instant."""

import argparse
from pathlib import Path
from typing import TypeAlias

from kdumpd import __version__

DEFAULT_POLICY = Path("/etc/kdumpd.yaml")

EXIT_CODES = """\
exit codes:
  0  done, or ready
  1  an error, told on standard error
  2  wrong usage; for `plan`: something would change
  3  not armed: a crash now would leave nothing
"""

DESCRIPTION = """\
Makes this machine ready to survive its own kernel's death, and tells what happened after a crash.

Edit /etc/kdumpd.yaml, then `systemctl enable --now kdumpd` (or, once it runs, `systemctl reload kdumpd`).
"""


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def make_parser() -> argparse.ArgumentParser:
    """The parser; the parsed `command` names the module of `kdumpd.cli` that does it."""
    parser = argparse.ArgumentParser(
        prog="kdumpd", description=DESCRIPTION, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"kdumpd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    status = _command(commands, "status", "is this machine armed, and if not, what to do", """\
        Tells in one screen whether a crash right now would be saved, and if not, why: what memory the kernel reserved, what
        is loaded into it, where the log would go and whether there is room, and the last crash. Needs no privilege and no
        daemon; what only root can see is marked. Exits with 0 when armed, with 3 when not. For a monitoring system that
        takes 2 for critical (NRPE, Icinga): sh -c "kdumpd status --check || exit 2".""")  # fmt: skip
    _add_policy(status)
    told = status.add_mutually_exclusive_group()
    _add_json(told)
    told.add_argument("--check", action="store_true", help="print one line, as a monitoring plugin does")
    told.add_argument("--prometheus", action="store_true", help="print metrics, as /run/kdumpd/kdumpd.prom has them")

    machine_check = _command(commands, "check", "everything that must hold for a dump to work, a line each", """\
        Tells of each thing that a dump needs whether it is ok, and if not, the way out: the options of both kernels, the
        reservation, the dump image, what may forbid to load it, the store, the kernel's values, makedumpfile, watchdogs,
        other dump tools. Changes nothing, and needs no privilege; what only root can see is a warning. Exits with 0 when
        nothing fails, with 3 when a crash now would not be saved. Warnings do not change the exit code.""")  # fmt: skip
    _add_policy(machine_check)
    _add_json(machine_check)
    machine_check.add_argument(
        "--kernel-config",
        type=Path,
        metavar="FILE",
        help="look at nothing but this .config (or .config.gz), and print the options that it lacks as a fragment for "
        "merge_config.sh; exits with 0 when it has all that a dump needs, with 3 when not",
    )

    plan = _command(commands, "plan", "show what `apply` would change, change nothing", """\
        Compares this machine with the policy and prints each step that `apply` would do: a diff for every file, every
        command, the dump image and the dump kernel. Exits with 0 when the machine matches, with 2 when it would change.
        Run it as root: files that others may not read can't be compared.""")  # fmt: skip
    _add_policy(plan)
    _add_json(plan)

    apply = _command(commands, "apply", "make this machine what the policy says", """\
        Writes the files, updates the boot loader, builds the dump image and loads the dump kernel: exactly the steps
        that `plan` shows. If a file or the boot loader fails, all files are as before. A file that somebody else
        changed is not overwritten, unless you say so. Shows the plan and asks first. `systemctl reload kdumpd` does the
        same without asking.""")  # fmt: skip
    _add_policy(apply)
    _add_changes(apply)

    rollback = _command(commands, "rollback", "go back to the state before the last apply", """\
        Puts every file, the boot loader and the kernel's parameters back as they were before the last apply that changed a
        file. The policy file is not touched: what it says is not applied again until you change it, or say `kdumpd apply`.
        A second rollback goes forward again.""")  # fmt: skip
    _add_policy(rollback)
    _add_changes(rollback)

    estimate = _command(commands, "estimate", "how much memory a dump kernel needs here, line by line", """\
        Adds up what a dump kernel needs on this machine, with the reason for each line; after a crash was captured, from
        what that capture really used. This is what `crashkernel: auto` asks for. Run it as root: others may not read what
        was measured.""")  # fmt: skip
    _add_policy(estimate)

    arm = _command(commands, "arm", "build the dump image if needed and load the dump kernel", """\
        Loads the dump kernel into the reserved memory, without touching any file of /etc. Does nothing when the right
        one is loaded already. Exits with 3 when no memory is reserved, and says what to do.""")  # fmt: skip
    _add_policy(arm)
    arm.add_argument("--rebuild", action="store_true", help="build the dump image anew, and load it, in any case")

    _command(commands, "disarm", "unload the dump kernel", """\
        Unloads the dump kernel, so that a crash leaves nothing. The memory stays reserved. Lasts until `kdumpd arm`,
        `kdumpd apply`, a restart of kdumpd.service or the next boot.""")  # fmt: skip

    test = _command(commands, "test", "crash this machine on purpose, to prove that it is ready", """\
        Makes the kernel panic, as a real fault would, so that the dump kernel has to do its work: everybody is thrown out and
        the machine ends as the policy says. Says what will happen and asks first. Does it only where a crash would be saved;
        exits with 3 elsewhere. The next boot judges: `kdumpd status` and the journal tell whether the test has passed, and why
        not.""")  # fmt: skip
    _add_policy(test)
    test.add_argument("--yes", action="store_true", help="do not ask")

    policy = _command(commands, "policy", "read the policy, and nothing else", """\
        Works on the policy and its drop-ins, FILE.d/*.yaml, which override it key by key in the order of their names.
        Looks at nothing else of this machine.""")  # fmt: skip
    policies = policy.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = _command(policies, "check", "tell everything that is wrong with it", """\
        Reads the policy and its drop-ins as `apply` would, and tells every problem with file, line and column, and a hint.
        Exits with 0 when there is none, with 1 when there are.""")  # fmt: skip
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="check this file, and FILE.d/*.yaml, instead")
    _add_policy(check)
    _command(policies, "schema", "a JSON Schema of the policy, for editors", """\
        Prints a JSON Schema (draft 2020-12) with every key, its meaning and its default. An editor with a YAML language server
        uses it by this first line of a policy: "# yaml-language-server: $schema=FILE".""")  # fmt: skip
    show = _command(policies, "show", "the values that count, and where each is from", """\
        Prints the whole policy as it is in force, as YAML: each value with the file and the line that it is from, or
        "default". What it prints is a valid policy itself.""")  # fmt: skip
    _add_policy(show)

    _add_crashes(commands)
    _add_what_others_run(commands)
    return parser


def _add_crashes(commands: Commands) -> None:
    """Commands that tell what happened."""
    crashes = _command(
        commands,
        "crashes",
        "what was captured",
        """\
        Works on the crashes that were saved: the folders in the stores, one for each crash, named by its
        time (UTC). Each holds dmesg.txt, the log of the kernel that died, and status.json, the story of its capture.""",
    )
    actions = crashes.add_subparsers(dest="action", metavar="ACTION", required=True)
    crashes_list = _command(actions, "list", "every crash, the oldest first, a line each", """\
        Prints when each crash was, why the kernel died, and where its log is; or, for a capture that failed, why there is
        no log. Crash folders are readable for root only.""")  # fmt: skip
    _add_json(crashes_list)
    parse = _command(actions, "parse", "what a kernel log tells of a crash, whatever machine it is from", """\
        Reads the log of a kernel that died (dmesg, a saved console, syslog, a pstore record) and prints what happened: the
        kind of the fault, where, in which process, by whose module, the call trace, and a signature that is the same for the
        same fault on another boot or kernel. The first fault that was fatal decides. Looks at nothing else of this machine.
        Exits with 1 when the log tells of no crash.""")  # fmt: skip
    parse.add_argument("file", metavar="FILE", help="the log; - reads standard input")
    _add_json(parse)

    taint = _command(commands, "taint", "what taints a kernel, in words", """\
        Explains the taint flags of the running kernel and names the loaded modules that carry them, or explains the flags that
        are given: the number of /proc/sys/kernel/tainted, or the letters that a log shows after "Tainted:".""")  # fmt: skip
    taint.add_argument("flags", nargs="?", metavar="VALUE|STRING", help='explain these instead, as in 12288, OE, "G        W  OE"')
    _add_json(taint)


def _add_what_others_run(commands: Commands) -> None:
    """Commands that units and hooks run, not people."""
    _command(commands, "capture", "save the crashed kernel's log and end the machine (dump kernel only)", """\
        What kdumpd-capture.service runs in the dump kernel: saves the log of the kernel that died to the first store
        that takes it, then pstore, then powers off or reboots as the policy says. Refuses to run anywhere else.""")  # fmt: skip

    kernel = _command(commands, "kernel", "what the hooks for kernel packages run", """\
        Builds the dump image of a kernel when it is installed, so that its first boot need not, and removes it when
        the kernel is removed. Does nothing while no policy was ever applied here, or where the policy names another dump
        kernel.""")  # fmt: skip
    kernels = kernel.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in (("add", "build the dump image for this kernel"), ("remove", "remove its dump images")):
        kernel_action = _command(kernels, action, summary, summary.capitalize() + ".")
        kernel_action.add_argument("release", metavar="RELEASE", help="as `uname -r` says it, when it runs")
        _add_policy(kernel_action)

    _command(commands, "early", "what kdumpd-early.service runs", """\
        Loads the dump kernel that was loaded last, in this boot or an earlier one, if none is loaded. Reads no policy, builds
        nothing: for the first seconds of a boot, before the daemon.""")  # fmt: skip

    daemon = _command(commands, "daemon", "what kdumpd.service runs", """\
        Applies the policy and arms at start and on SIGHUP, reports crashes that nobody was told of, then waits. A bad
        policy never disarms: the dump kernel that was loaded last stays, or is loaded again.""")  # fmt: skip
    _add_policy(daemon)


def _command(commands: Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=" ".join(description.split()))


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, metavar="FILE", help="the policy (default: %(default)s)")


def _add_changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--overwrite", action="store_true", help="take over files that somebody else changed, keep a copy beside them"
    )


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
