# SPDX-License-Identifier: LGPL-2.1-or-later
"""A root directory becomes Facts. Reads only; what can't be read is None, never a guess."""
