# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -m kdumpd` in a checkout is `kdumpd` on a server."""

import sys

from kdumpd.cli.main import main

sys.exit(main())
