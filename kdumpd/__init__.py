# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd: makes a Linux server ready to survive its own kernel's death, and proves that it is ready."""

__version__ = "0.1.0"
