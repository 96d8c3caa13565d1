# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps the machine armed: one GLib loop, one worker thread, no polling."""
