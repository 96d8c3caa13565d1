# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`: the main job for a person to watch, on a virtual server that is really crashed."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.vm.cache import scratch_folder
from tests.vm.guest import Guest, VmError
from tests.vm.image import base_image
from tests.vm.machines import LOGS, install, new_machine

POLICY = """\
crashkernel: auto
panic:
  on: [oops]
capture:
  stores: [/var/crash]
  then: poweroff
"""
LAST_LINES = 12
# All that was told; `make picture` makes docs/demo.svg of it.
RECORD = LOGS.parent / "demo.txt"


def say(text: str, end: str = "\n") -> None:
    """On the terminal at once, and into the record."""
    print(text, end=end, flush=True)
    with RECORD.open("a") as record:
        record.write(text + end)


@contextlib.contextmanager
def phase(name: str, story: str) -> Iterator[None]:
    """One line: what happens, and how many seconds it took."""
    say(f"{name:>9}  {story} …", end=" ")
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:.0f} s")


def show(text: str) -> None:
    say("".join(f"           | {line}\n" for line in text.rstrip().splitlines()), end="")


def tell(guest: Guest, deb: Path) -> None:
    """The story, from a fresh server to what the next boot knows."""
    with phase("boot", "a fresh Debian 12 server: UEFI, shim, GRUB"):
        guest.boot()
        guest.run("update-grub")
    with phase("install", "apt-get install ./kdumpd.deb"):
        install(guest, deb)
    with phase("policy", "editing /etc/kdumpd.yaml"):
        guest.write("/etc/kdumpd.yaml", POLICY)
    show(POLICY)
    with phase("plan", "kdumpd plan: what would change"):
        plan = json.loads(guest.run("kdumpd plan --json || [ $? = 2 ]").stdout)
    show("\n".join(step["summary"] for step in plan["steps"]))
    with phase("apply", "systemctl enable --now kdumpd"):
        guest.run("systemctl enable --now kdumpd")
    with phase("reboot", "through GRUB, with the new command line"):
        guest.reboot()
    with phase("armed", "kdumpd status"):
        status = guest.run("kdumpd status").stdout
    show(status)
    with phase("crash", "echo c > /proc/sysrq-trigger"):
        guest.panic()
        guest.wait_console("Kernel panic - not syncing")
    with phase("capture", "the dump kernel starts and saves the log"):
        guest.wait_console("kdumpd: the log is safe")
    with phase("power off", "the server switches itself off"):
        guest.wait_poweroff()
    with phase("boot", "somebody presses the power button"):
        guest.boot()

    say("\nwhat was saved, and what it means:\n")
    say(guest.run("kdumpd crashes show").stdout)
    say(guest.run("kdumpd status").stdout)
    folder = guest.run("ls -d /var/crash/*Z").stdout.strip()
    say(guest.run(f"ls -l {folder}").stdout)
    say("the last lines before the panic:\n")
    log = guest.read(f"{folder}/dmesg.txt").splitlines()
    end = next(number for number, line in enumerate(log) if "Kernel panic - not syncing" in line)
    say("\n".join(log[max(0, end - LAST_LINES) : end + 1]))


def main(deb: Path) -> int:
    began = time.monotonic()
    RECORD.write_text("")
    with phase("guest", "building the virtual server from Debian's packages, unless it is in the cache"):
        base_image()
    with (
        scratch_folder("demo") as folder,
        new_machine(folder).guest("demo") as guest,
    ):
        try:
            tell(guest, deb)
        except VmError as problem:
            print(f"\n\nthe demo has failed: {problem}", file=sys.stderr)
            return 1
    say(f"\nall of it took {time.monotonic() - began:.0f} s; the console of every boot is in {LOGS / 'demo'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
