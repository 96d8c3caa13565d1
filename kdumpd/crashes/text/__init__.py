# SPDX-License-Identifier: LGPL-2.1-or-later
"""From the text of a kernel log to what happened: bytes -> lines -> blocks -> verdict. Pure, and in memory that does not grow."""
