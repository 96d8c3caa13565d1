# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot entries as Fedora and RHEL have them, and what grubby makes of them when kdumpd asks it to."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from kdumpd.apply.actions import withdraw
from kdumpd.apply.apply import apply_plan
from kdumpd.host.boot import read_boot
from kdumpd.host.facts import BootLoader
from kdumpd.plan.boot import entries_to_judge
from kdumpd.plan.make import make_plan
from tests.unit.fakes import POLICY, FakeMachine, Stubs

# Trees as kernel-install leaves them by 20-grub.install and 51-dracut-rescue.install, anaconda and tuned.
TREES = Path(__file__).parents[1] / "data/boot-entries"
ENTRIES = "boot/loader/entries"
# Where a command line is in the files of a tree: of an entry, of /etc/default/grub, of /etc/kernel/cmdline.
COMMAND_LINE = re.compile(r'^(options |GRUB_CMDLINE_LINUX="|(?=root=))(.*?)("?)$', re.MULTILINE)
KERNELS = {"fedora-41": 3, "rhel-9": 2, "rhel-10": 2}
# What counts here of grubby 8.40's way (grubby-bls: get_bls_args, update_args): a $NAME that GRUB's environment block has a value
# for is replaced by it; what is added replaces all of its name, and goes to the end; all of it in every entry, the rescue entry
# too, and where kernels to come get it from.
GRUBBY = r"""
import re, sys
from pathlib import Path

root = Path(sys.argv[1])
given = dict(option.split("=", 1) for option in sys.argv[2:])
assert given["--update-kernel"] == "ALL"
removed, added = given.get("--remove-args", "").split(), given.get("--args", "").split()
names = {word.rpartition("=")[0] for word in added}
lines = (root / "boot/grub2/grubenv").read_text().splitlines()
environment = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def update(found):
    words = " ".join((word.startswith("$") and environment.get(word[1:])) or word for word in found[2].split()).split()
    kept = [word for word in words if word not in removed and word.partition("=")[0] not in names]
    return found[1] + " ".join([*kept, *added]) + found[3]


def edit(file, pattern):
    file.write_text(re.sub(pattern, update, file.read_text(), flags=re.M))


for entry in (root / "boot/loader/entries").glob("*.conf"):
    edit(entry, r"^(options )(.*)()$")
edit(root / "etc/kernel/cmdline", r"\A()(.*)(\n)")
edit(root / "etc/default/grub", r'^(GRUB_CMDLINE_LINUX=")(.*)(")$')
"""


@pytest.fixture(params=sorted(KERNELS))
def system(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(machine: FakeMachine, stubs: Stubs, tmp_path: Path, system: str) -> FakeMachine:
    shutil.copytree(TREES / system, machine.root, dirs_exist_ok=True)
    program = tmp_path / "grubby.py"
    program.write_text(GRUBBY)
    stubs.add("grubby", f'{sys.executable} {program} {machine.root} "$@"')
    return machine


def apply(machine: FakeMachine) -> None:
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)


def tree(machine: FakeMachine, system: str) -> dict[str, str]:
    """The files that are in the system's tree, as they are now."""
    names = (str(path.relative_to(TREES / system)) for path in (TREES / system).rglob("*") if path.is_file())
    return {name: machine.read(name) for name in names}


def without_crashkernel(text: str) -> str:
    """Without the one that the installer of RHEL has set."""
    return re.sub(r'(?<=")crashkernel=\S+ | crashkernel=[^\s"]+', "", text)


def test_every_kernel_has_an_entry_that_counts_and_the_rescue_entry_does_not(server: FakeMachine, system: str) -> None:
    boot = read_boot(server.root)

    assert boot.loader is BootLoader.GRUBBY
    assert [entry.recovery for entry in boot.entries or ()].count(True) == 1
    assert len(entries_to_judge(boot)) == KERNELS[system]
    assert all(entry.command_line.startswith("root=") for entry in boot.entries or ())


def test_each_entry_gets_our_crashkernel_for_the_one_it_had_and_keeps_all_else(server: FakeMachine, system: str) -> None:
    before = tree(server, system)
    apply(server)

    ours = r"\1\2 crashkernel=192M\3"
    assert tree(server, system) == {name: COMMAND_LINE.sub(ours, without_crashkernel(text)) for name, text in before.items()}


def test_there_is_nothing_left_to_do_and_a_new_kernel_gets_it_too(server: FakeMachine) -> None:
    server.reserve()
    apply(server)

    assert make_plan(POLICY, server.facts()).is_empty
    assert server.read("etc/kernel/cmdline").split().count("crashkernel=192M") == 1


def test_what_tuned_keeps_in_the_environment_of_grub_is_no_obstacle(server: FakeMachine) -> None:
    environment = server.read("boot/grub2/grubenv")
    server.write(
        "boot/grub2/grubenv", environment.replace("boot_success=1\n", "boot_success=1\ntuned_params=skew_tick=1 nohz=on\n")
    )
    server.reserve()
    apply(server)

    assert make_plan(POLICY, server.facts()).is_empty


def test_after_a_withdrawal_no_entry_has_a_crashkernel_and_all_else_is_as_before(server: FakeMachine, system: str) -> None:
    before = tree(server, system)
    apply(server)
    withdraw(server.root, server.root / "etc/kdumpd.yaml", lambda text: None)

    assert tree(server, system) == {name: without_crashkernel(text) for name, text in before.items()}
