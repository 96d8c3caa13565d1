# SPDX-License-Identifier: LGPL-2.1-or-later
"""What reads the memory of a dead kernel reads hostile bytes: it runs where it can do no harm."""

import json

from tests.unit.dumps import vmlinux
from tests.vm.guest import Guest

# In place of crash(8), whose debug symbols are too large for a test.
DEBUGGER = """\
#!/bin/sh
read -r question
echo "asked: $question"
echo "dump: $(head -c 5 "$3")"
grep -E '^(CapEff|NoNewPrivs)' /proc/self/status
echo "homes: $(ls -A /home | wc -l)"
echo "network: $(sed 1,2d /proc/net/dev | cut -d: -f1 | xargs)"
echo "caller: ${CALLER-unknown}"
# Its /root is an empty one of its own.
for place in /etc /boot /usr /var/crash /var/lib/kdumpd "$(dirname "$3")"; do
    touch "$place/was-here" 2>/dev/null && echo "wrote to $place"
done
kill -TERM @PID@ 2>/dev/null && echo "killed kdumpd"
(echo b > /proc/sysrq-trigger) 2>/dev/null
echo done
"""


def test_what_reads_the_memory_of_a_dead_kernel_can_change_nothing(guest: Guest) -> None:
    guest.write("/etc/kdumpd.yaml", "crashkernel: 192M\ncapture: {vmcore: {level: 31}, keep: {free: 64M}}\n")
    guest.run("kdumpd apply --yes")
    guest.panic()
    guest.wait_poweroff()
    guest.boot()
    folder = guest.run("ls -d /var/crash/*Z").stdout.strip()
    build_id = json.loads(guest.read(f"{folder}/status.json"))["crash"]["build_id"]
    guest.write("/root/vmlinux", vmlinux(build_id))
    daemon = guest.run("systemctl show --property MainPID --value kdumpd").stdout.strip()
    guest.write("/usr/local/bin/crash", DEBUGGER.replace("@PID@", daemon))
    guest.run("chmod +x /usr/local/bin/crash && touch /home/somebody")

    told = guest.run("CALLER=me kdumpd crashes analyse --vmlinux /root/vmlinux").stdout

    answer = told.partition("==== bt -a ====\n")[2].partition("\n\n====")[0]
    assert answer.splitlines() == [
        "asked: bt -a",
        "dump: KDUMP",
        # CAP_DAC_READ_SEARCH: it may read all there is to read, as the dump is root's alone.
        "CapEff:\t0000000000000004",
        "NoNewPrivs:\t1",
        "homes: 0",
        "network: lo",
        "caller: unknown",
        "done",
    ]
    assert guest.read(f"{folder}/analysis.txt") == told
    assert guest.run(f"stat -c '%a %U' {folder}/analysis.txt").stdout.strip() == "600 root"
    assert "was-here" not in guest.run("find / -xdev -name was-here").stdout
