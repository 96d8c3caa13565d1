# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -I -S -B …/kdumpd/capture/__main__.py DOOR [NAME=UPTIME…]`: what the dump kernel runs, without the rest of kdumpd."""

import sys
from pathlib import Path

# Python puts the folder of this file on the path; the folder above it makes it a package, so that relative imports work.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from capture.main import main  # type: ignore[import]  # noqa: E402 - found by the line above

sys.exit(main(sys.argv[1:]))
