# SPDX-License-Identifier: LGPL-2.1-or-later
"""(Policy, Facts) becomes a Plan: what would have to change, and whether the machine is ready. No I/O."""
