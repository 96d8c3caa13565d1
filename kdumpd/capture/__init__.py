# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs in the dump kernel: saves the dead kernel's log, then ends the machine.

This package stands alone. It imports the standard library and itself, nothing else of kdumpd, so that it also runs as
`python3 -I -S -B /usr/lib/kdumpd/kdumpd/capture/__main__.py`. The formats that both kernels share (capture.json, status.json) and
the durable writer live here for that reason.
"""
