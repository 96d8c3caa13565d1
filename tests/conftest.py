# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for all tests."""

from hypothesis import settings

pytest_plugins = ["tests.tiers"]

# These machines are shared: how long an example takes says nothing. What was found is in the tests, not in a database.
settings.register_profile("kdumpd", deadline=None, database=None)
settings.load_profile("kdumpd")
