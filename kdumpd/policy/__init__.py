# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text becomes a Policy: every problem at once, each with its place and a hint. No I/O."""
