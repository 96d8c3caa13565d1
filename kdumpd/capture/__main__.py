# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -I -S -B …/kdumpd/capture/__main__.py DOOR [NAME=UPTIME…]`: what the dump kernel runs, without the rest of kdumpd."""

import importlib
import sys
from pathlib import Path

# Python puts this folder itself on the path; its parent makes it a package, so that relative imports work.
here = Path(__file__).resolve().parent
sys.path[0] = str(here.parent)
sys.exit(importlib.import_module(f"{here.name}.main").main(sys.argv[1:]))
