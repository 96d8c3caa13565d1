# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the dump initrd and loads the dump kernel."""
