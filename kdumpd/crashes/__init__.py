# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was captured, and what it means."""
