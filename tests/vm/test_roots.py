# SPDX-License-Identifier: LGPL-2.1-or-later
"""A crash on machines whose root is not on a plain ext4 partition: the log is saved there, and read by the next boot."""

import json
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.roots import LAYOUTS, LUKS, LVM, UUIDS, XFS, Layout

MARKER = "kdumpd-test-marker 91c7"


def crash(guest: Guest) -> None:
    guest.run(f"echo '{MARKER}' > /dev/kmsg")
    guest.panic()
    guest.wait_poweroff()


def saved(guest: Guest, store: str) -> Any:
    """The status of the one crash in a store, whose log is whole, read by the next boot."""
    (folder,) = guest.run(f"ls -d {store}/*Z").stdout.split()
    log = guest.read(f"{folder}/dmesg.txt")
    assert MARKER in log
    assert "Kernel panic - not syncing: sysrq triggered crash" in log
    return json.loads(guest.read(f"{folder}/status.json"))


@pytest.mark.parametrize(("root_guest", "layout"), [(layout, layout) for layout in LAYOUTS], indirect=["root_guest"], ids=str)
def test_a_panic_is_saved_by_the_first_door(root_guest: Guest, layout: Layout) -> None:
    status = root_guest.run("kdumpd status").stdout
    assert status.startswith("ARMED: a crash now would be saved to /var/crash, then this machine would power off\n")
    assert layout.way in status
    crash(root_guest)

    assert "systemd[1]" not in root_guest.console()
    root_guest.boot()
    assert [(step["name"], step["ok"], step["door"]) for step in saved(root_guest, "/var/crash")["steps"]] == [
        ("dmesg", True, "initrd"),
        ("pstore", True, "initrd"),
    ]
    assert root_guest.run("kdumpd status", check=False).returncode == 0


@pytest.mark.parametrize("root_guest", [LVM], indirect=True, ids=str)
def test_a_panic_is_saved_by_the_second_door(root_guest: Guest) -> None:
    loaded = json.loads(root_guest.read("/var/lib/kdumpd/last-loaded.json"))
    line = f"{loaded['command_line']} kdumpd.door=systemd"
    root_guest.run(f"kexec -s -p --initrd={loaded['initrd']} --command-line='{line}' {loaded['kernel']}")
    crash(root_guest)

    root_guest.boot()
    assert saved(root_guest, "/var/crash")["steps"][0]["door"] == "systemd"


@pytest.mark.parametrize("root_guest", [XFS], indirect=True, ids=str)
def test_a_store_may_be_on_another_file_system_than_root(root_guest: Guest) -> None:
    root_guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\ncapture:\n  stores: [/srv/dump, /var/crash]\n")
    root_guest.run("kdumpd apply --yes")
    crash(root_guest)

    root_guest.boot()
    assert saved(root_guest, "/srv/dump")["store"] == "/srv/dump"
    assert root_guest.run("ls /var/crash").stdout == ""


@pytest.mark.parametrize("root_guest", [LUKS], indirect=True, ids=str)
def test_a_root_whose_key_takes_more_memory_than_is_reserved_stays_closed_as_status_has_said(root_guest: Guest) -> None:
    device, key = f"/dev/disk/by-uuid/{UUIDS['luks']}", "--key-file /etc/keys/system.key"
    argon2 = "--pbkdf argon2id --pbkdf-memory 262144 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
    takes = "the volume that / is on takes 256M (Argon2), and 192M are reserved\n"
    root_guest.run(f"cryptsetup luksAddKey --batch-mode {key} {argon2} {device} /etc/hostname")
    assert root_guest.run("kdumpd status").stdout.startswith(f"ARMED, BUT a key of {takes}")
    root_guest.run(f"cryptsetup luksConvertKey --batch-mode {key} {argon2} {device}")

    status = root_guest.run("kdumpd status", check=False)
    assert status.returncode == 3
    assert status.stdout.startswith(f"NOT ARMED, kdumpd would save nothing of a crash now: to open {takes}")
    root_guest.panic()
    root_guest.wait_reset()
    assert "kdumpd: no other store takes the log; its end:" in root_guest.console()
