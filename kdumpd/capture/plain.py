# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values as json.dumps() takes them.

The values of the capture are named tuples, where the rest of kdumpd has data classes: to load `dataclasses` and to make a dozen
of them is a quarter of the time that Python needs here until the log is saved.
"""

from typing import Any


def plain(value: Any) -> Any:
    """Named tuples become dictionaries, at every depth."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
