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

    withdraw = _command(commands, "withdraw", "take back every change that kdumpd has made", """\
        Unloads the dump kernel, takes kdumpd's parameters out of the boot loader, gives each file back to whoever had it before,
        removes the others, and sets the kernel's values as they were. The policy, the dump images and the crashes stay. What a
        person has changed in a file of kdumpd's is kept beside it. Shows the plan and asks first. kdumpd.service applies the
        policy again when it starts, so before this: systemctl disable --now kdumpd. `apt remove kdumpd` does both.""")  # fmt: skip
    _add_policy(withdraw)
    withdraw.add_argument("--yes", action="store_true", help="do not ask")
    withdraw.add_argument(
        "--keep-boot-loader",
        action="store_true",
        help="take back its files, but do not update it; for one that can't be updated now",
    )

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
    _add_archive(actions)
    parse = _command(actions, "parse", "what a kernel log tells of a crash, whatever machine it is from", """\
        Reads the log of a kernel that died (dmesg, a saved console, syslog, a pstore record) and prints what happened: the
        kind of the fault, where, in which process, by whose module, the call trace, and a signature that is the same for the
        same fault on another boot or kernel. The first fault that was fatal decides. Looks at nothing else of this machine.
        Exits with 1 when the log tells of no crash.""")  # fmt: skip
    parse.add_argument("file", metavar="FILE", help="the log; - reads standard input")
    _add_json(parse)
    analyse = _command(actions, "analyse", "what crash(8), drgn or gdb tell of the memory that was saved", """\
        Runs crash(8) on the dump of a crash (drgn where that is missing; gdb can read an ELF dump) and asks it for the log, the
        stacks of all CPUs, the processes, the memory and the modules; each answer, or why there is none. What it says is kept as
        analysis.txt beside the dump, in place of an older one, and printed. The tool runs in a sandbox, without network, and
        can write nowhere. It needs the debug symbols of exactly the kernel that died: where they are neither installed nor to
        be had from debuginfod (DEBUGINFOD_URLS, /etc/debuginfod/*.urls), says which package has them.""")  # fmt: skip
    analyse.add_argument("id", nargs="?", default="latest", metavar="ID", help="as `list` shows it (default: the latest crash)")
    analyse.add_argument("--vmlinux", type=Path, metavar="FILE", help="the debug symbols: a vmlinux of the kernel that died")
    analyse.add_argument("--print", action="store_true", help="print the analysis that was kept, and run nothing")

    harvest = _command(commands, "harvest", "take the records of a crash out of pstore, into the store", """\
        Moves what the kernel left in persistent storage (EFI variables, ramoops, ERST) when it died to the first store, puts it
        together to its log, and tells of each crash that it finds. Records of a crash that was dumped go to its dump. What can't
        be saved stays where it is. kdumpd-harvest.service does this at every boot.""")  # fmt: skip
    harvest.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="take the records in this folder instead of /sys/fs/pstore"
    )
    harvest.add_argument("--to", type=Path, metavar="DIR", help="put the crashes into this folder instead of the first store")
    harvest.add_argument("--quiet", action="store_true", help="say nothing when there is nothing")

    notify = _command(commands, "notify", "run the programs of /etc/kdumpd/notify.d for a crash", """\
        Runs every program in /etc/kdumpd/notify.d, in the order of their names, with the path of the crash's report.json, and
        prints what they say. After a crash, kdumpd-notify@ID.service does the same in a sandbox. Exits with 1 when one of them
        fails, or takes longer than 30 s.""")  # fmt: skip
    notify.add_argument(
        "id", nargs="?", default="latest", metavar="ID", help="as `crashes list` has it (default: the latest crash)"
    )

    taint = _command(commands, "taint", "what taints a kernel, in words", """\
        Explains the taint flags of the running kernel and names the loaded modules that carry them, or explains the flags that
        are given: the number of /proc/sys/kernel/tainted, or the letters that a log shows after "Tainted:".""")  # fmt: skip
    taint.add_argument("flags", nargs="?", metavar="VALUE|STRING", help='explain these instead, as in 12288, OE, "G        W  OE"')
    _add_json(taint)


def _add_archive(actions: Commands) -> None:
    """What works on the crashes of this machine."""
    crashes_list = _command(actions, "list", "every crash, the oldest first, a line each", """\
        Prints when each crash was, why the kernel died, and where its log is; or, for a capture that failed, why there is
        no log. Crash folders are readable for root only.""")  # fmt: skip
    crashes_list.add_argument(
        "--since", metavar="WHEN", help="only those since then (UTC): 2026-11-22, 2026-11-22T03:04:05Z, or 7d, 12h, 30min ago"
    )
    crashes_list.add_argument(
        "--signature", default="", metavar="SIG", help="only those of this signature; its beginning is enough, as in null-deref"
    )
    _add_json(crashes_list)

    show = _command(actions, "show", "what happened, why, and what to do now", """\
        Answers in three lines: what died and of what, where and by whose fault, and whether it has happened before. Then comes
        the evidence: the call trace, the taints, what came just before, how the log was saved. Then what to do now, with the
        commands for what was saved of this very crash.""")  # fmt: skip
    _add_id(show)
    form = show.add_mutually_exclusive_group()
    _add_json(form)
    form.add_argument(
        "--html",
        nargs="?",
        const="",
        metavar="FILE",
        help="write a page of HTML, without script, that only you may read; - is standard output (default: ./kdumpd-ID.html)",
    )

    log = _command(actions, "log", "the log of the kernel that died", """\
        Prints dmesg.txt as it was saved; on a terminal without control characters, which a log may hold. Exits with 1 when no
        log was saved, and says why there is none.""")  # fmt: skip
    _add_id(log)

    export = _command(actions, "export", "pack a crash for somebody else", """\
        Packs all that was saved of a crash into a tar.gz that only you may read, with a manifest: each file, its size and its
        SHA-256. Overwrites nothing. With --redact the same value becomes the same word everywhere, as in MAC-1 or HOST-2, so
        that the log can still be understood; what is not text is left out.""")  # fmt: skip
    export.add_argument("id", metavar="ID", help="the crash, or the beginning of its ID; latest")
    export.add_argument("file", nargs="?", metavar="FILE", help="where to (default: kdumpd-ID.tar.gz here; - is standard output)")
    export.add_argument(
        "--redact",
        action="store_true",
        help="mask addresses, serial numbers, UUIDs, passwords, names of hosts and users, and leave out the memory (vmcore)",
    )

    remove = _command(actions, "rm", "remove crashes for good", """\
        Removes crashes with all that was saved of them. Shows them and asks first. A folder with anything in it that kdumpd did
        not make is not touched. The oldest go by themselves when there are more than capture.keep allows.""")  # fmt: skip
    remove.add_argument("ids", nargs="+", metavar="ID", help="a crash, or the beginning of its ID; latest")
    remove.add_argument("--yes", action="store_true", help="do not ask")

    stats = _command(actions, "stats", "how often each fault has happened", """\
        Counts the crashes of each signature, the most frequent first, with their share, and when each was seen for the first and
        for the last time. What was crashed by hand, by a test or by SysRq, is counted apart.""")  # fmt: skip
    _add_json(stats)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", nargs="?", default="latest", metavar="ID", help="the crash, or the beginning of its ID (default: %(default)s)"
    )


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
