# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make vm`: a virtual server with the package installed, its console on this terminal."""

import subprocess
import sys
from pathlib import Path

from tests.vm.machines import armed_machine, borrowed

HELLO = """\
A Debian 12 server with kdumpd, armed. In half a minute you are root on it. Try: kdumpd status
To crash it: echo c > /proc/sysrq-trigger   To leave: poweroff, or Ctrl-A X. What you change is gone afterwards.
"""


def main(deb: Path) -> int:
    armed = armed_machine(deb)
    print(HELLO, flush=True)
    with borrowed(armed) as machine:
        argv = [*machine.argv, "-action", "shutdown=poweroff", "-serial", "mon:stdio"]
        return subprocess.run(["setpriv", "--pdeathsig", "KILL", *argv], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
