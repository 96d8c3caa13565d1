# SPDX-License-Identifier: LGPL-2.1-or-later
"""capture.json: what apply tells the dump kernel to do."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1
# On the command line of every dump kernel that kdumpd loads, and of no other kernel.
MARKER = "kdumpd.capture"


class FinalAction(StrEnum):
    """How the machine ends when the capture is over."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    HALT = "halt"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The defaults are what a capture does when it can't read its file: save to /var/crash, and never sit there."""

    stores: tuple[str, ...] = ("/var/crash",)
    deadline: int = field(default=300, metadata={"unit": "seconds"})
    then: FinalAction = FinalAction.POWEROFF
    on_failure: FinalAction = FinalAction.REBOOT

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings in the text of capture.json. Unknown keys are ignored: a newer apply may have written them.

        Raises:
            ValueError: it is not such a text.
        """
        found: Any = json.loads(text)
        try:
            return cls(
                stores=tuple(str(store) for store in found["stores"]),
                deadline=int(found["deadline"]),
                then=FinalAction(found["then"]),
                on_failure=FinalAction(found["on_failure"]),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a capture.json of version {VERSION}: {problem!r}") from problem
