# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a command has changed, the journal and monitoring hear of as if the daemon had done it."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from kdumpd.daemon.publish import look_and_publish
from kdumpd.errors import KdumpdError


@contextlib.contextmanager
def everyone_told(root: Path, policy_file: Path) -> Iterator[None]:
    """Also when it failed: then what is armed may be another dump kernel, or none."""
    try:
        yield
    finally:
        _tell(root, policy_file)


def _tell(root: Path, policy_file: Path) -> None:
    # A machine that does not let itself be read has nothing to tell; and what, without a journal, would come out on the terminal,
    # the command has said already.
    with contextlib.suppress(KdumpdError), contextlib.redirect_stderr(io.StringIO()):
        look_and_publish(root, policy_file)
