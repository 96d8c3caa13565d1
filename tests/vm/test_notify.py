# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of notify.d, after a real crash and in their real sandbox."""

import json

import pytest

from tests.vm.guest import Guest
from tests.vm.systems import BOOKWORM

UNITS = "journalctl --boot --unit 'kdumpd-notify@*' --output cat"
# It may write nowhere, so what it has to tell goes to the journal: by logger, and by what it prints.
SCRIPT = """\
#!/bin/sh
logger --tag told "$# $1 $KDUMPD_ID test=$KDUMPD_TEST $(readlink /proc/self/ns/net)"
printf 'report %s\\n' "$(tr -d '\\n' < "$1")"
echo "token $(cat /etc/kdumpd/notify.d/.token)"
for file in /etc/kdumpd/notify.d/mine /var/crash/mine /var/lib/mine /root/mine; do
    touch $file 2>/dev/null && echo "forbidden: wrote $file"
done
grep -q root /etc/shadow 2>/dev/null && echo "forbidden: read the shadow"
systemctl stop kdumpd 2>/dev/null && echo "forbidden: stopped"
[ "$(id -u)" = 0 ] && echo "forbidden: is root"
exit 0
"""
HANGING = "#!/bin/sh\nsleep 600 & sleep 600\n"


@pytest.mark.core(BOOKWORM)
def test_after_a_crash_the_programs_of_notify_d_are_run_once_in_their_sandbox(guest: Guest) -> None:
    guest.write("/etc/kdumpd/notify.d/50-tell", SCRIPT)
    guest.write("/etc/kdumpd/notify.d/10-hang", HANGING)
    guest.write("/etc/kdumpd/notify.d/20-open", "#!/bin/sh\necho run\n")
    guest.write("/etc/kdumpd/notify.d/.token", "secret\n")
    guest.run("cd /etc/kdumpd/notify.d && chmod 711 10-hang 50-tell && chmod 777 20-open && chmod 600 .token && sync")
    guest.panic()
    guest.wait_poweroff()
    (name,) = guest.list_folder("/var/crash")

    guest.boot()
    folder = f"/var/crash/{name}"
    unit = f"kdumpd-notify@{name}.service"
    # The program that hangs has its 30 s. A shell of its own, for the quotes.
    guest.write("/root/wait", f"until {UNITS} | grep -q '50-tell: done'; do sleep 1; done\n")
    guest.run("timeout 250 sh /root/wait")
    network = guest.run("readlink /proc/1/ns/net").stdout.strip()
    told = guest.run("journalctl --boot --identifier told --output cat").stdout.splitlines()
    assert told == [f"1 {folder}/report.json {name} test=no {network}"]
    said = guest.run(UNITS).stdout
    assert "10-hang: was still running after 30 s and was killed\n" in said
    assert "20-open: not run: it may be written by others than root (mode 0777; chmod go-w)\n" in said
    report = next(line for line in said.splitlines() if line.startswith("50-tell: report {"))
    assert f'"id": "{name}"' in report
    assert "50-tell: token secret\n" in said
    assert "50-tell: done\n" in said
    assert "forbidden" not in said
    assert "20-open: run" not in said
    assert guest.run("pgrep -x sleep", check=False).stdout == ""
    assert guest.run("systemctl is-active kdumpd").stdout == "active\n"
    # One of its programs has failed, and that is not hidden.
    assert guest.run(f"systemctl is-failed {unit}", check=False).stdout == "failed\n"

    guest.run("systemctl restart kdumpd")
    assert guest.run("journalctl --boot --identifier told --output cat").stdout.splitlines() == told

    # 20 is what it shows as 2.0.
    guest.run(f"systemd-analyze security --threshold=20 {unit}")


def test_a_program_is_tried_by_hand_and_in_the_sandbox(guest: Guest) -> None:
    guest.write("/etc/kdumpd/notify.d/tell", '#!/bin/sh\necho "$KDUMPD_ID by $(id -u)"\n')
    guest.run("chmod 755 /etc/kdumpd/notify.d/tell")
    name = "2026-11-22T03-04-05Z-1"
    guest.run(f"mkdir -m 700 -p /var/crash/{name}")
    guest.write(f"/var/crash/{name}/dmesg.txt", "[    1.0] Kernel panic - not syncing: sysrq triggered crash\n")

    assert guest.run("kdumpd notify latest").stdout == f"tell: {name} by 0\ntell: done\n"
    assert json.loads(guest.read(f"/var/crash/{name}/report.json"))["id"] == name
    guest.run(f"systemctl start kdumpd-notify@{name}.service")
    said = guest.run(UNITS).stdout
    assert f"tell: {name} by " in said
    assert f"tell: {name} by 0\n" not in said
