# SPDX-License-Identifier: LGPL-2.1-or-later
"""One look at everything, and how it is told: to people, to programs, to monitoring."""
