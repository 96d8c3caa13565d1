# SPDX-License-Identifier: LGPL-2.1-or-later
"""Through which door the dump kernel comes to the store."""

from dataclasses import dataclass

from kdumpd.host.facts import Facts


@dataclass(frozen=True, kw_only=True)
class Way:
    """`direct`: our own /init mounts the root; else the generator's scripts do."""

    direct: bool


def way(facts: Facts) -> Way:
    """What the facts allow."""
    return Way(direct=bool(facts.storage and facts.storage.local and not facts.storage.layers))
